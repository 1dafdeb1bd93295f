//! The gateway: the one address in front of every model.
//!
//! It owns a last-good policy, a view of the fleet and a usage spool: nothing that another replica would need.
//! It depends on the instances that its configuration names. It refuses provider secrets and databases.
//!
//! The tree reads like the path of a request: a surface ([`surfaces`]) makes a [`caller`] and a
//! `Valid<GenerateRequest>` of what came; [`exchange`] is the whole of one operation; it decides by the
//! [`policy`] where the request may go, and hands over to the attempts ([`attempt`]), which pick instances
//! in the [`fleet`] and record usage in the [`spool`], from where operators take it ([`usage`]); frames go back
//! through the surface. Calls on the path: one, to the instance that generates; in a session two more, to its store, with
//! which a [`turn`] begins and is committed.

mod attempt;
mod caller;
mod catalog;
mod config;
mod exchange;
mod fleet;
mod frame_log;
mod limits;
mod metrics;
mod policy;
mod span;
mod spool;
mod surfaces;
mod trail;
mod turn;
mod usage;
mod watch;

use std::sync::Arc;

use pointsman_client::Channel;
use pointsman_proto::inference::v1::inference_service_server::{InferenceServiceServer, SERVICE_NAME};
use pointsman_proto::sessions::v1::session_service_server;
use pointsman_server::{Context, Parts, Surface, Task, surface};
use tonic::service::Routes;

pub use caller::{NewKey, new_key};
pub use config::{Config, FrameLogConfig, InstanceConfig, KeyConfig, LimitsConfig, Scope};

/// What a gateway needs from outside.
pub struct Deps {
    /// The instances that it may send requests to, by their configured names.
    pub instances: Vec<(String, Channel)>,
    /// The other gateways, by their configured names.
    pub peers: Vec<(String, Channel)>,
    /// The session store. `None`: requests with a session are refused.
    pub sessions: Option<Channel>,
    /// This gateway's own name, unique in the mesh.
    pub instance: String,
    /// The largest request that is read, in bytes.
    pub max_request_bytes: usize,
}

/// A gateway cannot be built.
#[derive(Debug)]
pub enum BuildError {
    /// The policy was right when the configuration was checked, and is not any more.
    Policy(String),
    /// The files of the contract cannot be packed.
    Contract(std::io::Error),
    /// The folder for usage records cannot be used.
    Spool(Box<dyn std::error::Error + Send + Sync>),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(mistakes) => write!(f, "the policy cannot be used:\n{mistakes}"),
            Self::Contract(_) => f.write_str("the files of the contract cannot be packed"),
            Self::Spool(_) => f.write_str("usage cannot be recorded in gateway.data_dir"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Policy(_) => None,
            Self::Contract(source) => Some(source),
            Self::Spool(source) => Some(&**source),
        }
    }
}

/// How large a file of usage records grows.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Builds a gateway. It is ready while at least one instance is.
pub fn build(config: &Config, deps: Deps, context: &Context) -> Result<Parts, BuildError> {
    let metrics = metrics::Metrics::register(&context.metrics);
    let policy = policy::InForce::read(config.policy.as_deref()).map_err(BuildError::Policy)?;
    let spool = match &config.data_dir {
        Some(folder) => spool::Spool::open(&folder.join("usage"), config.usage_limit.bytes(), SEGMENT_BYTES)
            .map_err(|error| BuildError::Spool(error.into()))?,
        None => spool::Spool::none(),
    };
    if config.data_dir.is_some() {
        context.usage.register(usage::Taken(spool.clone()));
    }
    context.metrics.register_collector(usage::Fullness(spool.clone()));
    let frame_logs = frame_log::FrameLogs::new(config.frame_log);
    let fleet = fleet::Fleet::new(deps.instances);
    let peers = deps.peers.into_iter().map(|(name, channel)| frame_log::owner::Peer::new(&name, channel)).collect();
    let tasks = vec![
        Task::new("fleet watch", watch::run(fleet.clone(), context.readiness.clone(), context.drain.clone())),
        Task::new("policy watch", policy.clone().follow(config.policy.clone(), fleet.clone(), metrics.clone())),
        Task::new("usage spool", spool.clone().keep_synced()),
        Task::new("frame log", frame_logs.clone().keep_bounded()),
    ];
    let gateway = Arc::new(exchange::Gateway {
        callers: caller::Callers::new(&config.keys),
        drain: context.drain.clone(),
        fleet,
        frame_logs,
        owners: frame_log::owner::Owners::new(&deps.instance, peers),
        instance: deps.instance,
        max_request_bytes: deps.max_request_bytes,
        metrics,
        policy,
        requests: context.requests.clone(),
        sessions: deps.sessions.map(|channel| turn::SessionStore::new(channel, context.work.clone())),
        work: context.work.clone(),
        spool,
        zone: config.zone.as_str().into(),
    });
    let grpc = InferenceServiceServer::new(surfaces::grpc::Grpc(Arc::clone(&gateway)))
        .max_decoding_message_size(deps.max_request_bytes);
    let mut routes = Routes::builder();
    routes.add_service(surfaces::grpc::trailers::Trailing(grpc));
    // Also without a store: then its callers are told so.
    routes.add_service(surfaces::sessions::Forwarding(Arc::clone(&gateway)));
    let mut names = vec![SERVICE_NAME];
    names.extend(gateway.sessions.is_some().then_some(session_service_server::SERVICE_NAME));
    let own = Surface {
        grpc: routes.routes(),
        names,
        http: surfaces::openai::router(gateway).merge(surfaces::contract::router().map_err(BuildError::Contract)?),
    };
    let (router, health) = surface(own, &context.readiness, &context.drain);
    Ok(Parts { router, tasks: tasks.into_iter().chain([health]).collect() })
}
