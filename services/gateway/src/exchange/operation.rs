//! What is said of an operation when it is over.

use pointsman_errors::{Error, Reason};
use pointsman_telemetry::LastingSpan;
use tokio::time::Instant;
use tracing::Span;

use crate::limits::Running;
use crate::metrics::{Metrics, SurfaceName};
use crate::span;

/// The outcome of an operation that went well; the others are reasons.
pub(super) const FINISHED: &str = "FINISHED";

/// What is said of an operation when it is over, however it ends.
pub(super) struct Operation {
    surface: SurfaceName,
    pub(super) span: LastingSpan,
    metrics: Metrics,
    pub(super) accept: Instant,
    /// The caller's key is used for as long as this lives.
    pub(super) running: Option<Running>,
    pub(super) ended: bool,
}

impl Operation {
    pub(super) fn begin(surface: SurfaceName, span: Span, metrics: Metrics) -> Self {
        metrics.began();
        Self { surface, span: span.into(), metrics, accept: Instant::now(), running: None, ended: false }
    }

    pub(super) fn first_chunk(&self) {
        let after = self.accept.elapsed();
        self.metrics.first_chunk(after);
        self.span.record("gen_ai.response.time_to_first_chunk", after.as_secs_f64());
    }

    /// Ends with an error before the answer has begun.
    pub(super) fn failed(&mut self, error: Error) -> Error {
        self.end(error.reason().name());
        error
    }

    pub(super) fn end(&mut self, outcome: &'static str) {
        self.ended = true;
        self.running = None;
        self.metrics.ended(self.surface, outcome, self.accept.elapsed());
        if outcome != FINISHED {
            span::failed(&self.span, outcome);
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Reason::Cancelled.name());
        }
    }
}
