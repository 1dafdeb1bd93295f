//! The body of an answer that fails at its deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pointsman_body::Timed;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::exceeded;

/// A body with or without a deadline. Without one it costs nothing. With one it is dropped then, even if nobody
/// polls: the call is cancelled and gives its place back while its reader does something else.
pub(crate) enum Limited<B> {
    Free(B),
    Timed(Timed<B, ()>),
}

impl<B: Body<Error = Status> + Unpin + Send + 'static> Limited<B> {
    pub(super) fn until(deadline: Instant, inner: B) -> Self {
        Self::Timed(Timed::new(inner, sleep_until(deadline)))
    }
}

impl<B: Body<Error = Status> + Unpin + Send + 'static> Body for Limited<B> {
    type Data = B::Data;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Status>>> {
        match &mut *self {
            Self::Free(inner) => Pin::new(inner).poll_frame(context),
            Self::Timed(timed) => timed.poll_frame(context, |()| Err(exceeded())),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Free(inner) => inner.is_end_stream(),
            Self::Timed(timed) => timed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Free(inner) => inner.size_hint(),
            Self::Timed(timed) => timed.size_hint(),
        }
    }
}
