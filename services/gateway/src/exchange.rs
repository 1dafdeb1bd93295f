//! One operation of a caller, from its acceptance to the end of its answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures::stream::{Stream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::Valid;
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, GenerateResponse, MeshContext};
use pointsman_server::{Deadline, Drain};
use pointsman_telemetry::LastingSpan;
use tracing::{Instrument, Span};

use crate::attempt::{self, Attempt};
use crate::caller::{Caller, Callers};
use crate::config::Scope;
use crate::fleet::Fleet;
use crate::metrics::{Metrics, SurfaceName};
use crate::span;

/// What every exchange works with.
pub(crate) struct Gateway {
    pub(crate) callers: Callers,
    pub(crate) drain: Drain,
    pub(crate) fleet: Fleet,
    pub(crate) instance: String,
    pub(crate) max_request_bytes: usize,
    pub(crate) metrics: Metrics,
}

/// A request as a surface has understood it.
pub(crate) struct Exchange {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    /// It has an id.
    pub(crate) request: Valid<GenerateRequest>,
    pub(crate) deadline: Option<Deadline>,
    /// The logical span of the operation: see [`span::operation`].
    pub(crate) span: Span,
}

impl Gateway {
    /// Counts a request that a surface refuses.
    pub(crate) fn refuse(&self, surface: SurfaceName, error: Error) -> Error {
        self.metrics.refused(surface, error.reason().name());
        error
    }

    /// Answers a request. Returns when the first piece of the answer is there, so that an error before it
    /// is an error and not a broken stream. Dropping the future, or the answer, stops the work.
    pub(crate) async fn answer(&self, exchange: Exchange) -> Result<Answer, Error> {
        let span = exchange.span.clone();
        let mut operation = Operation::begin(exchange.surface, exchange.span.clone(), self.metrics.clone());
        let attempt = tokio::select! {
            // First, so that an answer that is there is given.
            biased;
            attempt = self.attempt(exchange).instrument(span) => attempt,
            () = self.drain.until_cut() => Err(going_down()),
        };
        match attempt {
            Ok(attempt) => {
                operation.first_chunk();
                Ok(Answer { attempt, cut: Box::pin(self.drain.until_cut()), operation })
            }
            Err(error) => {
                operation.end(error.reason().name());
                Err(error)
            }
        }
    }

    async fn attempt(&self, exchange: Exchange) -> Result<Attempt, Error> {
        exchange.caller.require(Scope::Generate)?;
        let accept_time = SystemTime::now();
        let mut request = exchange.request.into_inner();
        let target = self.fleet.resolve(&request.model)?;
        let instance = self.fleet.pick(&target)?;
        let model = std::mem::replace(&mut request.model, target.description.target.clone());
        let context = MeshContext {
            tenant: exchange.caller.tenant.to_string(),
            key: exchange.caller.key.to_string(),
            attempt_id: format!("{}-1", request.request_id),
            data_class: request.data_class,
            priority: request.priority,
            hops: exchange.caller.hops,
            ..MeshContext::default()
        };
        let deadline = exchange.deadline;
        attempt::open(instance, attempt::Order { request, context, model, accept_time, deadline }).await
    }
}

/// An answer, as it comes. It ends after `Finished`, or with one error.
pub(crate) struct Answer {
    attempt: Attempt,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    operation: Operation,
}

impl Answer {
    /// Reads the answer to its end, as one response.
    pub(crate) async fn fold(mut self) -> Result<GenerateResponse, Error> {
        let mut fold = Fold::default();
        while let Some(frame) = self.next().await {
            fold.push(frame?);
        }
        fold.finish().ok_or_else(|| Error::new(Reason::StreamTruncated, "the answer has no end"))
    }
}

impl Stream for Answer {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.operation.ended {
            return Poll::Ready(None);
        }
        let next = match this.attempt.poll_next_unpin(context) {
            Poll::Ready(next) => next,
            Poll::Pending => match this.cut.as_mut().poll(context) {
                Poll::Ready(()) => Some(Err(going_down())),
                Poll::Pending => return Poll::Pending,
            },
        };
        match &next {
            Some(Ok(Frame { body: Some(Body::Usage(usage)), .. })) => span::usage(&this.operation.span, usage),
            Some(Ok(Frame { body: Some(Body::ChoiceFinished(choice)), .. })) => {
                span::finish_reason(&this.operation.span, choice.reason());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => this.operation.end(error.reason().name()),
            None => this.operation.end(FINISHED),
        }
        Poll::Ready(next)
    }
}

fn going_down() -> Error {
    let message = "this gateway is going down and ended the answer; send the request again";
    Error::new(Reason::ShuttingDown, message).retry_after(Duration::from_secs(1))
}

/// The outcome of an operation that went well; the others are reasons.
const FINISHED: &str = "FINISHED";

/// What is said of an operation when it is over, however it ends.
struct Operation {
    surface: SurfaceName,
    span: LastingSpan,
    metrics: Metrics,
    accept: Instant,
    ended: bool,
}

impl Operation {
    fn begin(surface: SurfaceName, span: Span, metrics: Metrics) -> Self {
        metrics.began();
        Self { surface, span: span.into(), metrics, accept: Instant::now(), ended: false }
    }

    fn first_chunk(&self) {
        let after = self.accept.elapsed();
        self.metrics.first_chunk(after);
        self.span.record("gen_ai.response.time_to_first_chunk", after.as_secs_f64());
    }

    fn end(&mut self, outcome: &'static str) {
        self.ended = true;
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
