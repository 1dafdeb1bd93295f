//! The configuration of each command: the sections that it has, and how options and environment change
//! them.

use std::net::SocketAddr;
use std::path::Path;

use pointsman_gateway::Config as GatewayConfig;
use pointsman_server::config::{Peers, read};
use pointsman_server::{ConfigError, ProcessConfig, ServerConfig, environment};
use pointsman_sessions::Config as SessionsConfig;
use pointsman_tls::ServerTls;
use pointsman_worker::Config as WorkerConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::arguments::ServeOptions;
use crate::engine::EngineConfig;

/// `pointsman up`: a gateway, a worker and a session store in one process.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpConfig {
    pub(crate) server: ServerConfig,
    pub(crate) telemetry: pointsman_telemetry::Config,
    pub(crate) gateway: GatewayConfig,
    pub(crate) sessions: SessionsConfig,
    pub(crate) worker: WorkerConfig,
    pub(crate) engine: EngineConfig,
}

/// `pointsman gateway`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GatewayFile {
    pub(crate) server: ServerConfig,
    pub(crate) telemetry: pointsman_telemetry::Config,
    pub(crate) gateway: GatewayConfig,
}

/// `pointsman worker`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkerFile {
    pub(crate) server: ServerConfig,
    pub(crate) telemetry: pointsman_telemetry::Config,
    pub(crate) worker: WorkerConfig,
    pub(crate) engine: EngineConfig,
}

/// `pointsman sessions serve`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionsFile {
    pub(crate) server: ServerConfig,
    pub(crate) telemetry: pointsman_telemetry::Config,
    pub(crate) sessions: SessionsConfig,
}

/// A configuration that a command can run with.
pub(crate) trait Command: Default + DeserializeOwned + Serialize {
    /// Where the command listens unless it is told otherwise.
    const LISTEN: ([u8; 4], u16);

    /// The sections that every process has.
    fn process(&mut self) -> (&mut ServerConfig, &mut pointsman_telemetry::Config);
    /// What is wrong with the sections of its own.
    fn problems(&self, listen: SocketAddr) -> Vec<String>;
}

/// A checked configuration, with its addresses settled.
pub(crate) struct Settled<C> {
    pub(crate) config: C,
    pub(crate) process: ProcessConfig,
    pub(crate) listen: SocketAddr,
    pub(crate) operator_listen: SocketAddr,
}

/// Reads, changes and checks. `None` if the caller asked for nothing but that.
pub(crate) fn settle<C: Command>(
    options: &ServeOptions,
    change: impl FnOnce(&mut C) -> Vec<String>,
) -> Result<Option<Settled<C>>, ConfigError> {
    let mut config: C = options.config.as_deref().map_or_else(|| Ok(C::default()), read::<C>)?;
    let mut problems = change(&mut config);
    let (server, telemetry) = config.process();
    problems.extend(environment::apply(telemetry));
    server.listen = options.listen.or(server.listen);
    server.operator_listen = options.operator_listen.or(server.operator_listen);
    let listen = server.listen.unwrap_or_else(|| SocketAddr::from(C::LISTEN));
    let operator_listen = server.operator_listen.unwrap_or_else(|| operator_default(listen));
    let process = ProcessConfig { server: server.clone(), telemetry: telemetry.clone() };
    problems.extend(process.problems());
    problems.extend(config.problems(listen));
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    if options.dump_config {
        print_yaml(&config, options.config.as_deref())?;
    }
    if options.check_config {
        process.server.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
        println!("the configuration is good");
    }
    let only_asked = options.dump_config || options.check_config;
    Ok((!only_asked).then_some(Settled { config, process, listen, operator_listen }))
}

fn print_yaml<C: Serialize>(config: &C, path: Option<&Path>) -> Result<(), ConfigError> {
    let text = serde_saphyr::to_string(config).map_err(|error| ConfigError::Parse {
        path: path.unwrap_or(Path::new("the configuration")).to_owned(),
        message: error.to_string(),
    })?;
    println!("{}", text.trim_end());
    Ok(())
}

/// The port after the service's, on loopback; a free one beside a free one.
fn operator_default(listen: SocketAddr) -> SocketAddr {
    let port = if listen.port() == 0 { 0 } else { listen.port().saturating_add(1) };
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Command for UpConfig {
    const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

    fn process(&mut self) -> (&mut ServerConfig, &mut pointsman_telemetry::Config) {
        (&mut self.server, &mut self.telemetry)
    }

    fn problems(&self, listen: SocketAddr) -> Vec<String> {
        let mut problems = self.gateway.problems();
        problems.extend(self.sessions.problems());
        problems.extend(self.worker.problems());
        problems.extend(self.engine.problems());
        problems.extend(self.gateway.exposure_problem(listen, is_secret(&self.server)));
        let asks = asks_for_certificates(self.server.mesh_tls.as_ref());
        problems.extend(
            self.server.mesh_listen.and_then(|mesh| mesh_problem("server.mesh_listen", mesh, &self.server, asks)),
        );
        if !self.gateway.instances.is_empty() {
            problems.push("gateway.instances: `up` has its own worker; run `pointsman gateway` for others".to_owned());
        }
        if !self.gateway.peers.is_empty() {
            problems.push("gateway.peers: `up` is by itself; run `pointsman gateway` for several".to_owned());
        }
        if self.gateway.sessions.is_some() {
            problems.push("gateway.sessions: `up` has its own store; run `pointsman gateway` for another".to_owned());
        }
        problems
    }
}

impl Command for GatewayFile {
    const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

    fn process(&mut self) -> (&mut ServerConfig, &mut pointsman_telemetry::Config) {
        (&mut self.server, &mut self.telemetry)
    }

    fn problems(&self, listen: SocketAddr) -> Vec<String> {
        let mut problems = self.gateway.problems();
        problems.extend(self.gateway.exposure_problem(listen, is_secret(&self.server)));
        let asks = asks_for_certificates(self.server.mesh_tls.as_ref());
        problems.extend(
            self.server.mesh_listen.and_then(|mesh| mesh_problem("server.mesh_listen", mesh, &self.server, asks)),
        );
        if self.gateway.instances.is_empty() {
            problems.push("gateway.instances: name at least one instance, with `name` and `endpoint`".to_owned());
        }
        problems.extend(self.peer_problems());
        problems
    }
}

impl GatewayFile {
    /// Gateways that share requests must agree on their names, or one request has two owners.
    fn peer_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.gateway.peers.is_empty() {
            return problems;
        }
        match &self.server.instance {
            None => problems
                .push("server.instance: must be there, where there are gateway.peers: they call it so".to_owned()),
            Some(own) if self.gateway.peers.iter().any(|peer| peer.name == *own) => {
                problems.push(format!("gateway.peers: `{own}` is this gateway itself: leave it out"));
            }
            Some(_) => {}
        }
        if self.server.mesh_listen.is_none() {
            problems
                .push("server.mesh_listen: must be there, where there are gateway.peers: they call there".to_owned());
        }
        problems
    }
}

impl Command for WorkerFile {
    const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);

    fn process(&mut self) -> (&mut ServerConfig, &mut pointsman_telemetry::Config) {
        (&mut self.server, &mut self.telemetry)
    }

    fn problems(&self, listen: SocketAddr) -> Vec<String> {
        let mut problems = self.worker.problems();
        problems.extend(self.engine.problems());
        let asks = asks_for_certificates(self.server.tls.as_ref());
        problems.extend(mesh_problem("server.listen", listen, &self.server, asks));
        if self.server.mesh_listen.is_some() {
            problems.push("server.mesh_listen: a worker's own listener faces the mesh already".to_owned());
        }
        if !self.server.cors.allowed_origins.is_empty() {
            problems.push("server.cors: a worker answers gateways, and no browsers".to_owned());
        }
        problems
    }
}

impl Command for SessionsFile {
    const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9490);

    fn process(&mut self) -> (&mut ServerConfig, &mut pointsman_telemetry::Config) {
        (&mut self.server, &mut self.telemetry)
    }

    fn problems(&self, listen: SocketAddr) -> Vec<String> {
        let mut problems = self.sessions.problems();
        let asks = asks_for_certificates(self.server.tls.as_ref());
        problems.extend(mesh_problem("server.listen", listen, &self.server, asks));
        if self.server.mesh_listen.is_some() {
            problems.push("server.mesh_listen: a session store's own listener faces the mesh already".to_owned());
        }
        if !self.server.cors.allowed_origins.is_empty() {
            problems.push("server.cors: a session store answers gateways, and no browsers".to_owned());
        }
        problems
    }
}

/// Whether nobody on the way reads what callers send, or somebody has said that this is well.
fn is_secret(server: &ServerConfig) -> bool {
    server.plaintext || server.tls.is_some()
}

fn asks_for_certificates(tls: Option<&ServerTls>) -> bool {
    tls.is_some_and(|tls| tls.client_ca.is_some())
}

/// Returns why a listener that faces the mesh must not listen there, if it must not.
fn mesh_problem(field: &str, listen: SocketAddr, server: &ServerConfig, asks_for_certificates: bool) -> Option<String> {
    let is_open = !listen.ip().is_loopback() && !asks_for_certificates && server.peers == Peers::Loopback;
    let section = if field == "server.listen" { "server.tls" } else { "server.mesh_tls" };
    is_open.then(|| {
        format!(
            "{field}: {listen} is not loopback, and whoever calls there is believed. Keep it on loopback, ask callers for certificates with `{section}.client_ca`, or say `server.peers: trusted_network`"
        )
    })
}
