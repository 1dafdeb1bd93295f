use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Traces and logs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where spans are sent. Default: nowhere; they stay in this process's buffer of recent traces.
    pub otlp: Option<OtlpConfig>,
    /// Which share of the requests that arrive without a trace is recorded, 0 to 1. A request that arrives
    /// with a trace follows the caller's choice. Default 1.
    pub sample_ratio: f64,
    /// How many recent traces are kept for `pointsman trace`, each of at most 128 spans. Default 256; at most 10,000.
    pub recent_traces: usize,
    /// Log lines, on standard error.
    pub log: LogConfig,
    /// More resource attributes, such as `deployment.environment.name`. Default: none.
    pub resource: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { otlp: None, sample_ratio: 1.0, recent_traces: 256, log: LogConfig::default(), resource: BTreeMap::new() }
    }
}

impl Config {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            problems.push("telemetry.sample_ratio: must be 0 to 1".to_owned());
        }
        if !(1..=10_000).contains(&self.recent_traces) {
            problems.push("telemetry.recent_traces: must be 1 to 10000".to_owned());
        }
        if let Some(otlp) = &self.otlp
            && !otlp.endpoint.starts_with("http://")
        {
            problems.push(format!(
                "telemetry.otlp.endpoint: `{}` must be http://HOST:PORT; there is no TLS yet",
                otlp.endpoint
            ));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            problems.push(format!("telemetry.log.filter: {error}"));
        }
        problems
    }
}

/// Where and how spans are sent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// The receiver: `http://localhost:4317` for gRPC; for HTTP the whole path, `http://localhost:4318/v1/traces`.
    pub endpoint: String,
    /// How it is spoken to. Default `grpc`.
    #[serde(default)]
    pub protocol: OtlpProtocol,
}

/// A transport of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, as `level` or `target=level` directives. Default `info`.
    pub filter: String,
    /// For whom. Default `human`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        // The engine writes a page of info at each load; its warnings are worth reading.
        Self {
            // A GGUF file on the CPU is warned of where nothing is wrong.
            filter: "info,mistralrs=warn,mistralrs_core=warn,mistralrs_core::pipeline::gguf=error,mistralrs_quant=warn"
                .to_owned(),
            format: LogFormat::default(),
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}
