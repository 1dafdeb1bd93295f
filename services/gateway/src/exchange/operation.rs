//! What is said of an operation when it is over.

use std::sync::Arc;

use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{FinishReason, Frame, Usage};
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
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
}

impl Operation {
    pub(super) fn begin(surface: SurfaceName, span: Span, metrics: Metrics) -> Self {
        metrics.began();
        Self {
            surface,
            span: span.into(),
            metrics,
            accept: Instant::now(),
            running: None,
            ended: false,
            usage: None,
            finish_reason: None,
        }
    }

    /// The first piece is there. `from`: the target and instance that answer, if one does here.
    pub(super) fn first_chunk(&self, from: Option<(Arc<str>, Arc<str>)>) {
        let after = self.accept.elapsed();
        self.metrics.first_chunk(after);
        span::first_chunk(&self.span, after, from.as_ref().map(|(target, instance)| (&**target, &**instance)));
    }

    /// Keeps what the span says of a frame at the end.
    pub(super) fn note(&mut self, frame: &Frame) {
        match &frame.body {
            Some(Body::Usage(usage)) => self.usage = Some(*usage),
            Some(Body::ChoiceFinished(choice)) => self.finish_reason = Some(choice.reason()),
            _ => {}
        }
    }

    /// The one answer to a call is there: from whom, and what it consumed.
    pub(super) fn answered(&mut self, from: Option<(Arc<str>, Arc<str>)>, usage: Option<Usage>) {
        let from = from.as_ref().map(|(target, instance)| (&**target, &**instance));
        span::answered(&self.span, from);
        self.usage = usage;
        self.end(FINISHED);
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
        span::ended(&self.span, self.usage, self.finish_reason);
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
