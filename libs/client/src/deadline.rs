//! Ends a call at its deadline, whatever the peer does.
//!
//! tonic's own timeout ends at the response's headers; most of the life of a stream comes after them.

mod body;

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use http_body::Body;
use pointsman_errors::{Error, Reason};
use pointsman_proto::metadata::{GRPC_TIMEOUT, parse_grpc_timeout};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tower::Service;

use self::body::Limited;

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
    R: Body<Error = Status> + Unpin + Send + 'static,
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
                return Ok(response.await?.map(Limited::Free));
            };
            let response = match timeout_at(deadline, response).await {
                Ok(Ok(response)) => response,
                // tonic's own timer may have fired a moment before ours.
                Ok(Err(status)) if Instant::now() < deadline => return Err(status),
                Ok(Err(_)) | Err(_) => return Err(exceeded()),
            };
            Ok(response.map(|inner| Limited::until(deadline, inner)))
        }
        .boxed()
    }
}

fn exceeded() -> Status {
    Error::new(Reason::DeadlineExceeded, "the deadline passed before the answer was complete").into()
}

#[cfg(test)]
mod tests;
