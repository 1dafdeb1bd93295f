//! The worker: puts one model on the mesh.
//!
//! It owns the engine's weights (through `dyn Engine`) and a bounded admission queue. It depends on
//! nothing but its engine. It refuses to route, and to know which engine it runs.
//!
//! A request passes, in order: [`service`] (who asks), [`taken`] (checks, a place, the slot), [`admission`] (slots
//! and the queue before them), [`generation`] (the engine's events). [`frames`] is the reader's end: it lets the
//! work go on without the reader, and ends it when the reader goes. [`operation`] says how it ended, whatever
//! ended it. [`load`] tells how busy the worker is; [`watchdog`] notices when the engine goes silent, and [`probe`]
//! keeps the worker's health true: it is ready once a real generation has succeeded, until its engine is given up.

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
    /// The engine, loaded.
    pub engine: Arc<dyn Engine>,
    /// This instance's name, unique in the mesh.
    pub instance: String,
    /// The largest request that is read, in bytes.
    pub max_request_bytes: usize,
    /// What follows when the engine was given up.
    pub given_up: GivenUp,
}

/// What follows when an engine was given up. The worker is not ready from then on, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The process drains and fails: whoever supervises it starts a new one.
    EndsTheProcess,
    /// It is reported, and the process stays: it has more to do than this.
    IsReported,
}

/// Builds a worker.
pub fn build(config: &Config, deps: Deps, context: &Context) -> Parts {
    let metrics = metrics::Metrics::register(&context.metrics);
    let health = probe::EngineHealth::new(context.readiness.clone(), metrics.clone());
    let watchdog = watchdog::Watchdog::new(config.watchdog.clone(), health.clone(), metrics.clone());
    let keeper = probe::Keeper {
        engine: Arc::clone(&deps.engine),
        health: health.clone(),
        watchdog: watchdog.clone(),
        limits: config.watchdog.clone(),
        metrics: metrics.clone(),
    };
    let tasks = [keep(keeper, deps.given_up), Task::new("engine watchdog", watchdog.clone().run())];
    let slots = config.slots.min(deps.engine.max_concurrent());
    let loads = load::Loads::new(slots, config.queue);
    let worker = service::Worker {
        instance: deps.instance,
        zone: config.zone.clone(),
        engine: deps.engine,
        admission: admission::Admission::new(slots, config.queue, loads.clone(), metrics.clone()),
        drain: context.drain.clone(),
        health,
        watchdog,
        loads,
        metrics,
    };
    let service = service::Service(Arc::new(worker));
    let service = InferenceServiceServer::new(service).max_decoding_message_size(deps.max_request_bytes);
    let own = Surface { grpc: Routes::new(service), names: vec![SERVICE_NAME], http: Router::new() };
    let (router, health) = surface(own, &context.readiness, &context.drain);
    Parts { router, tasks: tasks.into_iter().chain([health]).collect() }
}

fn keep(keeper: probe::Keeper, given_up: GivenUp) -> Task {
    match given_up {
        GivenUp::EndsTheProcess => Task::until_given_up("engine probe", keeper.run()),
        GivenUp::IsReported => Task::new("engine probe", async move {
            let why = keeper.run().await;
            tracing::error!(why, "this worker is not ready, and will not be");
            std::future::pending().await
        }),
    }
}
