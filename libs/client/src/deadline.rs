//! Ends a call at its deadline, whatever the peer does.
//!
//! tonic's own timeout ends at the response's headers; most of the life of a stream comes after them.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use pointsman_errors::{Error, Reason};
use pointsman_proto::metadata::{GRPC_TIMEOUT, parse_grpc_timeout};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;
use tower::Service;

/// Enforces the `grpc-timeout` that the caller set (`tonic::Request::set_timeout`) over headers and body.
#[derive(Clone, Debug)]
pub(crate) struct Deadline<S> {
    inner: S,
}

impl<S> Deadline<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Status>,
    S::Future: Send + 'static,
{
    type Response = Response<Limited<R>>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let timeout = request.headers().get(GRPC_TIMEOUT).and_then(|value| parse_grpc_timeout(value.to_str().ok()?));
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let response = self.inner.call(request);
        async move {
            let Some(deadline) = deadline else {
                return Ok(response.await?.map(|inner| Limited { inner, end: None }));
            };
            let response = match timeout_at(deadline, response).await {
                Ok(Ok(response)) => response,
                // tonic's own timer may have fired a moment before ours.
                Ok(Err(status)) if Instant::now() < deadline => return Err(status),
                Ok(Err(_)) | Err(_) => return Err(exceeded()),
            };
            Ok(response.map(|inner| Limited { inner, end: Some(sleep_until(deadline)) }))
        }
        .boxed()
    }
}

fn exceeded() -> Status {
    Error::new(Reason::DeadlineExceeded, "the deadline passed before the answer was complete").into()
}

pin_project! {
    /// A body that fails at the deadline.
    pub(crate) struct Limited<B> {
        #[pin]
        inner: B,
        #[pin]
        end: Option<Sleep>,
    }
}

impl<B: Body<Error = Status>> Body for Limited<B> {
    type Data = B::Data;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Status>>> {
        let this = self.project();
        // First, so that frames which wait for a slow reader do not outlive the deadline either.
        if this.end.as_pin_mut().is_some_and(|end| end.poll(context).is_ready()) {
            return Poll::Ready(Some(Err(exceeded())));
        }
        this.inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
