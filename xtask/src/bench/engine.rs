//! What the mesh costs where a model generates: the same prompt directly at mistral.rs, through our engine,
//! through the worker and through the gateway, in turn.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Binaries;
use super::mesh::{Service, in_front_of, load, median};

/// Three tools, with a parameter each.
macro_rules! tools {
    () => {
        r#"[
        {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "additionalProperties": false,
            "required": ["city"], "properties": {"city": {"type": "string", "maxLength": 40}}}}},
        {"type": "function", "function": {"name": "find_order", "parameters": {"type": "object", "additionalProperties": false,
            "required": ["number"], "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 99999}}}}},
        {"type": "function", "function": {"name": "send_note", "parameters": {"type": "object", "additionalProperties": false,
            "required": ["text"], "properties": {"text": {"type": "string", "maxLength": 200}}}}}
        ]"#
    };
}

const WORKER: &str =
    "engine: { mistralrs: [{ name: pip, model: models/demo/model }, { name: pip-embed, model: models/demo/embed }] }\n";
/// About 200 tokens, greedily.
const PROMPT: &str = "Tell me a story.";
const ROUNDS: usize = 3;
const SECONDS: &str = "6";

/// What an answer may have beside its text, as fields of a request in the OpenAI format.
const FORMS: [(&str, &str); 8] = [
    ("nothing", "{}"),
    ("sampled: `temperature`, `top_p`, `seed`", r#"{"temperature": 0.8, "top_p": 0.95, "seed": 1}"#),
    ("penalties and 100 `logit_bias`", BIAS),
    ("`top_logprobs`: 5", r#"{"logprobs": true, "top_logprobs": 5}"#),
    ("`json_object`", r#"{"response_format": {"type": "json_object"}}"#),
    ("`json_schema`, strict", SCHEMA),
    ("three `tools`, auto", TOOLS),
    ("three `tools`, required", REQUIRED),
];

const ASKING: [&str; 9] =
    ["--surface", "openai", "--model", "pip", "--prompt", PROMPT, "--max-tokens", "300", "--stream"];
const BIAS: &str = r#"{"frequency_penalty": 0.1, "presence_penalty": 0.1, "logit_bias": {BIAS}}"#;
const SCHEMA: &str = r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "story", "strict": true, "schema":
    {"type": "object", "additionalProperties": false, "required": ["title", "parts"], "properties": {
        "title": {"type": "string", "maxLength": 40},
        "parts": {"type": "array", "minItems": 4, "maxItems": 8, "items": {"type": "string", "minLength": 20, "maxLength": 60}}}}}}}"#;
const TOOLS: &str = concat!(r#"{"tool_choice": "auto", "tools": "#, tools!(), "}");
const REQUIRED: &str = concat!(r#"{"tool_choice": "required", "tools": "#, tools!(), "}");

pub(super) fn measure(binaries: &Binaries, bare: &Path) -> Result<Value> {
    let worker = Service::start(binaries, "worker", WORKER, None)?;
    let gateway = Service::start(binaries, "gateway", &in_front_of(&worker), None)?;
    let forms = forms(binaries, &gateway)?;
    let embeddings = embeddings(binaries, &gateway)?;
    let mut table = Vec::new();
    for streams in ["1", "4", "16"] {
        let mut ways: Vec<(&str, Vec<Value>)> =
            ["mistralrs", "engine", "worker", "gateway grpc", "gateway openai"].map(|way| (way, Vec::new())).into();
        for _ in 0..ROUNDS {
            for (way, rounds) in &mut ways {
                println!("{streams} streams, {way}");
                rounds.push(match *way {
                    "mistralrs" | "engine" => direct(bare, way, streams)?,
                    "worker" => through(binaries, &worker, "grpc", streams)?,
                    "gateway grpc" => through(binaries, &gateway, "grpc", streams)?,
                    _ => through(binaries, &gateway, "openai", streams)?,
                });
            }
        }
        for (way, rounds) in ways {
            let middle = |pointer: &str| middle(&rounds, pointer);
            table.push(json!({
                "streams": streams,
                "way": way,
                "tokens_per_second": middle("/tokens_per_second"),
                "first_us": middle("/first_us/p50"),
            }));
        }
    }
    Ok(json!({ "table": table, "forms": forms, "embeddings": embeddings }))
}

/// One stream through the gateway, with more and more to do for each token.
fn forms(binaries: &Binaries, gateway: &Service) -> Result<Vec<Value>> {
    let mut rounds: Vec<Vec<Value>> = vec![Vec::new(); FORMS.len()];
    for _ in 0..ROUNDS {
        for ((name, fields), rounds) in FORMS.iter().zip(&mut rounds) {
            println!("with {name}");
            let fields = fields.replace("BIAS", &bias());
            let how = ["--concurrency", "1", "--seconds", SECONDS, "--fields", &fields];
            rounds.push(load(binaries, gateway, None, &[&ASKING[..], &how].concat())?);
        }
    }
    let row = |((name, _), rounds): (&(&str, &str), &Vec<Value>)| {
        let middle = |pointer: &str| middle(rounds, pointer);
        json!({ "with": name, "tokens_per_second": middle("/tokens_per_second"), "first_us": middle("/first_us/p50") })
    };
    Ok(FORMS.iter().zip(&rounds).map(row).collect())
}

/// Texts of about ten tokens, so many in a request.
fn embeddings(binaries: &Binaries, gateway: &Service) -> Result<Vec<Value>> {
    let batches = ["1", "16", "128"];
    let measure = |batch| {
        println!("embeddings, {batch} in a request");
        let what =
            ["--surface", "embeddings", "--model", "pip-embed", "--prompt", "A text about the weather, number {n}"];
        let how = ["--batch", batch, "--concurrency", "1", "--seconds", SECONDS];
        load(binaries, gateway, None, &[&what[..], &how].concat())
    };
    let rounds: Result<Vec<Vec<Value>>> =
        batches.iter().map(|batch| (0..ROUNDS).map(|_| measure(batch)).collect()).collect();
    let row = |(batch, rounds): (&&str, &Vec<Value>)| {
        let middle = |pointer: &str| middle(rounds, pointer);
        json!({ "batch": batch, "per_second": middle("/tokens_per_second"), "total_us": middle("/total_us/p50") })
    };
    Ok(batches.iter().zip(&rounds?).map(row).collect())
}

fn middle(rounds: &[Value], pointer: &str) -> f64 {
    median(rounds.iter().filter_map(|round| round.pointer(pointer).and_then(Value::as_f64)).collect())
}

/// A hundred tokens, each a little likelier.
fn bias() -> String {
    let of: Vec<String> = (100..200).map(|token| format!("\"{token}\": 0.01")).collect();
    of.join(", ")
}

fn through(binaries: &Binaries, service: &Service, surface: &str, streams: &str) -> Result<Value> {
    let what = ["--surface", surface, "--model", "pip", "--prompt", PROMPT, "--max-tokens", "300", "--stream"];
    let how = ["--concurrency", streams, "--seconds", SECONDS];
    load(binaries, service, None, &[&what[..], &how].concat())
}

fn direct(program: &Path, way: &str, streams: &str) -> Result<Value> {
    let mut command = super::mesh::on(None, program);
    command.args([way, "models/demo/model", PROMPT, streams, SECONDS]).current_dir(crate::root());
    let output = command.stderr(Stdio::inherit()).output().context("starting `direct`")?;
    anyhow::ensure!(output.status.success(), "`direct` ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    // Other lines are the engine's own.
    let line = text.lines().rfind(|line| line.starts_with('{')).context("`direct` printed no figures")?;
    Ok(serde_json::from_str(line)?)
}
