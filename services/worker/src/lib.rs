//! The worker: puts models on the mesh, each a target of its own.
//!
//! It owns the engines' weights (through `dyn Engine`) and, for each, a bounded admission queue. It depends on
//! nothing but its engines. It refuses to route, and to know which engines it runs.
//!
//! A request passes, in order: [`service`] (who asks), [`targets`] (for what), [`taken`] (checks, a place, the slot), [`admission`] (slots
//! and the queue before them), [`generation`] (the engine's events). [`frames`] is the reader's end: it lets the
//! work go on without the reader, and ends it when the reader goes. [`operation`] says how it ended, whatever
//! ended it. [`load`] tells how busy the worker is, all targets together. [`probe`] keeps the health of each engine
//! true, which works once a real generation has succeeded; [`served`] makes the worker's of it: ready while any does.

mod admission;
mod config;
mod error;
mod frames;
mod generation;
mod load;
mod metrics;
mod operation;
mod probe;
mod served;
mod service;
mod taken;
mod targets;

use std::sync::Arc;

use axum::Router;
use pointsman_engine::Engine;
use pointsman_proto::inference::v1::inference_service_server::{InferenceServiceServer, SERVICE_NAME};
use pointsman_server::{Context, Parts, Surface, Task, surface};
use tonic::service::Routes;

pub use config::Config;

/// What a worker needs from outside.
pub struct Deps {
    /// The engine of the first target, loaded.
    pub engine: Arc<dyn Engine>,
    /// Those of the others. No two have the same target.
    pub others: Vec<Arc<dyn Engine>>,
    /// This instance's name, unique in the mesh.
    pub instance: String,
    /// The largest request that is read, in bytes.
    pub max_request_bytes: usize,
}

/// Builds a worker.
pub fn build(config: &Config, deps: Deps, context: &Context) -> Parts {
    let metrics = metrics::Metrics::register(&context.metrics);
    let all = || std::iter::once(&deps.engine).chain(&deps.others);
    let count = all().count();
    let slots = |engine: &Arc<dyn Engine>| config.slots.min(engine.max_concurrent());
    let all_slots = all().map(slots).sum();
    let loads = load::Loads::new(all_slots, config.queue * count);
    let engines = served::Engines::new(context.readiness.clone(), count);
    let descriptions = all().map(|engine| engine.description());
    let public = descriptions.filter(|description| description.tenants.is_empty());
    let served: Arc<[String]> = public.map(|description| description.target.clone()).collect();
    let mut tasks = Vec::new();
    let mut worker = |engine: Arc<dyn Engine>, member| {
        let health = probe::EngineHealth::new(member);
        tasks.push(Task::new("engine probe", probe::run(Arc::clone(&engine), health.clone())));
        let admission = admission::Admission::new(slots(&engine), config.queue, loads.clone(), metrics.clone());
        service::Worker {
            instance: deps.instance.clone(),
            zone: config.zone.clone(),
            engine,
            served: Arc::clone(&served),
            admission,
            drain: context.drain.clone(),
            health,
            loads: loads.clone(),
            metrics: metrics.clone(),
        }
    };
    let first = worker(deps.engine, engines.member(0));
    let others = deps.others.into_iter().zip(1..).map(|(engine, index)| worker(engine, engines.member(index)));
    let service = service::Service(targets::Targets::new(first, others));
    let service = InferenceServiceServer::new(service).max_decoding_message_size(deps.max_request_bytes);
    let own = Surface { grpc: Routes::new(service), names: vec![SERVICE_NAME], http: Router::new() };
    let (router, health) = surface(own, &context.readiness, &context.drain);
    tasks.push(health);
    Parts { router, tasks }
}
