//! Tells the attempts at a request when all of them are over: in the trailers of a stream that went well,
//! which tonic itself leaves to the status.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures::future::{MapOk, TryFutureExt};
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use pointsman_proto::metadata::ATTEMPTS;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::surfaces::named::Named;
use crate::trail::Trail;

/// In the extensions of a response: what its trailers are to say.
#[derive(Clone, Debug)]
pub(crate) struct Trailers(Arc<Trail>);

impl Trailers {
    pub(super) fn of(named: &Named) -> Self {
        Self(Arc::clone(&named.trail))
    }
}

/// A gRPC service whose responses get the trailers that they have in their extensions.
#[derive(Clone, Debug)]
pub(crate) struct Trailing<S>(pub(crate) S);

impl<S: NamedService> NamedService for Trailing<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, R> Service<R> for Trailing<S>
where
    S: Service<R, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(S::Response) -> S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.0.call(request).map_ok(add)
    }
}

fn add(mut response: http::Response<Body>) -> http::Response<Body> {
    match response.extensions_mut().remove::<Trailers>() {
        Some(trailers) => response.map(|inner| Body::new(WithTrailers { inner, trailers })),
        None => response,
    }
}

pin_project! {
    struct WithTrailers {
        #[pin]
        inner: Body,
        trailers: Trailers,
    }
}

impl http_body::Body for WithTrailers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let next = std::task::ready!(this.inner.poll_frame(context));
        Poll::Ready(next.map(|frame| {
            frame.map(|mut frame| {
                let line = frame.trailers_mut().and_then(|_| this.trailers.0.line());
                if let (Some(trailers), Some(Ok(line))) = (frame.trailers_mut(), line.map(HeaderValue::try_from)) {
                    trailers.insert(ATTEMPTS, line);
                }
                frame
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
