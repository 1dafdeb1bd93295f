//! Bounds the calls that run at the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use pointsman_errors::{Error, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower::{Layer, Service};

/// Makes services that share one limit.
#[derive(Clone, Debug)]
pub(crate) struct InFlightLayer {
    places: Arc<Semaphore>,
}

impl InFlightLayer {
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)) }
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> InFlight<S> {
        InFlight { inner, places: Arc::clone(&self.places) }
    }
}

/// Refuses a call when all places are taken; else its response holds a place to its end.
#[derive(Clone, Debug)]
pub(crate) struct InFlight<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S, B, R> Service<Request<B>> for InFlight<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Status>,
    S::Future: Send + 'static,
{
    type Response = Response<Held<R>>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let error = Error::new(Reason::QueueFull, "too many calls to this instance are running; try again")
                .retry_after(Duration::from_secs(1));
            return async move { Err(error.into()) }.boxed();
        };
        let response = self.inner.call(request);
        async move { Ok(response.await?.map(|inner| Held { inner, _place: place })) }.boxed()
    }
}

pin_project! {
    /// A body that holds a place.
    pub(crate) struct Held<B> {
        #[pin]
        inner: B,
        _place: OwnedSemaphorePermit,
    }
}

impl<B: Body> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
