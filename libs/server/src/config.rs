//! What every process is configured with, and how a file becomes configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman_tls::ServerTls;
use pointsman_types::ByteSize;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::web::CorsConfig;

/// Longer is a mistake of units.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// What every process has, whatever it serves: the sections `server` and `telemetry`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// Listeners, limits, shutdown.
    pub server: ServerConfig,
    /// Traces and logs.
    pub telemetry: pointsman_telemetry::Config,
}

/// Listeners, limits, shutdown.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where the service listens. Default: the command's own (gateway and `up` 127.0.0.1:8080, worker
    /// 127.0.0.1:9090). Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Where the operator port listens: `/livez`, `/readyz`, `/metrics`, recent traces. It needs no key, so
    /// keep it off public networks. Default: the port after `listen`, on loopback.
    pub operator_listen: Option<SocketAddr>,
    /// Where a gateway listens for other gateways, its `gateway.peers` among them: what they say of a request is
    /// believed. Default: nowhere.
    pub mesh_listen: Option<SocketAddr>,
    /// The certificate that `listen` shows. Read again when the files change. Default: none, and the listener speaks
    /// plain text.
    pub tls: Option<ServerTls>,
    /// The same for `mesh_listen`.
    pub mesh_tls: Option<ServerTls>,
    /// The name of this instance, unique in the mesh. Default: the service and eight random hex digits.
    pub instance: Option<String>,
    /// Allows callers' keys to travel without TLS on a listener that is not loopback. Default false.
    pub plaintext: bool,
    /// Who may call a mesh listener that is not loopback and asks for no certificates of clients
    /// (`client_ca`). Default `loopback`: such a listener is refused.
    pub peers: Peers,
    /// Which pages may call the service from a browser.
    pub cors: CorsConfig,
    /// The largest request body. Default 32MiB.
    pub max_request_size: ByteSize,
    /// Limits of a connection.
    pub connection: ConnectionConfig,
    /// How long the process may take to end after a signal, everything included. The last quarter, at most 4s,
    /// is for what remains once running answers have had their time: they are ended, connections are closed,
    /// the last spans are sent. Default 30s.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: None,
            operator_listen: None,
            mesh_listen: None,
            tls: None,
            mesh_tls: None,
            instance: None,
            plaintext: false,
            peers: Peers::default(),
            cors: CorsConfig::default(),
            max_request_size: ByteSize::mebibytes(32),
            connection: ConnectionConfig::default(),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// Who may call a mesh listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Peers {
    /// Processes of the same machine.
    #[default]
    Loopback,
    /// Whoever reaches the port: the network keeps others away.
    TrustedNetwork,
}

/// Limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionConfig {
    /// Connections that are open at the same time, on each of the two ports. At the limit further ones wait to be
    /// accepted. Default 10,000, at most 1,000,000.
    pub max_connections: usize,
    /// After this time a connection takes no new calls and closes when the running ones are done, so that
    /// callers spread over new instances. Default 30m.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Calls that run on one HTTP/2 connection at the same time. Default 1,024.
    pub max_streams: u32,
    /// How long the TLS handshake of a new connection may take. Default 10s.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How long a new connection may take until it is clear whether it speaks HTTP/1.1 or HTTP/2. Default 10s.
    #[serde(with = "humantime_serde")]
    pub first_byte_timeout: Duration,
    /// HTTP/1.1: how long the headers of a request may take. A connection that is kept alive may be idle as
    /// long. Default 30s.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// How long the next piece of a request's body may take, except over gRPC, where the call's deadline holds.
    /// Default 30s.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How long the peer may take nothing of what is written to the connection, before it is closed. On HTTP/2 a
    /// stream that nobody reads does not count: its deadline ends it. Default 60s.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// How often an HTTP/2 ping asks whether the peer is still there. Default 20s.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long its answer may take. Default 10s.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_age: Duration::from_secs(30 * 60),
            max_streams: 1024,
            handshake_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

impl ConnectionConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=1_000_000).contains(&self.max_connections) {
            problems.push("server.connection.max_connections: must be 1 to 1000000".to_owned());
        }
        if self.max_streams == 0 {
            problems.push("server.connection.max_streams: must be at least 1".to_owned());
        }
        for (field, value) in [
            ("max_age", self.max_age),
            ("handshake_timeout", self.handshake_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
            ("header_read_timeout", self.header_read_timeout),
            ("body_timeout", self.body_timeout),
            ("stall_timeout", self.stall_timeout),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ] {
            if value.is_zero() {
                problems.push(format!("server.connection.{field}: must be longer than 0s"));
            }
        }
        problems
    }
}

impl ProcessConfig {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.telemetry.problems();
        let server = &self.server;
        if server.max_request_size.bytes() == 0 {
            problems.push("server.max_request_size: must be at least 1B".to_owned());
        }
        if server.shutdown_grace.is_zero() || server.shutdown_grace > LONGEST_GRACE {
            problems.push("server.shutdown_grace: must be longer than 0s, and at most 24h".to_owned());
        }
        problems.extend(server.connection.problems());
        problems.extend(server.cors.problems());
        for (section, tls) in [("server.tls", &server.tls), ("server.mesh_tls", &server.mesh_tls)] {
            problems.extend(tls.iter().flat_map(|tls| tls.problems(section)));
        }
        if server.mesh_tls.is_some() && server.mesh_listen.is_none() {
            problems.push(
                "server.mesh_tls: is for server.mesh_listen, which is not there; `server.listen` has `server.tls`"
                    .to_owned(),
            );
        }
        problems
    }
}

impl ServerConfig {
    /// Returns what a process can run with, though its users will not be glad of it.
    pub fn warnings(&self) -> Vec<String> {
        let sections = [("server.tls", &self.tls), ("server.mesh_tls", &self.mesh_tls)];
        sections.into_iter().flat_map(|(section, tls)| tls.iter().flat_map(|tls| tls.warnings(section))).collect()
    }
}

/// Configuration cannot be used. The process exits with 64.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what is expected; the text has line and column.
    #[error("{}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// Values are wrong; all of them are listed.
    #[error("the configuration has mistakes:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
    /// The text of a file that is no configuration is wrong; all mistakes are listed.
    #[error("{what} {} has mistakes:\n  {}", .path.display(), .mistakes.join("\n  "))]
    InvalidFile {
        /// What the file is, such as `the policy file`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        mistakes: Vec<String>,
    },
}

/// Reads a YAML file. Unknown keys are mistakes.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_saphyr::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })
}
