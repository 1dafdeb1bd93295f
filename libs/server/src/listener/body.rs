//! A request's body that does not wait for its sender for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::patience::Patience;

/// The rest of a request's body did not come in time (`server.connection.body_timeout`).
#[derive(Clone, Copy, Debug, Error)]
#[error("the request's body did not go on for {0:?}")]
pub struct BodyTimeout(pub Duration);

impl BodyTimeout {
    /// Finds it among the sources of an error, such as that of [`axum::body::to_bytes`].
    pub fn in_sources_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
    }
}

/// A body that fails where its next piece takes too long.
pub(super) struct Timely {
    inner: Incoming,
    limit: Duration,
    reading: Patience,
}

impl Timely {
    pub(super) fn new(inner: Incoming, limit: Duration) -> Self {
        Self { inner, limit, reading: Patience::new(limit) }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if self.reading.is_over(&polled, context) {
            return Poll::Ready(Some(Err(BodyTimeout(self.limit).into())));
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
