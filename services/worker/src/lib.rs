//! The worker: puts models on the mesh, each a target of its own.
//!
//! It owns the engines' weights (through `dyn Engine`) and, for each, a bounded admission queue. It depends on
//! nothing but its engines. It refuses to route, and to know which engines it runs.
//!
//! A request passes, in order: [`service`] (who asks), [`targets`] (for what), [`taken`] (checks, a place, the slot), [`admission`] (slots
//! and the queue before them), [`generation`] (the engine's events). [`frames`] is the reader's end: it lets the
//! work go on without the reader, and ends it when the reader goes. [`operation`] says how it ended, whatever
//! ended it. [`load`] tells how busy the worker is, all targets together. [`watchdog`] notices when an engine goes
//! silent, and [`probe`] keeps the health of each true, which works once a real generation has succeeded, until it is
//! given up; [`served`] makes the worker's of it: ready while any does.

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
mod watchdog;

use std::sync::Arc;

use axum::Router;
use pointsman_engine::Engine;
use pointsman_proto::inference::v1::inference_service_server::{InferenceServiceServer, SERVICE_NAME};
use pointsman_server::{Context, Parts, Surface, Task, surface};
use tonic::service::Routes;

pub use config::{Config, WatchdogConfig};

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
    /// What follows when the engine was given up.
    pub given_up: GivenUp,
}

/// What follows when an engine was given up. Its target is unavailable from then on, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The process drains and fails, whatever works beside it: whoever supervises it starts a new one, and nothing
    /// else brings the target back.
    EndsTheProcess,
    /// It is reported, and the process stays: it has more to do than this.
    IsReported,
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
        let health = probe::EngineHealth::new(member, metrics.clone());
        let watchdog = watchdog::Watchdog::new(config.watchdog.clone(), health.clone(), &metrics);
        let keeper = probe::Keeper {
            engine: Arc::clone(&engine),
            health: health.clone(),
            watchdog: watchdog.clone(),
            limits: config.watchdog.clone(),
            metrics: metrics.clone(),
        };
        tasks.extend([keep(keeper, deps.given_up), Task::new("engine watchdog", watchdog.clone().run())]);
        let admission = admission::Admission::new(slots(&engine), config.queue, loads.clone(), metrics.clone());
        service::Worker {
            instance: deps.instance.clone(),
            zone: config.zone.clone(),
            engine,
            served: Arc::clone(&served),
            admission,
            drain: context.drain.clone(),
            health,
            watchdog,
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

fn keep(keeper: probe::Keeper, given_up: GivenUp) -> Task {
    match given_up {
        GivenUp::EndsTheProcess => Task::until_given_up("engine probe", keeper.run()),
        GivenUp::IsReported => Task::new("engine probe", async move {
            let why = keeper.run().await;
            tracing::error!(why, "this target is not available, and will not be");
            std::future::pending().await
        }),
    }
}
