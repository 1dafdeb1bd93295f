//! One file for each command.

pub(crate) mod bench_model;
pub(crate) mod chat;
pub(crate) mod gateway;
pub(crate) mod key;
pub(crate) mod models;
pub(crate) mod policy;
pub(crate) mod requests;
pub(crate) mod sessions;
pub(crate) mod trace;
pub(crate) mod up;
pub(crate) mod usage;
pub(crate) mod worker;

use std::net::SocketAddr;

use anyhow::Result;
use pointsman_server::{Context, Parts, Process, ProcessConfig};
use pointsman_telemetry::Identity;
use pointsman_types::Origin;

/// A service that is to be run.
struct Service<'a> {
    /// `up`, `gateway`, `worker` or `sessions`.
    name: &'static str,
    /// Whom its listener faces.
    origin: Origin,
    /// Whether that needs no keys of callers.
    keyless: bool,
    config: &'a ProcessConfig,
    listen: SocketAddr,
    operator_listen: SocketAddr,
}

/// Runs a service to its end.
async fn serve(service: Service<'_>, build: impl AsyncFnOnce(Context) -> Result<Parts>) -> Result<()> {
    let Service { name, origin, keyless, config, listen, operator_listen } = service;
    let instance = config.server.instance.clone().unwrap_or_else(|| format!("{name}-{:08x}", rand::random::<u32>()));
    let identity = Identity { service: format!("pointsman-{name}"), instance, version: env!("CARGO_PKG_VERSION") };
    let mesh_listen = config.server.mesh_listen;
    let process = Process { identity, config: config.clone(), listen, operator_listen, origin, keyless, mesh_listen };
    pointsman_server::run(process, async |context| Ok(build(context).await?)).await?;
    Ok(())
}
