//! What browsers need, on the listener that faces callers: gRPC-Web
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>), and leave to call from pages of other origins (CORS);
//! and what keeps the pages of others away, on every listener.
//!
//! Outside of the guard, so that whatever refuses a call refuses it in the caller's own protocol.

mod browsers;
mod cors;

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures::future::{BoxFuture, Either, FutureExt};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap};
use pointsman_errors::{Error, Reason};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use crate::Refused;

pub(crate) use browsers::Browsers;
pub(crate) use cors::Cors;
pub use cors::CorsConfig;

/// The routes of a listener, for browsers too if it faces them.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    router: Router,
    browsers: Browsers,
}

impl Web {
    pub(crate) fn new(router: Router, browsers: Browsers) -> Self {
        Self { router, browsers }
    }
}

impl Service<Request> for Web {
    type Response = Response;
    type Error = Infallible;
    /// Where no page may call, whoever is no browser pays for looks at three headers, and for no box.
    type Future = Either<RouteFuture<Infallible>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(error) = self.browsers.refusal(&request) {
            request.extensions_mut().insert(Refused(error));
        }
        let Some(cors) = self.browsers.cors.clone() else { return Either::Left(self.router.call(request)) };
        let is_web = is_grpc_web(&request);
        if !is_web && names_grpc_web(request.headers()) {
            request.extensions_mut().insert(Refused(Error::new(Reason::InvalidRequest, ODD)));
        }
        if !is_web && !cors.allows_some() {
            return Either::Left(self.router.call(request));
        }
        let allowed = cors.allowed(request.headers());
        if let Some(origin) = &allowed
            && let Some(answer) = cors.preflight(origin, &request)
        {
            return Either::Right(std::future::ready(Ok(answer)).boxed());
        }
        let response = if is_web { self.translated(request) } else { self.router.call(request).boxed() };
        if !cors.allows_some() {
            return Either::Right(response);
        }
        Either::Right(response.map(move |response| response.map(|response| cors.marked(response, allowed))).boxed())
    }
}

impl Web {
    /// Calls as gRPC, and answers as gRPC-Web.
    fn translated(&self, request: Request) -> BoxFuture<'static, Result<Response, Infallible>> {
        let called = GrpcWebLayer::new().layer(self.router.clone()).call(request);
        called.map(|response| response.map(|response| response.map(Body::new))).boxed()
    }
}

/// How gRPC-Web is spoken here.
const KINDS: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

const ODD: &str = "gRPC-Web is a POST whose content-type is application/grpc-web or application/grpc-web-text, each with or \
                   without +proto, and nothing more";

/// Whether a request speaks gRPC-Web in a way that is translated.
fn is_grpc_web(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    request.method() == Method::POST && kind.is_some_and(|kind| KINDS.iter().any(|known| kind == *known))
}

/// Whether a request says that it speaks gRPC-Web.
pub(crate) fn names_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(KINDS[0].as_bytes()))
}

#[cfg(test)]
mod tests;
