//! What the gateway costs: one core for it, another for everything around it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Binaries;
use super::mesh::{Cores, Service, in_front_of, load, median};

const GATEWAY: Cores = Some("0");
const AROUND: Cores = Some("1");

/// A worker that costs as little as one can, and never makes anybody wait.
const WORKER: &str =
    "worker: { slots: 4096, queue: 4096 }\nengine: { simulated: { answer_tokens: 64, batch: 4096 } }\n";
/// The same, which writes a piece of each answer every two milliseconds.
const PACED: &str = "worker: { slots: 64, queue: 64 }\nengine: { simulated: { answer_tokens: 512, batch: 64, timing: { step: 2ms } } }\n";
const MODEL: [&str; 2] = ["--model", "simulated"];
const ROUNDS: usize = 3;
/// gRPC as programs use it: their callers share a connection.
const SHARED: &str = "grpc, one connection";
/// How many requests memory is looked at after.
const MANY: &str = "100000";

pub(super) fn measure(binaries: &Binaries) -> Result<Value> {
    let worker = Service::start(binaries, "worker", WORKER, AROUND)?;
    let gateway = Service::start(binaries, "gateway", &in_front_of(&worker), GATEWAY)?;
    let idle = gateway.resident_megabytes()?;
    let mut table = Vec::new();
    let surfaces = ["openai", "grpc", SHARED];
    for (surface, kind) in surfaces.iter().flat_map(|surface| [(*surface, "request"), (*surface, "stream")]) {
        println!("{surface} {kind}");
        let rounds: Result<Vec<Value>> = (0..ROUNDS).map(|_| throughput(binaries, &gateway, surface, kind)).collect();
        let rounds = rounds?;
        let middle = |name: &str| median(rounds.iter().filter_map(|round| round[name].as_f64()).collect());
        table.push(json!({
            "surface": surface,
            "kind": kind,
            "per_second": middle("per_second"),
            "cpu_us": middle("cpu_us"),
            "gateway_busy": middle("gateway_busy"),
            "driver_busy": middle("driver_busy"),
        }));
    }
    println!("pieces");
    let pieces = pieces(binaries)?;
    println!("added latency");
    let latency = latency(binaries, &worker, &gateway)?;
    println!("memory");
    let many =
        [&["--surface", "openai", "--max-tokens", "1", "--seconds", "300", "--count", MANY], &MODEL[..]].concat();
    load(binaries, &gateway, AROUND, &many)?;
    let after = gateway.resident_megabytes()?;
    load(binaries, &gateway, AROUND, &many)?;
    let after_twice = gateway.resident_megabytes()?;
    Ok(json!({
        "throughput": table,
        "pieces": pieces,
        "latency": latency,
        "memory": { "idle_mb": idle, "after_100k_mb": after, "after_200k_mb": after_twice },
    }))
}

fn throughput(binaries: &Binaries, gateway: &Service, surface: &str, kind: &str) -> Result<Value> {
    let shape: &[&str] = if kind == "stream" { &["--stream", "--max-tokens", "64"] } else { &["--max-tokens", "1"] };
    let surface: &[&str] = if surface == SHARED { &["--surface", "grpc", "--shared"] } else { &["--surface", surface] };
    let arguments = [surface, &["--concurrency", "32", "--seconds", "5"], shape, &MODEL[..]].concat();
    let before = gateway.cpu_seconds()?;
    let figures = load(binaries, gateway, AROUND, &arguments)?;
    let used = gateway.cpu_seconds()? - before;
    let answered = figures["answered"].as_f64().context("no count")?;
    let seconds = figures["seconds"].as_f64().context("no time")?;
    Ok(json!({
        "per_second": figures["per_second"],
        "driver_busy": figures["driver_busy"],
        "gateway_busy": used / seconds,
        "cpu_us": used * 1e6 / answered,
    }))
}

/// Processor time of one piece that comes alone, as a model's do: of the gateway, and of the worker with its
/// simulated engine.
fn pieces(binaries: &Binaries) -> Result<Value> {
    const PIECES: f64 = 512.0;
    let worker = Service::start(binaries, "worker", PACED, AROUND)?;
    let gateway = Service::start(binaries, "gateway", &in_front_of(&worker), GATEWAY)?;
    let measure = |surface: &str| -> Result<Value> {
        let used = || Ok::<_, anyhow::Error>([gateway.cpu_seconds()?, worker.cpu_seconds()?]);
        let how = ["--surface", surface, "--concurrency", "16", "--seconds", "5", "--stream", "--max-tokens", "512"];
        let before = used()?;
        let figures = load(binaries, &gateway, AROUND, &[&how[..], &MODEL[..]].concat())?;
        let (after, answered) = (used()?, figures["answered"].as_f64().context("no count")?);
        let each = |index: usize| (after[index] - before[index]) * 1e6 / (answered * PIECES);
        Ok(json!({ "gateway_us": each(0), "worker_us": each(1) }))
    };
    Ok(json!({ "openai": measure("openai")?, "grpc": measure("grpc")? }))
}

/// Medians at a fixed, low rate, directly at the worker and through the gateway in turn.
fn latency(binaries: &Binaries, worker: &Service, gateway: &Service) -> Result<Value> {
    let arguments = |surface: &'static str| {
        [&["--surface", surface, "--rate", "200", "--seconds", "5", "--max-tokens", "1"], &MODEL[..]].concat()
    };
    let (mut direct, mut grpc, mut openai) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (service, surface, values) in
            [(worker, "grpc", &mut direct), (gateway, "grpc", &mut grpc), (gateway, "openai", &mut openai)]
        {
            let figures = load(binaries, service, AROUND, &arguments(surface))?;
            values.push(figures["total_us"]["p50"].as_f64().context("no median")?);
        }
    }
    Ok(json!({ "direct_us": median(direct), "grpc_us": median(grpc), "openai_us": median(openai) }))
}
