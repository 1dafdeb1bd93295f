//! Runs turns of sessions against `pointsman sessions serve` and prints what it measured as one line of JSON.
//!
//! For `cargo xtask bench sessions`. A turn is a begin and, as soon as that is answered, its commit, as if a model had
//! answered at once. `session-load turns` runs whole turns, `session-load reads` begins them in long sessions and leaves;
//! both at a fixed rate whatever becomes of the turns (`--rate`), or with a fixed number of callers without pauses
//! (`--callers`). At a rate, times count from when a turn was to start. `session-load rows` writes the turns of many
//! sessions in PostgreSQL's binary format of COPY.

#![allow(clippy::print_stdout, reason = "a command-line program")]

mod figures;
mod paced;
mod rows;
mod turn;
mod work;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use tokio::task::JoinSet;

use figures::Figures;
use turn::Store;
use work::{Kind, Work};

#[derive(Debug, Parser)]
enum Command {
    /// Runs whole turns: conversations of `--turns` turns each, one after the other.
    Turns(Arguments),
    /// Begins turns of sessions that are there, in no order, and leaves.
    Reads(Arguments),
    /// Writes the rows of the turns that `reads` finds.
    Rows(rows::Arguments),
}

/// What is done, and how often.
#[derive(Clone, Debug, Args)]
struct Arguments {
    /// Where the store listens: HOST:PORT.
    #[arg(long)]
    address: String,
    /// Whose sessions they are.
    #[arg(long, default_value = "bench")]
    tenant: String,
    /// How the ids of sessions begin.
    #[arg(long)]
    prefix: String,
    /// Connections that all turns share.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Turns a second, at fixed times.
    #[arg(long, required_unless_present = "callers")]
    rate: Option<u32>,
    /// Callers that run one turn after the other instead.
    #[arg(long, conflicts_with = "rate")]
    callers: Option<u64>,
    /// Turns of one conversation; its first turn makes the session.
    #[arg(long, default_value_t = 10)]
    turns: u64,
    /// So many sessions are there, PREFIX-1 and on: turns are run in them, one after the other.
    #[arg(long)]
    sessions: Option<u64>,
    /// Ends after so many turns, if that is earlier. For callers.
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 5)]
    warm: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

// Two threads would only take processor time from what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (kind, arguments) = match Command::parse() {
        Command::Turns(arguments) => (Kind::Turns, arguments),
        Command::Reads(arguments) => (Kind::Reads, arguments),
        Command::Rows(arguments) => return rows::write(&arguments),
    };
    let store = Store::connect(&arguments.address, arguments.connections, &arguments.tenant).await?;
    let work = Arc::new(Work::new(kind, store, &arguments));
    let figures = match (arguments.rate, arguments.callers) {
        (Some(rate), _) => paced::run(&work, rate).await?,
        (None, callers) => without_pause(&work, callers.context("give --rate or --callers")?, arguments.count).await?,
    };
    println!("{}", figures.report(&work)?);
    Ok(())
}

async fn without_pause(work: &Arc<Work>, callers: u64, count: u64) -> Result<Figures> {
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let work = Arc::clone(work);
        running.spawn(async move {
            let mut figures = Figures::default();
            for step in 0.. {
                let now = Instant::now();
                if now >= work.end || step * callers + caller >= count {
                    break;
                }
                figures.add(&work, now, work.run((caller, callers), step, now).await);
            }
            figures
        });
    }
    let mut all = Figures::default();
    while let Some(figures) = running.join_next().await {
        all.merge(figures?);
    }
    Ok(all)
}
