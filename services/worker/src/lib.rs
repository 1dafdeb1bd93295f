//! The worker: puts one model on the mesh.
//!
//! It owns the engine's weights (through `dyn Engine`) and a bounded admission queue. It depends on
//! nothing but its engine. It refuses to route, and to know which engine it runs.
//!
//! A request passes, in order: [`service`] (who asks), [`taken`] (checks, a place, the slot), [`admission`] (slots
//! and the queue before them), [`generation`] (the engine's events). [`frames`] is the reader's end: it lets the
//! work go on without the reader, and ends it when the reader goes. [`operation`] says how it ended, whatever
//! ended it. [`load`] tells how busy the worker is; [`probe`] keeps its health true: it is ready once a real
//! generation has succeeded.

mod admission;
mod config;
mod error;
mod frames;
mod generation;
mod load;
mod metrics;
mod operation;
mod probe;
mod service;
mod taken;

use std::sync::Arc;

use axum::Router;
use pointsman_engine::Engine;
use pointsman_proto::inference::v1::inference_service_server::{InferenceServiceServer, SERVICE_NAME};
use pointsman_server::{Context, Parts, Surface, Task, surface};
use tonic::service::Routes;

pub use config::Config;

/// What a worker needs from outside.
pub struct Deps {
    /// The engine, loaded.
    pub engine: Arc<dyn Engine>,
    /// This instance's name, unique in the mesh.
    pub instance: String,
    /// The largest request that is read, in bytes.
    pub max_request_bytes: usize,
}

/// Builds a worker.
pub fn build(config: &Config, deps: Deps, context: &Context) -> Parts {
    let metrics = metrics::Metrics::register(&context.metrics);
    let health = probe::EngineHealth::new(context.readiness.clone());
    let probe = probe::run(Arc::clone(&deps.engine), health.clone());
    let slots = config.slots.min(deps.engine.max_concurrent());
    let loads = load::Loads::new(slots, config.queue);
    let worker = service::Worker {
        instance: deps.instance,
        zone: config.zone.clone(),
        engine: deps.engine,
        admission: admission::Admission::new(slots, config.queue, loads.clone(), metrics.clone()),
        drain: context.drain.clone(),
        health,
        loads,
        metrics,
    };
    let service = service::Service(Arc::new(worker));
    let service = InferenceServiceServer::new(service).max_decoding_message_size(deps.max_request_bytes);
    let own = Surface { grpc: Routes::new(service), names: vec![SERVICE_NAME], http: Router::new() };
    let (router, health) = surface(own, &context.readiness, &context.drain);
    Parts { router, tasks: vec![health, Task::new("engine probe", probe)] }
}
