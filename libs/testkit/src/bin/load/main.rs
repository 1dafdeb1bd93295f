//! Drives load against a gateway or a worker and prints what it measured as one line of JSON.
//!
//! For `cargo xtask bench`. `load ask` runs a fixed number of callers without pauses (`--concurrency`), or starts
//! requests at a fixed rate whatever becomes of them (`--rate`), for a fixed time or count, and then stops.
//! The surface is gRPC or the OpenAI format over HTTP/1.1 (chats, or embeddings); both are spoken as thinly as possible, since what
//! is measured stands on the other side. `load answer` is that other side for gateways that speak to theirs in
//! the OpenAI format: a server that does as little as one can.

#![allow(clippy::print_stdout, reason = "a command-line program")]

mod answer;
mod figures;
mod grpc;
mod openai;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Parser, ValueEnum};
use tokio::task::JoinSet;

use figures::{Figures, Sample};

#[derive(Debug, Parser)]
enum Command {
    /// Asks, and tells what that took.
    Ask(Arguments),
    /// Answers in the OpenAI format, until it is ended.
    Answer(answer::Arguments),
}

/// What is done, and how often.
#[derive(Clone, Debug, Args)]
struct Arguments {
    /// The wire format.
    #[arg(long, value_enum)]
    surface: Surface,
    /// Where the service listens: HOST:PORT.
    #[arg(long)]
    address: String,
    /// The model or target.
    #[arg(long)]
    model: String,
    /// What is said to it. `{n}` becomes the number of the request, so that no two prompts are equal.
    #[arg(long, default_value = "Hello")]
    prompt: String,
    /// The most tokens of an answer.
    #[arg(long, default_value_t = 1)]
    max_tokens: u32,
    /// More fields of the request, as a JSON object. In the OpenAI format only.
    #[arg(long, value_parser = fields)]
    fields: Option<serde_json::Map<String, serde_json::Value>>,
    /// Texts of one request for embeddings; each counts as a token of the answer.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Asks for a stream.
    #[arg(long)]
    stream: bool,
    /// Callers that ask one request after the other.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Lets all callers over gRPC share one connection, as threads of one program do.
    #[arg(long)]
    shared: bool,
    /// Requests a second instead, at fixed times.
    #[arg(long)]
    rate: Option<u32>,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Ends after this many requests, if that is earlier.
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Surface {
    Grpc,
    Openai,
    /// `/v1/embeddings`, in the OpenAI format.
    Embeddings,
}

/// One caller's connection.
enum Caller {
    Grpc(grpc::Caller),
    Openai(openai::Caller),
}

impl Caller {
    async fn connect(arguments: &Arguments) -> Result<Self> {
        Ok(match arguments.surface {
            Surface::Grpc => Self::Grpc(grpc::Caller::connect(&arguments.address).await?),
            Surface::Openai | Surface::Embeddings => Self::Openai(openai::Caller::connect(&arguments.address).await?),
        })
    }

    async fn ask(&mut self, arguments: &Arguments, number: u64) -> Result<Sample> {
        let prompt = arguments.prompt.replace("{n}", &number.to_string());
        match self {
            Self::Grpc(caller) => caller.ask(arguments, prompt).await,
            Self::Openai(caller) if arguments.surface == Surface::Embeddings => caller.embed(arguments, &prompt).await,
            Self::Openai(caller) => caller.ask(arguments, prompt).await,
        }
    }
}

fn fields(text: &str) -> serde_json::Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text)
}

// Two threads would only take turns on the one core that a driver is given.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = match Command::parse() {
        Command::Ask(arguments) => Arc::new(arguments),
        Command::Answer(arguments) => return answer::serve(&arguments).await,
    };
    let begin = Instant::now();
    let figures = match arguments.rate {
        Some(rate) => at_rate(&arguments, rate).await?,
        None => without_pause(&arguments).await?,
    };
    println!("{}", figures.report(begin.elapsed())?);
    Ok(())
}

async fn without_pause(arguments: &Arc<Arguments>) -> Result<Figures> {
    let (asked, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + Duration::from_secs(arguments.seconds));
    let mut callers = JoinSet::new();
    let shared = if arguments.shared { Some(grpc::Caller::connect(&arguments.address).await?) } else { None };
    for _ in 0..arguments.concurrency {
        let (arguments, asked, shared) = (Arc::clone(arguments), Arc::clone(&asked), shared.clone());
        callers.spawn(async move {
            let mut caller = match shared {
                Some(caller) => Caller::Grpc(caller),
                None => Caller::connect(&arguments).await?,
            };
            let mut figures = Figures::default();
            while Instant::now() < end {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                if number >= arguments.count {
                    break;
                }
                figures.add(caller.ask(&arguments, number).await)?;
            }
            anyhow::Ok(figures)
        });
    }
    let mut all = Figures::default();
    while let Some(figures) = callers.join_next().await {
        all.merge(figures??);
    }
    Ok(all)
}

/// As many connections as requests may overlap; one that finds none free is late, and counted so.
async fn at_rate(arguments: &Arc<Arguments>, rate: u32) -> Result<Figures> {
    if rate == 0 {
        bail!("--rate must be at least 1");
    }
    let mut idle = Vec::new();
    for _ in 0..arguments.concurrency {
        idle.push(Caller::connect(arguments).await?);
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let (mut running, mut figures, mut number) = (JoinSet::new(), Figures::default(), 0);
    while Instant::now() < end && number < arguments.count {
        ticks.tick().await;
        while let Some(done) = running.try_join_next() {
            let (caller, sample) = done?;
            idle.push(caller);
            figures.add(sample)?;
        }
        let Some(mut caller) = idle.pop() else {
            figures.late += 1;
            continue;
        };
        number += 1;
        let arguments = Arc::clone(arguments);
        running.spawn(async move {
            let sample = caller.ask(&arguments, number).await;
            (caller, sample)
        });
    }
    while let Some(done) = running.join_next().await {
        figures.add(done?.1)?;
    }
    Ok(figures)
}
