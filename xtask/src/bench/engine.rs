//! What the mesh costs where a model generates: the same prompt directly at mistral.rs, through our engine,
//! through the worker and through the gateway, in turn.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Binaries;
use super::mesh::{Service, in_front_of, load, median};

const WORKER: &str = "engine: { mistralrs: { name: pip, model: models/demo/model } }\n";
/// About 200 tokens, greedily.
const PROMPT: &str = "Tell me a story.";
const ROUNDS: usize = 3;
const SECONDS: &str = "6";

pub(super) fn measure(binaries: &Binaries) -> Result<Value> {
    let worker = Service::start(binaries, "worker", WORKER, None)?;
    let gateway = Service::start(binaries, "gateway", &in_front_of(&worker), None)?;
    let mut table = Vec::new();
    for streams in ["1", "4", "16"] {
        let mut ways: Vec<(&str, Vec<Value>)> =
            ["mistralrs", "engine", "worker", "gateway grpc", "gateway openai"].map(|way| (way, Vec::new())).into();
        for _ in 0..ROUNDS {
            for (way, rounds) in &mut ways {
                println!("{streams} streams, {way}");
                rounds.push(match *way {
                    "mistralrs" | "engine" => direct(binaries, way, streams)?,
                    "worker" => through(binaries, &worker, "grpc", streams)?,
                    "gateway grpc" => through(binaries, &gateway, "grpc", streams)?,
                    _ => through(binaries, &gateway, "openai", streams)?,
                });
            }
        }
        for (way, rounds) in ways {
            let middle = |pointer: &str| {
                median(rounds.iter().filter_map(|round| round.pointer(pointer).and_then(Value::as_f64)).collect())
            };
            table.push(json!({
                "streams": streams,
                "way": way,
                "tokens_per_second": middle("/tokens_per_second"),
                "first_us": middle("/first_us/p50"),
            }));
        }
    }
    Ok(json!({ "table": table }))
}

fn through(binaries: &Binaries, service: &Service, surface: &str, streams: &str) -> Result<Value> {
    let what = ["--model", "pip", "--prompt", PROMPT, "--max-tokens", "300", "--stream"];
    let how = ["--surface", surface, "--concurrency", streams, "--seconds", SECONDS];
    load(binaries, service, None, &[&what[..], &how].concat())
}

fn direct(binaries: &Binaries, way: &str, streams: &str) -> Result<Value> {
    let mut command = super::mesh::on(None, &binaries.direct);
    command.args([way, "models/demo/model", PROMPT, streams, SECONDS]).current_dir(crate::root());
    let output = command.stderr(Stdio::inherit()).output().context("starting `direct`")?;
    anyhow::ensure!(output.status.success(), "`direct` ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    // Other lines are the engine's own.
    let line = text.lines().rfind(|line| line.starts_with('{')).context("`direct` printed no figures")?;
    Ok(serde_json::from_str(line)?)
}
