//! What a gateway counts.

use std::time::Duration;

use pointsman_server::Metrics as Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

/// Handles to a gateway's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    running: Gauge,
    requests: Family<RequestLabels, Counter>,
    first_chunk: Histogram,
    duration: Histogram,
    policies: Family<PolicyLabels, Counter>,
}

/// The surface that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SurfaceName {
    Grpc,
    Openai,
}

impl SurfaceName {
    /// The value of the label `surface` and of the span attribute `pointsman.surface`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Openai => "openai",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    surface: &'static str,
    /// `FINISHED`, or the reason of the error: bounded by the catalogue.
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabels {
    /// `taken` or `refused`.
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        // 1 ms to 65 s, doubling.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        Self {
            running: registry.register(
                "gateway_running_requests",
                "Requests that are being answered",
                None,
                Gauge::default(),
            ),
            requests: registry.register(
                "gateway_requests",
                "Requests by surface and how they ended",
                None,
                Family::default(),
            ),
            first_chunk: registry.register(
                "gateway_first_chunk",
                "Time from accepting a request to the first piece of its answer",
                Some(Unit::Seconds),
                seconds(),
            ),
            duration: registry.register(
                "gateway_request_duration",
                "Time from accepting a request to the end of its answer",
                Some(Unit::Seconds),
                seconds(),
            ),
            policies: registry.register(
                "gateway_policy_changes",
                "Changes of the policy file, and whether they were taken",
                None,
                Family::default(),
            ),
        }
    }

    pub(crate) fn policy_taken(&self, taken: bool) {
        let outcome = if taken { "taken" } else { "refused" };
        self.policies.get_or_create(&PolicyLabels { outcome }).inc();
    }

    pub(crate) fn began(&self) {
        self.running.inc();
    }

    pub(crate) fn first_chunk(&self, after: Duration) {
        self.first_chunk.observe(after.as_secs_f64());
    }

    /// Counts a request that never began.
    pub(crate) fn refused(&self, surface: SurfaceName, reason: &'static str) {
        self.requests.get_or_create(&RequestLabels { surface: surface.name(), outcome: reason }).inc();
    }

    pub(crate) fn ended(&self, surface: SurfaceName, outcome: &'static str, after: Duration) {
        self.running.dec();
        self.requests.get_or_create(&RequestLabels { surface: surface.name(), outcome }).inc();
        self.duration.observe(after.as_secs_f64());
    }
}
