//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// How whoever reads this calls the program: through cargo in a clone, or by its name.
pub(crate) fn program() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run --" } else { "pointsman" }
}

/// A serving mesh for language models: one contract in front of every model.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the whole mesh in one process, with the bundled demo model unless told otherwise.
    Up(UpOptions),
    /// Runs a gateway.
    Gateway(ServeOptions),
    /// Runs a worker.
    Worker(WorkerOptions),
    /// Sends a chat and prints the answer as it comes; without text, holds a conversation.
    Chat(ChatOptions),
    /// Lists the models that can be used.
    Models(ClientOptions),
    /// Shows the spans of a recent request, from the operator port.
    Trace(TraceOptions),
    /// Makes keys for callers.
    Key(KeyOptions),
}

/// What every service takes. What is given here wins over the file.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Configuration as YAML; see docs/reference/configuration.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the service listens [default: 127.0.0.1:8080; a worker 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the operator port listens [default: the port after --listen, on loopback].
    #[arg(long, value_name = "ADDR")]
    pub(crate) operator_listen: Option<SocketAddr>,
    /// Checks the configuration and exits.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Prints the configuration with every default, and exits.
    #[arg(long, conflicts_with = "check_config")]
    pub(crate) dump_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EngineOptions {
    /// A model to serve: a folder in Hugging Face layout with safetensors [default: models/demo/model].
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// What generates.
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineKind {
    /// mistral.rs, with a real model.
    Mistralrs,
    /// No model: deterministic text.
    Simulated,
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub(crate) serve: ServeOptions,
    #[command(flatten)]
    pub(crate) engine: EngineOptions,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerOptions {
    #[command(flatten)]
    pub(crate) serve: ServeOptions,
    #[command(flatten)]
    pub(crate) engine: EngineOptions,
}

/// What every client command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOptions {
    /// Where the mesh listens.
    #[arg(long, value_name = "URL", env = "POINTSMAN_ADDRESS", default_value = "http://127.0.0.1:8080")]
    pub(crate) address: String,
    /// The key to use, where the mesh needs one.
    #[arg(long, value_name = "KEY", env = "POINTSMAN_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ChatOptions {
    /// What to say. Default: a conversation, a line each.
    pub(crate) text: Option<String>,
    /// The model [default: the first of the list].
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Standing instructions for the model.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The most tokens that an answer may have.
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_tokens: Option<u32>,
    /// Flattens (above 1) or sharpens the choice of tokens, 0 to 2 [default: greedy].
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    /// Makes a sampled answer repeatable.
    #[arg(long)]
    pub(crate) seed: Option<i64>,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct TraceOptions {
    /// A request id (`x-request-id`) or a trace id (`x-pointsman-trace-id`).
    pub(crate) id: String,
    /// Where the operator port listens.
    #[arg(long, value_name = "URL", env = "POINTSMAN_OPERATOR_ADDRESS", default_value = "http://127.0.0.1:8081")]
    pub(crate) operator_address: String,
}

#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Prints a new key, and what to write into `gateway.keys` for it.
    New {
        /// Who is billed and isolated.
        #[arg(long)]
        tenant: String,
    },
}
