//! What a worker counts.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
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
pub(crate) struct Metrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    queued: Gauge,
    running: Gauge,
    requests: Family<RequestLabels, Counter>,
    input_tokens: Counter,
    output_tokens: Counter,
    first_token: Histogram,
    per_token: Histogram,
    engine: Engine,
}

#[derive(Debug)]
struct Engine {
    ready: Gauge,
    given_up: Gauge,
    silence: Gauge<f64, AtomicU64>,
    /// Each engine's own.
    silences: Mutex<Vec<Duration>>,
    failures: Family<FailureLabels, Counter>,
    probes: Family<ProbeLabels, Counter>,
    restarts: Counter,
}

/// How a request ended: the label is `FINISHED`, or the reason of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished,
    Failed(Reason),
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    outcome: &'static str,
}

impl From<Outcome> for RequestLabels {
    fn from(outcome: Outcome) -> Self {
        let outcome = match outcome {
            Outcome::Finished => "FINISHED",
            Outcome::Failed(reason) => reason.name(),
        };
        Self { outcome }
    }
}

/// What an engine can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It died with all that ran.
    Lost,
    /// It gave nothing more to anybody.
    Stuck,
    /// It gave nothing more to one answer.
    Stalled,
    /// It failed one answer.
    Failed,
}

impl Failure {
    /// Its name in metrics and spans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "LOST",
            Self::Stuck => "STUCK",
            Self::Stalled => "STALLED",
            Self::Failed => "FAILED",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProbeLabels {
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
        let tokens: Family<TokenLabels, Counter> =
            registry.register("worker_tokens", "Tokens read (input) and written (output)", None, Family::default());
        // Looked up once: the second is counted at every piece of an answer.
        let of_kind = |kind| tokens.get_or_create(&TokenLabels { kind }).clone();
        Self(Arc::new(Handles {
            queued: registry.register(
                "worker_queued_requests",
                "Requests that wait for a slot, or for the count of their prompt",
                None,
                Gauge::default(),
            ),
            running: registry.register(
                "worker_running_requests",
                "Requests that hold a slot, until the engine is done with them",
                None,
                Gauge::default(),
            ),
            requests: registry.register("worker_requests", "Requests by how they ended", None, Family::default()),
            input_tokens: of_kind("input"),
            output_tokens: of_kind("output"),
            first_token: registry.register(
                "worker_first_token",
                "Time from getting a slot to the engine's first piece of the answer",
                Some(Unit::Seconds),
                Histogram::new(buckets(FIRST_TOKEN_BUCKETS)),
            ),
            per_token: registry.register(
                "worker_per_token",
                "Time for each token after the first, averaged over an answer",
                Some(Unit::Seconds),
                Histogram::new(buckets(PER_TOKEN_BUCKETS)),
            ),
            engine: Engine::register(registry),
        }))
    }

    /// Counts a request as waiting while the result lives.
    pub(crate) fn queued(&self) -> Counted {
        Counted::new(&self.0.queued)
    }

    /// Counts a request as running while the result lives.
    pub(crate) fn running(&self) -> Counted {
        Counted::new(&self.0.running)
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.0.requests.get_or_create(&outcome.into()).inc();
    }

    /// Returns how many requests have ended so.
    #[cfg(test)]
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.0.requests.get_or_create(&outcome.into()).get()
    }

    /// Counts tokens that the engine has taken to read.
    pub(crate) fn input_tokens(&self, count: u32) {
        self.0.input_tokens.inc_by(count.into());
    }

    /// Counts tokens that the engine has written.
    pub(crate) fn output_tokens(&self, count: u32) {
        self.0.output_tokens.inc_by(count.into());
    }

    /// Counts an engine that works from now on, or does not any more.
    pub(crate) fn engine_ready(&self, ready: bool) {
        self.0.engine.ready.inc_by(if ready { 1 } else { -1 });
    }

    /// Counts an engine that was given up.
    pub(crate) fn engine_given_up(&self) {
        self.0.engine.given_up.inc();
    }

    /// Returns where one more engine says how long it has given nothing to those that wait.
    pub(crate) fn silence(&self) -> Silence {
        let mut all = self.0.engine.silences.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Duration::ZERO);
        Silence { metrics: self.clone(), index: all.len() - 1 }
    }

    pub(crate) fn engine_failed(&self, failure: Failure) {
        self.0.engine.failures.get_or_create(&FailureLabels { kind: failure.name() }).inc();
    }

    pub(crate) fn probed(&self, succeeded: bool) {
        let outcome = if succeeded { "SUCCEEDED" } else { "FAILED" };
        self.0.engine.probes.get_or_create(&ProbeLabels { outcome }).inc();
    }

    /// Counts an engine that was lost and has come back.
    pub(crate) fn engine_restarted(&self) {
        self.0.engine.restarts.inc();
    }

    pub(crate) fn first_token(&self, after: Duration) {
        self.0.first_token.observe(after.as_secs_f64());
    }

    pub(crate) fn per_token(&self, each: Duration) {
        self.0.per_token.observe(each.as_secs_f64());
    }
}

impl Engine {
    fn register(registry: &Registry) -> Self {
        Self {
            ready: registry.register(
                "worker_engine_ready",
                "Engines that generate, as far as is known",
                None,
                Gauge::default(),
            ),
            given_up: registry.register(
                "worker_engine_given_up",
                "Engines that nothing but a new process can help",
                None,
                Gauge::default(),
            ),
            silence: registry.register(
                "worker_engine_silence",
                "How long the engine has given nothing to those that wait for it; of several, the longest",
                Some(Unit::Seconds),
                Gauge::default(),
            ),
            silences: Mutex::default(),
            failures: registry.register("worker_engine_failures", "What the engine did wrong", None, Family::default()),
            probes: registry.register(
                "worker_engine_probes",
                "Generations of one token that show whether the engine works",
                None,
                Family::default(),
            ),
            restarts: registry.register(
                "worker_engine_restarts",
                "Losses of the engine after which it came back",
                None,
                Counter::default(),
            ),
        }
    }
}

/// How long one engine has given nothing to those that wait; the longest of all is told.
#[derive(Debug)]
pub(crate) struct Silence {
    metrics: Metrics,
    index: usize,
}

impl Silence {
    pub(crate) fn set(&self, silence: Duration) {
        let engine = &self.metrics.0.engine;
        let mut all = engine.silences.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(self.index) {
            *own = silence;
        }
        engine.silence.set(all.iter().max().copied().unwrap_or_default().as_secs_f64());
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
