//! The mesh on this machine without containers: two gateways, three workers, PostgreSQL, Redis and a receiver of spans,
//! each a process that goes on when the command has ended. What the services are configured with stands in
//! `deploy/config/mesh`; what all of them write, and who they are, below the build folder. Usage records and what is in
//! PostgreSQL stay there from one mesh to the next.
//!
//! Processes are told from others by `/proc`, so this is for Linux.

mod down;
pub(crate) mod members;
mod plan;
mod state;
mod status;
mod up;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

/// What is done with the mesh.
#[derive(Subcommand)]
pub enum Action {
    /// Builds the binary, starts everything, and returns when all of it is ready.
    Up(UpOptions),
    /// Lets gateways, then workers, then what they use finish what they do, and end.
    Down,
    /// Shows what runs.
    Status,
}

#[derive(clap::Args)]
pub struct UpOptions {
    /// What generates.
    #[arg(long, value_enum, default_value = "mistralrs")]
    engine: Engine,
    /// The port of the first gateway; all others keep their distance from it.
    #[arg(long, value_name = "PORT", default_value_t = plan::PORT_BASE)]
    port_base: u16,
    /// Where `pointsman` and `otlp-receiver` lie; without it they are built.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// mistral.rs with the demo model, which is called `pip`.
    Mistralrs,
    /// No model: deterministic text, from a model called `simulated`.
    Simulated,
}

impl Engine {
    /// The name, for the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Mistralrs => "mistralrs",
            Self::Simulated => "simulated",
        }
    }

    /// What the model is called then.
    fn model(self) -> &'static str {
        match self {
            Self::Mistralrs => "pip",
            Self::Simulated => "simulated",
        }
    }
}

/// Does it.
pub fn run(action: &Action) -> Result<()> {
    match action {
        Action::Up(options) => up::run(options),
        Action::Down => down::run(),
        Action::Status => status::run(),
    }
}

/// Where logs, spans, data and the state lie.
fn folder() -> PathBuf {
    crate::target_dir().join("mesh")
}
