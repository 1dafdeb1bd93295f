//! What browsers need, on the listener that faces callers: gRPC-Web
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>), and leave to call from pages of other origins (CORS).
//!
//! Outside of the guard, so that whatever refuses a call refuses it in the caller's own protocol.

mod cors;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures::future::{BoxFuture, Either, FutureExt};
use http::header::{CONTENT_TYPE, HeaderMap};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

pub(crate) use cors::Cors;
pub use cors::CorsConfig;

/// The routes of a listener, for browsers too if it faces them.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    router: Router,
    cors: Option<Arc<Cors>>,
}

impl Web {
    /// `None`: the listener faces no browser.
    pub(crate) fn new(router: Router, cors: Option<Arc<Cors>>) -> Self {
        Self { router, cors }
    }
}

impl Service<Request> for Web {
    type Response = Response;
    type Error = Infallible;
    /// Whoever is no browser pays for two looks at headers, and for no box.
    type Future = Either<RouteFuture<Infallible>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(cors) = &self.cors else { return Either::Left(self.router.call(request)) };
        let allowed = cors.allowed(request.headers());
        let is_web = is_grpc_web(request.headers());
        let Some(origin) = allowed else {
            // Its browser keeps the answer from a page whose origin is not allowed; other callers read it.
            return if is_web {
                Either::Right(self.translated(request))
            } else {
                Either::Left(self.router.call(request))
            };
        };
        if let Some(answer) = cors.preflight(&origin, &request) {
            return Either::Right(std::future::ready(Ok(answer)).boxed());
        }
        let cors = Arc::clone(cors);
        let response = if is_web { self.translated(request) } else { self.router.call(request).boxed() };
        let marked = response.map(move |response| response.map(|response| cors.marked(response, origin)));
        Either::Right(marked.boxed())
    }
}

impl Web {
    /// Calls as gRPC, and answers as gRPC-Web.
    fn translated(&self, request: Request) -> BoxFuture<'static, Result<Response, Infallible>> {
        let called = GrpcWebLayer::new().layer(self.router.clone()).call(request);
        called.map(|response| response.map(|response| response.map(Body::new))).boxed()
    }
}

/// Whether a request speaks gRPC-Web.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web"))
}

#[cfg(test)]
mod tests;
