//! What every request passes before it reaches its service.
//!
//! tonic's own timeout lives in its server and ends at the headers; this guard stands in the routes, so
//! that it holds in process too, and covers the body.

mod body;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use pointsman_errors::{Error, Reason};
use pointsman_proto::metadata::{GRPC_TIMEOUT, MESH_CONTEXT, REASON, parse_grpc_timeout};
use pointsman_types::Origin;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};

use self::body::{Ended, Timed};
use crate::Drain;

/// In the extensions of a request that was refused before it reached its surface: the surface answers with
/// this error, in the form of its dialect.
#[derive(Clone, Debug)]
pub struct Refused(pub Error);

/// When the caller stops waiting; in the extensions of a request that has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// Returns the time that is left.
    pub fn remaining(self) -> std::time::Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Makes guards for the routes of a service.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer {
    pub(crate) drain: Drain,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, drain: self.drain.clone() }
    }
}

/// Refuses a mesh context from the public side and what the listener has refused, and ends gRPC calls at their deadline or when the drain
/// is over. Other surfaces end their own, in the form of their dialect.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    drain: Drain,
}

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let origin = request.extensions().get::<Origin>().copied().unwrap_or_default();
        if request.headers().contains_key(MESH_CONTEXT) && !origin.is_trusted() {
            let error = Error::new(Reason::MeshContextRefused, "leave the mesh context out: this listener is public");
            request.extensions_mut().insert(Refused(error));
        }
        if let Some(Refused(error)) = request.extensions().get().cloned() {
            if is_grpc(request.headers()) {
                return async { Ok(Status::from(error).into_http()) }.boxed();
            }
            // Without its body: whoever overlooks the refusal is to have nothing that it could do.
            let response = self.inner.call(request.map(|_| Body::empty()));
            return async move { Ok(refused(response.await?, &error)) }.boxed();
        }
        if !is_grpc(request.headers()) {
            // Named all the same: tonic answers whatever comes to its paths.
            return self.inner.call(request).map(|response| response.map(named)).boxed();
        }
        let timeout = request.headers().get(GRPC_TIMEOUT).and_then(|value| parse_grpc_timeout(value.to_str().ok()?));
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let mut end: End = Box::pin(end(deadline, self.drain.clone()));
        let response = self.inner.call(request);
        async move {
            tokio::select! {
                // First, so that an answer that is there is given.
                biased;
                response = response => Ok(named(response?).map(|body| guarded(body, end, deadline.is_some()))),
                status = &mut end => Ok(status.into_http()),
            }
        }
        .boxed()
    }
}

/// What ends a call before its time, and how.
type End = Pin<Box<dyn Future<Output = Status> + Send>>;

/// Lets a body end before its time. Only a deadline is worth a task: what the drain ends without anybody
/// reading ends with its connection.
fn guarded(body: Body, end: End, has_deadline: bool) -> Body {
    if body.is_end_stream() {
        body
    } else if has_deadline {
        Body::new(Timed::new(body, end))
    } else {
        Body::new(Ended::new(body, end))
    }
}

async fn end(deadline: Option<Instant>, drain: Drain) -> Status {
    let deadline = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = deadline => Error::new(Reason::DeadlineExceeded, "the deadline passed before the answer was complete").into(),
        () = drain.until_cut() => {
            let error = Error::new(Reason::ShuttingDown, "this process is going down; try again, elsewhere if you can");
            error.retry_after(std::time::Duration::from_secs(1)).into()
        }
    }
}

/// Whether a request speaks gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Lets through the answer of a surface that has said the refusal in the form of its dialect. Any other route
/// may have overlooked it, and says it in plain text.
fn refused(response: Response, error: &Error) -> Response {
    let reason = error.reason();
    if response.headers().get(REASON).is_some_and(|said| said == reason.name()) {
        return response;
    }
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
        (HeaderName::from_static(REASON), HeaderValue::from_static(reason.name())),
    ];
    (reason.http_status(), headers, format!("{}\n", error.message())).into_response()
}

/// Gives tonic's own refusals a reason of ours. What a service of ours refuses has one already; the health
/// and reflection services answer as their clients expect it.
fn named(response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let accepted = response.headers().get(GRPC_ACCEPT_ENCODING);
    let error = match status.code() {
        _ if Error::ours(&status).is_some() => return response,
        // Larger than its decoder reads.
        Code::OutOfRange => Error::from_status(&status),
        // Not decodable: a service of ours fails with a reason.
        Code::Internal => Error::new(
            Reason::InvalidRequest,
            "the bytes are no message of this method; make the stubs from the proto that the server has",
        ),
        // tonic names what it takes only where it refuses a compressed request.
        Code::Unimplemented if accepted.is_some() => Error::new(
            Reason::InvalidRequest,
            "the request is compressed in a way that is not known here; send it uncompressed",
        ),
        // Generated code says so of a method that its service does not have.
        Code::Unimplemented => Error::new(Reason::RouteNotFound, "there is no such method here; ask by reflection"),
        _ => return response,
    };
    let mut named = Status::from(error).into_http();
    if let Some(accepted) = accepted {
        named.headers_mut().insert(GRPC_ACCEPT_ENCODING, accepted.clone());
    }
    named
}

/// Which compressions a server takes.
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";

#[cfg(test)]
mod tests;
