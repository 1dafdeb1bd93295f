//! `pointsman bench-model`: what quantisations of a model cost and save, on the operator's own prompts.
//!
//! [`measure`] asks one engine, in a process of its own: mistral.rs leaves settings of quantisation behind in
//! thread-locals, and memory is a process's. [`compare`] holds each against the weights as they are, [`prompts`]
//! reads what is asked, [`report`] says it.

mod compare;
mod measure;
mod prompts;
mod report;

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use pointsman_server::ConfigError;
use serde::{Deserialize, Serialize};

use self::measure::Measured;
use self::prompts::Prompt;
use self::report::{Report, Row};
use crate::arguments::{BENCH_MODEL_PART, BenchModelOptions};
use crate::engine::EngineConfig;

/// The weights as they are: what everything is compared with.
const NONE: &str = "none";

/// What one process has to do.
#[derive(Debug, Deserialize, Serialize)]
struct Part {
    model: PathBuf,
    quantization: String,
    prompts: Vec<Prompt>,
    max_tokens: u32,
    /// What the unquantised model answered, to say how probable that is. Empty: its own answers.
    references: Vec<String>,
}

pub(crate) async fn run(options: BenchModelOptions) -> Result<()> {
    let names = quantizations(&options)?;
    let prompts = prompts::read(options.prompts.as_deref())?;
    let mut part = Part {
        model: options.path.clone(),
        quantization: NONE.to_owned(),
        prompts,
        max_tokens: options.max_tokens,
        references: Vec::new(),
    };
    let none = apart(&part).await.context("the weights as they are, with which all others are compared")?;
    part.references = none.answers.iter().map(|answer| answer.text.clone()).collect();
    let mut rows = vec![Row::of(NONE, Ok(&none), &none)];
    for name in names {
        eprintln!("measuring {name} …");
        part.quantization = name.clone();
        let measured = apart(&part).await;
        rows.push(Row::of(&name, measured.as_ref(), &none));
    }
    let report = Report { model: options.path, prompts: part.prompts.len(), max_tokens: part.max_tokens, rows };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    let failed: Vec<&str> = report.failed().collect();
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// What is to be compared with the weights as they are, checked before anything is loaded.
fn quantizations(options: &BenchModelOptions) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for name in options.quantizations.iter().filter(|name| *name != NONE) {
        match EngineConfig::quantized(&options.path, name) {
            Ok(config) => problems.extend(config.problems()),
            Err(problem) => problems.push(format!("--quantizations: {problem}")),
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    problems.dedup();
    if problems.is_empty() { Ok(names) } else { Err(ConfigError::Invalid(problems).into()) }
}

/// Measures in a process of its own.
async fn apart(part: &Part) -> Result<Measured> {
    let asked = serde_json::to_vec(part)?;
    let answered = tokio::task::spawn_blocking(move || call(&asked)).await??;
    // Libraries may write to standard output, too; ours is the last line.
    let last = answered.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the process that measures answered `{last}`"))
}

fn call(asked: &[u8]) -> Result<String> {
    let program = std::env::current_exe().context("asking where this program lies")?;
    let mut command = Command::new(program);
    command.arg(BENCH_MODEL_PART).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting the process that measures")?;
    let mut stdin = child.stdin.take().context("the process that measures has no input")?;
    // A process that could not start is told below, with what it said.
    let _ = std::io::Write::write_all(&mut stdin, asked);
    drop(stdin);
    let output = child.wait_with_output().context("waiting for the process that measures")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
        bail!("{}", why.map_or_else(|| format!("its process ended with {}", output.status), str::to_owned));
    }
    String::from_utf8(output.stdout).context("the process that measures wrote no text")
}

/// What the process of its own does: reads a part from standard input, and writes what it has measured.
pub(crate) async fn part() -> Result<()> {
    let mut asked = String::new();
    std::io::stdin().read_to_string(&mut asked).context("reading what to measure")?;
    let part: Part = serde_json::from_str(&asked).context("this command is `pointsman bench-model`'s own")?;
    let load = async || {
        let config = match part.quantization.as_str() {
            NONE => EngineConfig::unquantized(&part.model)?,
            name => EngineConfig::quantized(&part.model, name).map_err(anyhow::Error::msg)?,
        };
        let (engine, _) = config.start().await?;
        Ok(engine)
    };
    let measured = measure::run(&part, load).await?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}
