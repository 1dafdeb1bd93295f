//! The life that every service leads, and what all of them share at their borders.
//!
//! [`run`] takes a process from its configuration to its last span: telemetry, bind, build, SERVING, a
//! signal, NOT_SERVING, no new connections, the streams that run, the end of the rest, flush; from the
//! signal on under one deadline.
//! [`surface`] puts around a service's routes what every surface has: health, reflection, deadlines that
//! cover bodies, the drain, and the refusal of a mesh context from the public side.
//!
//! Beside the command line, the only crate that reads the environment ([`environment`]).

pub mod config;
pub mod environment;

mod drain;
#[cfg(test)]
mod endless;
mod guard;
mod health;
mod lifecycle;
mod listener;
mod metrics;
mod operator;
mod requests;
mod surface;
mod usage;
mod web;

pub use config::{ConfigError, ProcessConfig, ServerConfig};
pub use drain::Drain;
pub use guard::{Deadline, Refused};
pub use health::Readiness;
pub use lifecycle::{Context, Parts, Process, RunError, Task, Work, run};
pub use listener::BodyTimeout;
pub use metrics::Metrics;
pub use pointsman_tls::FileWatch;
pub use requests::{About, Answering, Requests};
pub use surface::{Surface, surface};
pub use usage::{Usage, UsageBatch, UsageSource};
pub use web::CorsConfig;
