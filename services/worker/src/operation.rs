//! What is said of a request when it is over, however it ends.

use futures::FutureExt;
use pointsman_errors::Reason;
use pointsman_proto::finish_reason;
use pointsman_proto::inference::v1::{FinishReason, Usage};
use pointsman_server::{Deadline, Drain};
use pointsman_telemetry::LastingSpan;
use tracing::Span;

use crate::metrics::{Metrics, Outcome};

/// A request from its acceptance to its end. Whoever works for it holds it; who drops it without a word has
/// been told to stop, and it knows by whom.
pub(crate) struct Operation {
    span: LastingSpan,
    metrics: Metrics,
    drain: Drain,
    deadline: Option<Deadline>,
    ended: bool,
}

impl Operation {
    pub(crate) fn begin(span: Span, metrics: Metrics, drain: Drain, deadline: Option<Deadline>) -> Self {
        Self { span: span.into(), metrics, drain, deadline, ended: false }
    }

    /// Returns the span of the request.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Returns where it is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Says that the answer is complete.
    pub(crate) fn finished(&mut self, reason: FinishReason, usage: &Usage) {
        self.ended = true;
        self.metrics.ended(Outcome::Finished);
        self.span.record("gen_ai.response.finish_reasons", finish_reason::name(reason));
        self.span.record("gen_ai.usage.input_tokens", usage.input_tokens);
        self.span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    }

    /// Says that the one answer to a call is there, for which so many tokens were read.
    pub(crate) fn answered(&mut self, input_tokens: u32) {
        self.ended = true;
        self.metrics.ended(Outcome::Finished);
        self.span.record("gen_ai.usage.input_tokens", input_tokens);
    }

    /// Says that there will be no complete answer.
    pub(crate) fn failed(&mut self, reason: Reason) {
        self.ended = true;
        self.metrics.ended(Outcome::Failed(reason));
        self.span.record("otel.status_code", "ERROR").record("error.type", reason.name());
    }

    /// Why nobody waits any more.
    fn left(&self) -> Reason {
        if std::thread::panicking() {
            Reason::Internal
        } else if self.deadline.is_some_and(|deadline| deadline.remaining().is_zero()) {
            Reason::DeadlineExceeded
        } else if self.drain.until_cut().now_or_never().is_some() {
            Reason::ShuttingDown
        } else {
            Reason::Cancelled
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.ended {
            self.failed(self.left());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pointsman_errors::Reason;
    use pointsman_proto::inference::v1::{FinishReason, Usage};
    use pointsman_server::{Deadline, Drain};
    use tokio::time::{Instant, advance};
    use tracing::Span;

    use super::Operation;
    use crate::metrics::{Metrics, Outcome};

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_is_dropped_knows_why() {
        let metrics = Metrics::register(&pointsman_server::Metrics::default());
        let drain = Drain::default();
        let deadline = Some(Deadline(Instant::now() + Duration::from_secs(1)));
        let begin = |deadline| Operation::begin(Span::none(), metrics.clone(), drain.clone(), deadline);
        let count = |outcome| metrics.count(outcome);

        begin(None).finished(FinishReason::Stop, &Usage::default());
        assert_eq!(count(Outcome::Finished), 1);
        begin(None).failed(Reason::QueueFull);
        assert_eq!(count(Outcome::Failed(Reason::QueueFull)), 1);
        drop(begin(deadline));
        assert_eq!(count(Outcome::Failed(Reason::Cancelled)), 1);
        advance(Duration::from_secs(1)).await;
        drop(begin(deadline));
        assert_eq!(count(Outcome::Failed(Reason::DeadlineExceeded)), 1);
        drain.begin();
        drop(begin(None));
        assert_eq!(count(Outcome::Failed(Reason::Cancelled)), 2, "what runs may finish");
        drain.cut();
        drop(begin(None));
        assert_eq!(count(Outcome::Failed(Reason::ShuttingDown)), 1);
        let work = tokio::spawn({
            let operation = begin(None);
            async move {
                let _operation = operation;
                panic!("a mistake of ours");
            }
        });
        assert!(work.await.is_err());
        assert_eq!(count(Outcome::Failed(Reason::Internal)), 1);
    }
}
