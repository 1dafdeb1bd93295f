//! gRPC bodies that end before their time, in a status in their trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::End;

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

fn trailers(status: &Status) -> Result<Frame<Bytes>, axum::Error> {
    let mut trailers = HeaderMap::new();
    match status.add_header(&mut trailers) {
        Ok(()) => Ok(Frame::trailers(trailers)),
        Err(status) => Err(axum::Error::new(status)),
    }
}

/// A body that ends when somebody polls it after its end has come.
pub(super) struct Ended {
    inner: Body,
    end: Option<End>,
}

impl Ended {
    pub(super) fn new(inner: Body, end: End) -> Self {
        Self { inner, end: Some(end) }
    }
}

impl http_body::Body for Ended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        // First, so that frames which wait for a slow reader do not go on either.
        if let Poll::Ready(status) = end.as_mut().poll(context) {
            self.end = None;
            return Poll::Ready(Some(trailers(&status)));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if pointsman_body::is_last(&polled) {
            self.end = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that ends at its end even if nobody polls it.
pub(super) struct Timed(pointsman_body::Timed<Body, Status>);

impl Timed {
    pub(super) fn new(inner: Body, end: End) -> Self {
        Self(pointsman_body::Timed::new(inner, end))
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        self.0.poll_frame(context, |status| trailers(&status))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
