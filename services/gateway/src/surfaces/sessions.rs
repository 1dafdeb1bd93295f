//! `SessionService`, as tenants see it: passed on to the session store as it is, in the name of its caller.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::MeshContext;
use pointsman_proto::mesh_context;
use pointsman_proto::metadata::{GRPC_TIMEOUT, REQUEST_ID, TRACE_ID};
use pointsman_proto::sessions::v1::session_service_server::SERVICE_NAME;
use pointsman_server::Drain;
use pointsman_telemetry::propagation;
use pointsman_types::new_request_id;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tower::{Service, ServiceExt};
use tracing::Instrument;

use crate::caller::Caller;
use crate::config::Scope;
use crate::exchange::Gateway;
use crate::exchange::turn::not_served;
use crate::limits::{Limiter, Running};
use crate::surfaces::grpc;
use crate::{span, turn};

/// Passes calls on. What is in them is between the caller and the store.
#[derive(Clone)]
pub(crate) struct Forwarding(pub(crate) Arc<Gateway>);

impl NamedService for Forwarding {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Forwarding {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gateway = Arc::clone(&self.0);
        async move {
            let id = new_request_id();
            let span = span::session_call(request.uri().path(), &id, request.headers());
            let trace = propagation::trace_id(&span);
            let answered = forward(&gateway, request, &span).instrument(span.clone()).await;
            let mut response = answered.unwrap_or_else(|error| {
                span::failed(&span, error.reason().name());
                Status::from(error).into_http()
            });
            for (name, value) in [(REQUEST_ID, Some(id)), (TRACE_ID, trace)] {
                if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                    response.headers_mut().insert(name, value);
                }
            }
            Ok(response)
        }
        .boxed()
    }
}

async fn forward(gateway: &Gateway, request: Request<Body>, span: &tracing::Span) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    let caller = grpc::caller(gateway, &MetadataMap::from_headers(parts.headers.clone()), &parts.extensions)?;
    caller.require(Scope::Sessions)?;
    let running = caller.limiter.as_ref().map(Limiter::enter).transpose()?;
    let store = gateway.sessions.as_ref().ok_or_else(not_served)?;
    let is_endless = parts.uri.path().ends_with(WATCH);
    let mut forwarded = Request::new(body);
    *forwarded.method_mut() = parts.method;
    *forwarded.uri_mut() = parts.uri;
    *forwarded.headers_mut() = headers(&parts.headers, &caller);
    propagation::inject(span, forwarded.headers_mut());
    let response = store.channel().oneshot(forwarded).await.map_err(|status| turn::read(&status))?;
    if response.headers().contains_key("grpc-status") {
        // A refusal is headers alone: a stream after them would be believed.
        return Ok(response);
    }
    Ok(response.map(|body| passed_on(body, running, is_endless.then(|| gateway.drain.clone()))))
}

/// The method whose stream ends by nobody but its caller.
const WATCH: &str = "/WatchTurns";

/// A stream that counts as running until it ends; one without end ends well when the drain begins, which would wait for it: its
/// caller goes on at another gateway.
fn passed_on(body: Body, running: Option<Running>, drain: Option<Drain>) -> Body {
    let frames = BodyStream::new(body).map(move |frame| {
        let _counts = &running;
        // The store was lost, and not the mesh.
        frame.or_else(|status| {
            let mut trailers = HeaderMap::new();
            Status::from(turn::read(&status)).add_header(&mut trailers)?;
            Ok::<_, Status>(Frame::trailers(trailers))
        })
    });
    let Some(drain) = drain else { return Body::new(StreamBody::new(frames)) };
    let end = stream::once(async {
        let well = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        Ok(Frame::trailers(well))
    });
    let frames = frames.take_until(async move { drain.begun().await }).chain(end);
    let until_the_end = frames.scan(false, |has_ended, frame| {
        let is_last = frame.as_ref().map_or(true, Frame::is_trailers);
        let next = (!std::mem::replace(has_ended, is_last)).then_some(frame);
        async move { next }
    });
    Body::new(StreamBody::new(until_the_end))
}

/// What the store needs of the call's headers, and whom it is for. The caller's key stays here.
fn headers(given: &HeaderMap, caller: &Caller) -> HeaderMap {
    let mut metadata = MetadataMap::new();
    let context = MeshContext {
        tenant: caller.tenant.to_string(),
        key: caller.key.to_string(),
        hops: caller.hops,
        ..MeshContext::default()
    };
    mesh_context::write(&context, &mut metadata);
    let mut headers = metadata.into_headers();
    let own = [GRPC_TIMEOUT, "grpc-encoding", "grpc-accept-encoding"].map(HeaderName::from_static);
    for name in [CONTENT_TYPE, TE].into_iter().chain(own) {
        if let Some(value) = given.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}
