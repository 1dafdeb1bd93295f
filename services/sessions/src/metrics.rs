//! What a session store counts.

use std::sync::Arc;
use std::time::Duration;

use pointsman_server::Metrics as Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

/// Handles to the metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    running: Gauge,
    turns: Family<TurnLabels, Counter>,
    begin: Histogram,
    commit: Histogram,
    wait: Histogram,
    passed_over: Counter,
    erased: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TurnLabels {
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        let seconds = |name, help| {
            // 0.5 ms to 16 s, doubling.
            let buckets = exponential_buckets(0.0005, 2.0, 16);
            registry.register(name, help, Some(Unit::Seconds), Histogram::new(buckets))
        };
        Self(Arc::new(Handles {
            running: registry.register("sessions_running_turns", "Turns that run", None, Gauge::default()),
            turns: registry.register("sessions_turns", "Turns by how they ended", None, Family::default()),
            begin: seconds("sessions_begin", "Time from a begin to its history, the wait for others included"),
            commit: seconds("sessions_commit", "Time from a commit to its acknowledgement"),
            wait: seconds("sessions_lease_wait", "How long turns waited for others of their session"),
            passed_over: registry.register(
                "sessions_redis_passed_over",
                "Leases that the database gave because Redis did not answer",
                None,
                Counter::default(),
            ),
            erased: registry.register("sessions_erased", "Sessions that were erased", None, Counter::default()),
        }))
    }

    pub(crate) fn began(&self, after: Duration) {
        self.0.running.inc();
        self.0.begin.observe(after.as_secs_f64());
    }

    /// A turn ended: `COMMITTED`, `REPEATED`, `ABANDONED`, or the reason of an error.
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.0.turns.get_or_create(&TurnLabels { outcome }).inc();
    }

    /// One that had begun.
    pub(crate) fn left(&self) {
        self.0.running.dec();
    }

    pub(crate) fn committed(&self, after: Duration) {
        self.0.commit.observe(after.as_secs_f64());
    }

    pub(crate) fn waited(&self, wait: Duration) {
        self.0.wait.observe(wait.as_secs_f64());
    }

    pub(crate) fn passed_over(&self) {
        self.0.passed_over.inc();
    }

    pub(crate) fn erased(&self) {
        self.0.erased.inc();
    }
}
