//! One try against one instance: the call, and the frames of its answer as they are checked.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::Stream;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, Usage, UsageSource};
use pointsman_telemetry::LastingSpan;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use super::usage::Consumed;
use crate::fleet::Picked;

/// A call to an instance. Dropping it cancels the instance's work, then counts it as no longer in flight.
pub(super) struct Call {
    state: State,
    /// The sequence number of the last frame.
    sequence: u64,
    /// Whether `Finished` came.
    pub(super) finished: bool,
    /// What the instance reported.
    usage: Option<Usage>,
    pieces: u64,
    /// Of these pieces. `None`: one of them did not say.
    tokens: Option<u32>,
    pub(super) span: LastingSpan,
    pub(super) instance: Picked,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each call: a box would cost more than the room")]
enum State {
    Asking(BoxFuture<'static, Result<Response<Streaming<Frame>>, Status>>),
    Reading(Streaming<Frame>),
}

/// What a call comes to next.
pub(super) enum Progress {
    /// The instance has taken the request.
    Taken,
    /// A frame, checked.
    Frame(Frame),
    /// The stream is over, and whole.
    Over,
    /// The call failed.
    Failed(Error),
}

impl Call {
    pub(super) fn begin(instance: Picked, request: Request<GenerateRequest>, span: Span) -> Self {
        let mut client = instance.client();
        let asking = async move { client.generate_stream(request).await }.boxed();
        Self {
            state: State::Asking(asking),
            sequence: 0,
            finished: false,
            usage: None,
            pieces: 0,
            tokens: Some(0),
            span: span.into(),
            instance,
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Progress> {
        let next = match &mut self.state {
            State::Asking(asking) => {
                return Poll::Ready(match ready!(asking.as_mut().poll(context)) {
                    Ok(response) => {
                        self.state = State::Reading(response.into_inner());
                        Progress::Taken
                    }
                    Err(status) => Progress::Failed(self.read(&status)),
                });
            }
            State::Reading(frames) => ready!(Pin::new(frames).poll_next(context)),
        };
        Poll::Ready(match next {
            // The trailers, or whatever else comes after `Finished`: the answer is whole.
            _ if self.finished => Progress::Over,
            Some(Ok(frame)) => self.check(frame),
            Some(Err(status)) => Progress::Failed(self.read(&status)),
            None => Progress::Failed(truncated()),
        })
    }

    /// Refuses what no honest stream has: a gap, a second beginning.
    fn check(&mut self, mut frame: Frame) -> Progress {
        self.sequence += 1;
        let is_started = matches!(frame.body, Some(Body::Started(_)));
        if frame.sequence != self.sequence || is_started != (self.sequence == 1) {
            return Progress::Failed(truncated());
        }
        match &mut frame.body {
            // For the gateway that picks, not for its callers.
            Some(Body::Started(started)) => {
                if let Some(load) = started.load.take() {
                    self.instance.says(&load);
                }
            }
            Some(Body::Delta(piece)) => {
                self.pieces += 1;
                self.tokens = self.tokens.zip(piece.token_count).map(|(all, more)| all.saturating_add(more));
            }
            Some(Body::Usage(usage)) => self.usage = Some(*usage),
            Some(Body::Finished(_)) => self.finished = true,
            _ => {}
        }
        Progress::Frame(frame)
    }

    /// Says what has come of the instance until now.
    pub(super) fn consumed(&self) -> Consumed {
        let partial = || {
            let output_tokens = self.tokens.filter(|_| self.pieces > 0)?;
            let source = UsageSource::Partial.into();
            Some(Usage { output_tokens: Some(output_tokens), source, ..Usage::default() })
        };
        Consumed { usage: self.usage.or_else(partial), pieces: self.pieces }
    }

    fn read(&self, status: &Status) -> Error {
        read(status, &self.instance.name, &self.span, self.sequence > 0)
    }
}

/// An instance's own error is the caller's; a transport's means that the instance was not reached, or lost.
pub(super) fn read(status: &Status, name: &str, span: &Span, has_begun: bool) -> Error {
    match Error::ours(status).map(|error| (error.reason(), error)) {
        // Between the mesh's own parts these are mistakes of its operators, not of the caller.
        Some((
            reason @ (Reason::KeyInvalid | Reason::ScopeMissing | Reason::MeshContextRefused | Reason::OriginRefused),
            error,
        )) => {
            tracing::error!(
                parent: span,
                instance = name,
                reason = reason.name(),
                detail = error.message(),
                "an instance does not let this gateway in"
            );
            Error::new(Reason::Internal, "the mesh failed; give its operators the request id")
        }
        // A cancellation that is not the caller's own, who would have dropped this.
        Some((Reason::Cancelled, _)) => truncated(),
        Some((_, error)) => error,
        None if status.code() == tonic::Code::DeadlineExceeded => {
            Error::new(Reason::DeadlineExceeded, "the deadline passed before the answer was complete")
        }
        None => {
            tracing::warn!(parent: span, instance = name, code = ?status.code(), detail = status.message(), "an instance could not be reached, or was lost");
            if has_begun { truncated() } else { unreachable() }
        }
    }
}

fn unreachable() -> Error {
    Error::new(Reason::InstanceUnreachable, "the chosen instance could not be reached; try again")
        .retry_after(Duration::from_secs(1))
}

fn truncated() -> Error {
    Error::new(
        Reason::StreamTruncated,
        "the instance's stream ended before the answer did: what was delivered is not whole. Send the request again",
    )
}
