//! One try against one instance.
//!
//! Nothing is given on before the first piece of the answer is there; until then the caller has seen
//! nothing, and an error is whole. After it, a stream that does not end with `Finished` is an error that
//! says so, whatever the transport calls it: never a clean end of a truncated stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use futures::stream::Stream;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, MeshContext};
use pointsman_proto::mesh_context;
use pointsman_server::Deadline;
use pointsman_telemetry::LastingSpan;
use tonic::{Request, Status, Streaming};
use tracing::{Instrument, Span};

use crate::fleet::Picked;
use crate::span;

/// What an instance is asked for.
pub(crate) struct Order {
    /// The request, its model replaced by the target's name, with an id.
    pub(crate) request: GenerateRequest,
    /// What the instance is told about it.
    pub(crate) context: MeshContext,
    /// The model as the caller named it.
    pub(crate) model: String,
    /// When the gateway accepted the request.
    pub(crate) accept_time: SystemTime,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Deadline>,
}

/// An attempt whose first piece is there. Dropping it cancels the instance's work.
pub(crate) struct Attempt {
    frames: Streaming<Frame>,
    /// Frames that came before and with the first piece.
    held: VecDeque<Frame>,
    /// The sequence number of the last frame.
    sequence: u64,
    finished: bool,
    span: LastingSpan,
    instance: Picked,
}

/// Asks an instance, and waits for the first piece of its answer.
pub(crate) async fn open(instance: Picked, order: Order) -> Result<Attempt, Error> {
    let span = span::attempt(&order.request.model, &instance.name);
    let opened = open_in(instance, order, span.clone()).instrument(span.clone()).await;
    if let Err(error) = &opened {
        span::failed(&span, error.reason().name());
    }
    opened
}

async fn open_in(instance: Picked, order: Order, span: Span) -> Result<Attempt, Error> {
    let mut request = Request::new(order.request);
    mesh_context::write(&order.context, request.metadata_mut());
    if let Some(deadline) = order.deadline {
        request.set_timeout(deadline.remaining());
    }
    let frames =
        instance.client().generate_stream(request).await.map_err(|status| before_content(&status, &instance))?;
    let mut attempt = Attempt {
        frames: frames.into_inner(),
        held: VecDeque::with_capacity(2),
        sequence: 0,
        finished: false,
        span: span.into(),
        instance,
    };
    loop {
        let frame = attempt.frames.message().await.map_err(|status| before_content(&status, &attempt.instance))?;
        let mut frame = attempt.check(frame)?;
        match &mut frame.body {
            Some(Body::Started(started)) => {
                started.model.clone_from(&order.model);
                started.accept_time = Some(order.accept_time.into());
                attempt.held.push_back(frame);
            }
            _ => {
                attempt.held.push_back(frame);
                return Ok(attempt);
            }
        }
    }
}

impl Attempt {
    /// Refuses what no honest stream has: an end before `Finished`, a gap.
    fn check(&mut self, frame: Option<Frame>) -> Result<Frame, Error> {
        let frame = frame.ok_or_else(truncated)?;
        self.sequence += 1;
        if frame.sequence != self.sequence {
            return Err(truncated());
        }
        self.finished = matches!(frame.body, Some(Body::Finished(_)));
        Ok(frame)
    }
}

impl Stream for Attempt {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(frame) = this.held.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let next = match ready!(Pin::new(&mut this.frames).poll_next(context)) {
            // The trailers, or whatever else comes after `Finished`: the answer is whole.
            _ if this.finished => return Poll::Ready(None),
            Some(Err(status)) => Err(after_content(&status)),
            Some(Ok(frame)) => this.check(Some(frame)),
            None => this.check(None),
        };
        if let Err(error) = &next {
            span::failed(&this.span, error.reason().name());
        }
        Poll::Ready(Some(next))
    }
}

/// An instance's own error is the caller's; a transport's means that the instance was not reached.
fn before_content(status: &Status, instance: &Picked) -> Error {
    let error = Error::ours(status).unwrap_or_else(|| {
        let what = "the chosen instance could not be reached; try again";
        match Error::from_status(status).reason() {
            reason @ (Reason::DeadlineExceeded | Reason::Cancelled) => Error::new(reason, status.message()),
            _ => Error::new(Reason::InstanceUnreachable, what).retry_after(Duration::from_secs(1)),
        }
    });
    if error.reason() == Reason::InstanceUnreachable {
        tracing::warn!(instance = instance.name, code = ?status.code(), detail = status.message(), "an instance could not be reached");
    }
    error
}

fn after_content(status: &Status) -> Error {
    Error::ours(status).unwrap_or_else(|| {
        tracing::warn!(code = ?status.code(), detail = status.message(), "a stream broke off");
        truncated()
    })
}

fn truncated() -> Error {
    Error::new(
        Reason::StreamTruncated,
        "the instance's stream ended before the answer did: what was delivered is not whole. Send the request again",
    )
}
