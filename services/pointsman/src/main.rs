//! The one binary: any service of the mesh, all of them at once, and the command-line client.
//!
//! It composes; what a service does is its own crate's. Exit status: 0 after a drain, 64 for wrong
//! arguments or configuration, 130 after a second signal, 1 for everything else.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod arguments;
mod banner;
mod client;
mod commands;
mod config;
mod engine;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use arguments::{Arguments, Command};
use clap::Parser;
use mimalloc::MiMalloc;
use pointsman_server::ConfigError;

/// A request allocates some 300 times: with the system's allocator that is a sixth of what it costs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit status for wrong arguments or configuration: `EX_USAGE` of `sysexits.h`.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Printing help or a usage error fails only if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(arguments.command));
    // The engine's threads may still be at work; they end with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<ConfigError>() { ExitCode::from(EX_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(options) => Box::pin(commands::up::run(options)).await,
        Command::Gateway(options) => Box::pin(commands::gateway::run(options)).await,
        Command::Worker(options) => Box::pin(commands::worker::run(options)).await,
        Command::Chat(options) => Box::pin(commands::chat::run(options)).await,
        Command::Models(options) => commands::models::run(options).await,
        Command::Sessions(options) => Box::pin(commands::sessions::run(options)).await,
        Command::Trace(options) => commands::trace::run(options).await,
        Command::Requests(options) => commands::requests::list(options).await,
        Command::Cancel(options) => commands::requests::cancel(options).await,
        Command::Usage(options) => commands::usage::run(options).await,
        Command::Policy(options) => commands::policy::run(options),
        Command::Key(options) => commands::key::run(&options),
        Command::BenchModel(options) => Box::pin(commands::bench_model::run(options)).await,
        Command::BenchModelPart => Box::pin(commands::bench_model::part()).await,
    }
}
