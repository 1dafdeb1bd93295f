//! Our gateway beside others: the same driver, the same load, one core for the gateway and one for all around it.
//!
//! Ours stands in front of a simulated worker, which it speaks gRPC to; the others stand in front of `load answer`,
//! which speaks the OpenAI format. Both answer at once; a second set of everything has an upstream that writes a
//! chunk each millisecond, as models do, so that no two chunks of a stream arrive together. Rounds take turns, so that
//! a machine that changes its pace changes it for everybody.

mod contender;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Binaries;
use super::mesh::{Cores, Service, free_address, load, median, on};
use contender::Contender;

const GATEWAY: Cores = Some("0");
const AROUND: Cores = Some("1");
const MODEL: &str = "simulated";
const OURS: &str = "pointsman";
const ROUNDS: usize = 3;
/// How long each round drives each gateway.
const SECONDS: &str = "5";
/// Requests a second at which latency is measured.
const RATE: &str = "200";

pub(super) fn measure(binaries: &Binaries) -> Result<Value> {
    let upstreams = [Upstream::start(binaries, 0)?, Upstream::start(binaries, 1)?];
    let mut lanes: Vec<Lane> = contender::start(binaries, &upstreams).into_iter().map(Lane::new).collect();
    for round in 1..=ROUNDS {
        for lane in &mut lanes {
            println!("round {round} of {ROUNDS}: {}", lane.contender.name);
            lane.measure(binaries, &upstreams);
        }
    }
    let table: Vec<Value> = lanes.iter().map(Lane::row).collect();
    Ok(json!({ "table": table, "rounds": ROUNDS, "rate": RATE }))
}

/// What gateways stand in front of.
struct Upstream {
    /// Ours: over gRPC.
    worker: Service,
    /// The others: in the OpenAI format.
    openai: Service,
}

impl Upstream {
    /// Starts both, with so many milliseconds between the chunks of a stream.
    fn start(binaries: &Binaries, pace: u32) -> Result<Self> {
        let engine = format!("{{ answer_tokens: 64, batch: 4096, timing: {{ step: {pace}ms }} }}");
        let worker = format!("worker: {{ slots: 4096, queue: 4096 }}\nengine: {{ simulated: {engine} }}\n");
        let (address, mut answer) = (free_address()?, on(AROUND, &binaries.load));
        answer.args(["answer", "--listen", &address.to_string(), "--pace", &pace.to_string()]);
        Ok(Self {
            worker: Service::start(binaries, "worker", &worker, AROUND)?,
            openai: Service::start_foreign(binaries, &mut answer, address)?,
        })
    }

    fn behind(&self, contender: &Contender) -> &Service {
        if contender.name == OURS { &self.worker } else { &self.openai }
    }
}

/// A contender, and what it did in each round.
struct Lane {
    contender: Contender,
    rounds: Vec<Value>,
    failed: Option<String>,
}

impl Lane {
    fn new(contender: Contender) -> Self {
        let failed = contender.services.as_ref().err().map(|error| format!("{error:#}"));
        Self { contender, rounds: Vec::new(), failed }
    }

    /// One round. A gateway that fails in it is out, and the reason is kept.
    fn measure(&mut self, binaries: &Binaries, upstreams: &[Upstream; 2]) {
        let (None, Ok(services)) = (&self.failed, &self.contender.services) else { return };
        let behind = upstreams.each_ref().map(|upstream| upstream.behind(&self.contender));
        match round(binaries, services, behind, self.contender.name == OURS) {
            Ok(figures) => self.rounds.push(figures),
            Err(error) => self.failed = Some(format!("{error:#}")),
        }
    }

    fn row(&self) -> Value {
        let Contender { name, version, services } = &self.contender;
        if let Some(why) = &self.failed {
            return json!({ "name": name, "version": version, "failed": why });
        }
        let middle = |pointer: &str| {
            median(self.rounds.iter().filter_map(|round| round.pointer(pointer).and_then(Value::as_f64)).collect())
        };
        let throughput = |kind: &str| {
            let figure = |name: &str| middle(&format!("/{kind}/{name}"));
            json!({
                "per_second": figure("per_second"),
                "cpu_us": figure("cpu_us"),
                "gateway_busy": figure("gateway_busy"),
                "driver_busy": figure("driver_busy"),
                "upstream_busy": figure("upstream_busy"),
            })
        };
        json!({
            "name": name,
            "version": version,
            "request": throughput("request"),
            "stream": throughput("stream"),
            "paced": throughput("paced"),
            "p50_us": middle("/latency/p50_us"),
            "added_p50_us": middle("/latency/added_p50_us"),
            "added_p99_us": middle("/latency/added_p99_us"),
            "late_share": middle("/latency/late_share"),
            "resident_mb": services.as_ref().ok().and_then(|[service, _]| service.resident_megabytes().ok()),
        })
    }
}

fn round(binaries: &Binaries, gateways: &[Service; 2], upstreams: [&Service; 2], is_ours: bool) -> Result<Value> {
    const STREAM: &[&str] = &["--stream", "--max-tokens", "64"];
    let ([gateway, paced], [upstream, paced_upstream]) = (gateways, upstreams);
    Ok(json!({
        "request": throughput(binaries, gateway, upstream, &["--max-tokens", "1"])?,
        "stream": throughput(binaries, gateway, upstream, STREAM)?,
        "paced": throughput(binaries, paced, paced_upstream, STREAM)?,
        "latency": latency(binaries, gateway, (if is_ours { "grpc" } else { "openai" }, upstream))?,
    }))
}

fn throughput(binaries: &Binaries, gateway: &Service, upstream: &Service, shape: &[&str]) -> Result<Value> {
    let how = ["--surface", "openai", "--model", MODEL, "--concurrency", "32", "--seconds", SECONDS];
    let before = (gateway.cpu_seconds()?, upstream.cpu_seconds()?);
    let figures = load(binaries, gateway, AROUND, &[&how[..], shape].concat())?;
    let used = (gateway.cpu_seconds()? - before.0, upstream.cpu_seconds()? - before.1);
    let answered = figures["answered"].as_f64().context("no count")?;
    let seconds = figures["seconds"].as_f64().context("no time")?;
    Ok(json!({
        "per_second": figures["per_second"],
        "cpu_us": used.0 * 1e6 / answered,
        "gateway_busy": used.0 / seconds,
        "driver_busy": figures["driver_busy"],
        "upstream_busy": used.1 / seconds,
    }))
}

/// What a gateway adds to its own upstream, asked directly just before it.
fn latency(binaries: &Binaries, gateway: &Service, (surface, upstream): (&str, &Service)) -> Result<Value> {
    let ask = |service, surface| {
        let how = ["--surface", surface, "--model", MODEL, "--max-tokens", "1", "--concurrency", "64"];
        load(binaries, service, AROUND, &[&how[..], &["--rate", RATE, "--seconds", SECONDS]].concat())
    };
    let (direct, through) = (ask(upstream, surface)?, ask(gateway, "openai")?);
    let time = |figures: &Value, name: &str| figures["total_us"][name].as_f64().context("no time");
    let late = through["late"].as_f64().context("no count")?;
    Ok(json!({
        "p50_us": time(&through, "p50")?,
        "added_p50_us": time(&through, "p50")? - time(&direct, "p50")?,
        "added_p99_us": time(&through, "p99")? - time(&direct, "p99")?,
        "late_share": late / (late + through["answered"].as_f64().context("no count")?),
    }))
}
