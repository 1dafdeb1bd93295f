//! What tests of several crates need: real processes, free ports, an OTLP receiver, the services of `docker-compose.yml`,
//! PostgreSQL and Redis, certificates, a model that sees, and waiting without sleeping.
//!
//! Owns nothing that outlives a test: every value here ends on drop what it began, and only that.
//! Depends on nothing of ours so far (it may see floors 0 to 2). Refuses to hide a missing tool: where the
//! binary or an interpreter is not there, the error says which command makes it.

pub mod certificates;
pub mod compose;
pub mod eventually;
pub mod otlp;
pub mod ports;
pub mod process;
pub mod seeing_model;
pub mod servers;
pub mod tools;

pub use otlp::OtlpReceiver;
pub use process::Process;
