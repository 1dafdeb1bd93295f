//! The command line.

pub(crate) mod sessions;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sessions::{SessionName, SessionsOptions};

/// How whoever reads this calls the program: through cargo in a clone, or by its name.
pub(crate) fn program() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run --" } else { "pointsman" }
}

/// What `bench-model` calls itself with.
pub(crate) const BENCH_MODEL_PART: &str = "bench-model-part";

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
    Gateway(GatewayOptions),
    /// Runs a worker.
    Worker(WorkerOptions),
    /// Sends a chat and prints the answer as it comes; without text, holds a conversation.
    Chat(ChatOptions),
    /// Lists the models that can be used.
    Models(ClientOptions),
    /// Keeps stored conversations; lists, shows, exports, changes and erases them.
    Sessions(SessionsOptions),
    /// Shows the spans of a recent request, from the operator port.
    Trace(TraceOptions),
    /// Lists the requests in flight, from the operator port.
    Requests(OperatorOptions),
    /// Ends a request in flight, at the operator port.
    Cancel(CancelOptions),
    /// Prints a gateway's usage records as JSON, a line each, from the operator port.
    Usage(UsageOptions),
    /// Checks and explains policies.
    Policy(PolicyOptions),
    /// Makes keys for callers.
    Key(KeyOptions),
    /// Compares quantisations of a model on prompts of yours: answers, speed, memory.
    BenchModel(BenchModelOptions),
    /// Measures one of them, in a process of its own.
    #[command(name = BENCH_MODEL_PART, hide = true)]
    BenchModelPart,
}

/// What every service takes. What is given here wins over the file.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Configuration as YAML; see docs/reference/configuration.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the service listens [default: 127.0.0.1:8080; a worker 127.0.0.1:9090, a session store
    /// 127.0.0.1:9490].
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
    /// A model to serve: a folder in Hugging Face layout, or a GGUF file [default: models/demo/model].
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// What generates.
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineKind>,
    /// What the simulated engine answers, as YAML; see docs/reference/script.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineKind {
    /// mistral.rs, with a real model.
    Mistralrs,
    /// No model: deterministic text.
    Simulated,
}

/// What a gateway takes beside.
#[derive(Debug, Args)]
pub(crate) struct RouteOptions {
    /// The policy: virtual models and where they lead; see docs/reference/policy.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The folder for usage records [default: they are counted and dropped], and for the conversations of `up`
    /// [default: the user's own folder for states].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl RouteOptions {
    /// What is given here wins over the file. Returns what is wrong with it: nothing can be.
    pub(crate) fn change(&self, config: &mut pointsman_gateway::Config) -> Vec<String> {
        config.policy = self.policy.clone().or(config.policy.take());
        config.data_dir = self.data_dir.clone().or(config.data_dir.take());
        Vec::new()
    }
}

#[derive(Debug, Args)]
pub(crate) struct GatewayOptions {
    #[command(flatten)]
    pub(crate) serve: ServeOptions,
    #[command(flatten)]
    pub(crate) route: RouteOptions,
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub(crate) serve: ServeOptions,
    #[command(flatten)]
    pub(crate) route: RouteOptions,
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
    /// The certificates, as PEM, of the authority to trust at an https address [default: the system's].
    #[arg(long, value_name = "FILE", env = "POINTSMAN_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// The key to use, where the mesh needs one.
    #[arg(long, value_name = "KEY", env = "POINTSMAN_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ChatOptions {
    /// What to say. Default: a conversation, a line each.
    pub(crate) text: Option<String>,
    /// The model; `pointsman models` lists them [default: the one that answered last in the session, or the first of
    /// the list].
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Goes on with a stored conversation, or begins one of that name: what is said is kept by the mesh.
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<SessionName>,
    /// Makes each answer a run, which goes on when this program ends: `pointsman sessions resume` reads it.
    #[arg(long, requires = "session")]
    pub(crate) detach: bool,
    /// Standing instructions for the model; with --session those that a new one gets.
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
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CancelOptions {
    /// A request id (`x-request-id`) or a trace id (`x-pointsman-trace-id`).
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

#[derive(Debug, Args)]
pub(crate) struct UsageOptions {
    /// Lets go of what was printed: the gateway removes it. Without it, everything stays.
    #[arg(long)]
    pub(crate) take: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// What every command of operators takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct OperatorOptions {
    /// Where the operator port listens.
    #[arg(long, value_name = "URL", env = "POINTSMAN_OPERATOR_ADDRESS", default_value = "http://127.0.0.1:8081")]
    pub(crate) operator_address: String,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyOptions {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Checks a policy file; tells every mistake with its line and column.
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Says what a policy would do with a request, and why.
    Explain(ExplainOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// The policy.
    pub(crate) file: PathBuf,
    /// The request: a GenerateRequest in protobuf's JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// The tenant that sends it.
    #[arg(long, default_value = pointsman_types::LOCAL_TENANT)]
    pub(crate) tenant: String,
    /// The id of the key that it is sent with.
    #[arg(long, default_value = "")]
    pub(crate) key: String,
    /// Repeats the chance of a decision: its id, 16 hexadecimal digits as an answer shows it, or any number
    /// with fewer digits [default: random].
    #[arg(long, value_parser = decision_seed)]
    pub(crate) seed: Option<u64>,
}

/// Reads the id of a decision, or a number. One of 16 digits is an id, and what has more can only be a number.
fn decision_seed(text: &str) -> Result<u64, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seed = if is_id { u64::from_str_radix(text, 16) } else { text.parse() };
    seed.map_err(|_| {
        "give a decision id, 16 hexadecimal digits as in `x-pointsman-decision-id`, or a number".to_owned()
    })
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

#[derive(Debug, Args)]
pub(crate) struct BenchModelOptions {
    /// A model: a folder in Hugging Face layout with safetensors.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// What to compare with the weights as they are (`none`, which is always measured).
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "none,q8_0,q4k")]
    pub(crate) quantizations: Vec<String>,
    /// What to ask: a prompt in each line, or a conversation as JSON [default: six of our own].
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Option<PathBuf>,
    /// The most tokens that an answer may have.
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::decision_seed;

    #[test]
    fn a_seed_is_a_decision_id_or_a_number() {
        for (text, seed) in [
            ("00000000000000ff", 255),
            ("FFFFFFFFFFFFFFFF", u64::MAX),
            ("0000000000000010", 16),
            ("7", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(decision_seed(text), Ok(seed), "{text}");
        }
        for text in ["abc", "", "00000000000000fg", "-1", "18446744073709551616"] {
            let told = decision_seed(text).unwrap_err();
            assert!(told.contains("16 hexadecimal digits") && told.contains("or a number"), "{text}: {told}");
        }
    }
}
