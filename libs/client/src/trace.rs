//! Tells the peer which span called it.

use std::task::{Context, Poll};

use http::Request;
use pointsman_telemetry::propagation;
use tower::Service;
use tracing::Span;

/// Writes the current span's W3C trace context into each call.
#[derive(Clone, Debug)]
pub(crate) struct Propagate<S> {
    inner: S,
}

impl<S> Propagate<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        propagation::inject(&Span::current(), request.headers_mut());
        self.inner.call(request)
    }
}
