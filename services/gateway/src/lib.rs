//! The gateway: the one address in front of every model.
//!
//! It owns nothing that another replica would need: a view of the fleet, counts of what it sent where.
//! It depends on the instances that its configuration names. It refuses provider secrets and databases.
//!
//! The tree reads like the path of a request: a surface ([`surfaces`]) makes a [`caller`] and a
//! `Valid<GenerateRequest>` of what came; [`exchange`] is the whole of one operation; it resolves the
//! model in the [`fleet`], picks an instance there, and hands over to an [`attempt`]; its frames go back
//! through the surface. Calls on the path: one, to the instance that generates.

mod attempt;
mod caller;
mod config;
mod exchange;
mod fleet;
mod metrics;
mod span;
mod surfaces;
mod watch;

use std::sync::Arc;

use pointsman_client::Channel;
use pointsman_proto::inference::v1::inference_service_server::{InferenceServiceServer, SERVICE_NAME};
use pointsman_server::{Context, Parts, Surface, Task, surface};
use tonic::service::Routes;

pub use caller::{NewKey, new_key};
pub use config::{Config, InstanceConfig, KeyConfig, Scope};

/// What a gateway needs from outside.
pub struct Deps {
    /// The instances that it may send requests to, by their configured names.
    pub instances: Vec<(String, Channel)>,
    /// This gateway's own name, unique in the mesh.
    pub instance: String,
    /// The largest request that is read, in bytes.
    pub max_request_bytes: usize,
}

/// Builds a gateway. It is ready while at least one instance is.
pub fn build(config: &Config, deps: Deps, context: &Context) -> Parts {
    let metrics = metrics::Metrics::register(&context.metrics);
    let fleet = fleet::Fleet::new(deps.instances);
    let watch = watch::run(fleet.clone(), context.readiness.clone(), context.drain.clone());
    let gateway = Arc::new(exchange::Gateway {
        callers: caller::Callers::new(&config.keys),
        drain: context.drain.clone(),
        fleet,
        instance: deps.instance,
        max_request_bytes: deps.max_request_bytes,
        metrics,
    });
    let grpc = InferenceServiceServer::new(surfaces::grpc::Grpc(Arc::clone(&gateway)))
        .max_decoding_message_size(deps.max_request_bytes);
    let own = Surface { grpc: Routes::new(grpc), names: vec![SERVICE_NAME], http: surfaces::openai::router(gateway) };
    let (router, health) = surface(own, &context.readiness, &context.drain);
    Parts { router, tasks: vec![health, Task::new("fleet watch", watch)] }
}
