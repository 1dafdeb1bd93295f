//! What a worker counts.

use std::time::Duration;

use pointsman_errors::Reason;
use pointsman_server::Metrics as Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// Handles to a worker's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    queued: Gauge,
    running: Gauge,
    requests: Family<RequestLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_token: Histogram,
    per_token: Histogram,
}

/// How a request ended: the label is `FINISHED`, or the reason of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished,
    Failed(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Input,
    Output,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    kind: &'static str,
}

/// 1 ms to 32 s, doubling.
const FIRST_TOKEN_BUCKETS: (f64, f64, u16) = (0.001, 2.0, 16);
/// 0.1 ms to 1.6 s, doubling.
const PER_TOKEN_BUCKETS: (f64, f64, u16) = (0.0001, 2.0, 15);

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        let buckets =
            |(start, factor, count)| prometheus_client::metrics::histogram::exponential_buckets(start, factor, count);
        Self {
            queued: registry.register(
                "worker_queued_requests",
                "Requests that wait for a slot",
                None,
                Gauge::default(),
            ),
            running: registry.register("worker_running_requests", "Requests that hold a slot", None, Gauge::default()),
            requests: registry.register("worker_requests", "Requests by how they ended", None, Family::default()),
            tokens: registry.register(
                "worker_tokens",
                "Tokens read (input) and written (output)",
                None,
                Family::default(),
            ),
            first_token: registry.register(
                "worker_first_token",
                "Time from getting a slot to the first piece of the answer",
                Some(Unit::Seconds),
                Histogram::new(buckets(FIRST_TOKEN_BUCKETS)),
            ),
            per_token: registry.register(
                "worker_per_token",
                "Time for each token after the first, averaged over an answer",
                Some(Unit::Seconds),
                Histogram::new(buckets(PER_TOKEN_BUCKETS)),
            ),
        }
    }

    /// Counts a request as waiting while the result lives.
    pub(crate) fn queued(&self) -> Counted {
        Counted::new(&self.queued)
    }

    /// Counts a request as running while the result lives.
    pub(crate) fn running(&self) -> Counted {
        Counted::new(&self.running)
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Finished => "FINISHED",
            Outcome::Failed(reason) => reason.name(),
        };
        self.requests.get_or_create(&RequestLabels { outcome }).inc();
    }

    pub(crate) fn tokens(&self, kind: TokenKind, count: u32) {
        let kind = match kind {
            TokenKind::Input => "input",
            TokenKind::Output => "output",
        };
        self.tokens.get_or_create(&TokenLabels { kind }).inc_by(u64::from(count));
    }

    pub(crate) fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    pub(crate) fn per_token(&self, each: Duration) {
        self.per_token.observe(each.as_secs_f64());
    }
}

/// One more, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
