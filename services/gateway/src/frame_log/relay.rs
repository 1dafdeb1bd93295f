//! The frames of a request that another gateway keeps.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::Stream;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, ResumeRequest};
use tonic::{Request, Response, Status, Streaming};

use super::owner::Peer;
use crate::trail::Trail;

/// A stream of another gateway.
pub(crate) struct Relay {
    first: Option<Frame>,
    frames: Streaming<Frame>,
    trail: Arc<Trail>,
    finished: bool,
    ended: bool,
}

impl Relay {
    /// Asks the owner of a request, and waits for the first frame.
    pub(crate) async fn generate(
        peer: &Peer,
        request: Request<GenerateRequest>,
        trail: Arc<Trail>,
    ) -> Result<Self, Error> {
        let response = peer.client().generate_stream(request).await;
        let relay = Self::begin(response, peer, trail).await?;
        relay.first.is_some().then_some(relay).ok_or_else(truncated)
    }

    /// Takes up a stream at its owner, and waits for the first frame.
    pub(crate) async fn resume(peer: &Peer, request: Request<ResumeRequest>, trail: Arc<Trail>) -> Result<Self, Error> {
        let response = peer.client().resume(request).await;
        let relay = Self::begin(response, peer, trail).await?;
        // After the last frame there is none, which is a good end.
        Ok(Self { ended: relay.first.is_none(), ..relay })
    }

    async fn begin(
        response: Result<Response<Streaming<Frame>>, Status>,
        peer: &Peer,
        trail: Arc<Trail>,
    ) -> Result<Self, Error> {
        let response = response.map_err(|status| {
            trail.told(status.metadata().as_ref());
            before(&status, peer)
        })?;
        trail.told(response.metadata().as_ref());
        let mut frames = response.into_inner();
        let first = frames.message().await.map_err(|status| {
            trail.told(status.metadata().as_ref());
            after(&status)
        })?;
        Ok(Self { first, frames, trail, finished: false, ended: false })
    }

    /// Returns the first frame, until it was read.
    pub(crate) fn first(&self) -> Option<&Frame> {
        self.first.as_ref()
    }
}

impl Stream for Relay {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let next = match this.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(Pin::new(&mut this.frames).poll_next(context)),
        };
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                this.finished |= matches!(frame.body, Some(Body::Finished(_)));
                Some(Ok(frame))
            }
            // The answer is whole, whatever comes after it.
            _ if this.finished => {
                // They came with the end: there is nothing to wait for.
                if let Some(Ok(Some(trailers))) = this.frames.trailers().now_or_never() {
                    this.trail.told(trailers.as_ref());
                }
                None
            }
            Some(Err(status)) => {
                this.trail.told(status.metadata().as_ref());
                this.end(after(&status))
            }
            None => this.end(truncated()),
        })
    }
}

impl Relay {
    fn end(&mut self, error: Error) -> Option<Result<Frame, Error>> {
        self.ended = true;
        Some(Err(error))
    }
}

/// Whether the owner has the request, and how far it is, is not known: nobody else may begin it.
fn before(status: &Status, peer: &Peer) -> Error {
    Error::ours(status).unwrap_or_else(|| {
        tracing::warn!(peer = &**peer.name(), code = ?status.code(), detail = status.message(), "a gateway could not be reached");
        if status.code() == tonic::Code::DeadlineExceeded {
            return Error::new(Reason::DeadlineExceeded, "the deadline passed before the answer was complete");
        }
        let message = "the gateway that keeps requests of this name cannot be reached; wait for it, or ask with a new \
                       id, if a second answer does no harm";
        Error::new(Reason::FrameLogLost, message).retry_after(Duration::from_secs(1))
    })
}

fn after(status: &Status) -> Error {
    Error::ours(status).unwrap_or_else(truncated)
}

fn truncated() -> Error {
    let message =
        "the connection to the gateway that keeps this answer was lost; resume it, or send the same request again";
    Error::new(Reason::StreamTruncated, message)
}
