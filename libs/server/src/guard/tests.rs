use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body::{Body as _, Frame};
use pointsman_errors::{Error, Reason};
use pointsman_proto::metadata::{MESH_CONTEXT, REASON};
use tokio::time::{Instant, timeout};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::{GuardLayer, Refused};
use crate::endless::{Dropped, endless};
use crate::{Drain, Readiness, Surface};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn request(path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request {
    let mut request = http::Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).unwrap()
}

/// Calls a guarded service that answers with this body.
async fn call(body: Body, headers: &[(&str, &str)], drain: &Drain) -> Body {
    let body = Arc::new(Mutex::new(Some(body)));
    let router = Router::new().fallback(async move || {
        let body = body.lock().unwrap().take().unwrap();
        ([(CONTENT_TYPE, "application/grpc")], body).into_response()
    });
    let guarded = router.layer(GuardLayer { drain: drain.clone() });
    guarded.oneshot(request("/", headers, Vec::new())).await.unwrap().into_body()
}

async fn frame(body: &mut Body) -> Option<Frame<bytes::Bytes>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await.map(Result::unwrap)
}

fn reason(trailers: &HeaderMap) -> Option<Reason> {
    Some(Error::ours(&Status::from_header_map(trailers)?)?.reason())
}

/// Reads the status that ends a body, and nothing after it.
async fn end(body: &mut Body) -> Option<Reason> {
    let trailers = frame(body).await?.into_trailers().ok()?;
    assert!(body.is_end_stream() && frame(body).await.is_none());
    reason(&trailers)
}

async fn lasts(dropped: &mut Dropped) -> bool {
    timeout(Duration::from_secs(1 << 20), dropped).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_dropped_at_the_deadline() {
    let (body, dropped) = endless(1);
    let mut body = call(body, &[GRPC, ("grpc-timeout", "5S")], &Drain::default()).await;
    assert!(frame(&mut body).await.unwrap().is_data());
    let begun = Instant::now();
    // Nobody polls the body here.
    dropped.await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(end(&mut body).await, Some(Reason::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_told_at_the_deadline_and_at_the_cut() {
    let (body, _dropped) = endless(0);
    let mut body = call(body, &[GRPC, ("grpc-timeout", "5S")], &Drain::default()).await;
    let begun = Instant::now();
    assert_eq!(end(&mut body).await, Some(Reason::DeadlineExceeded));
    assert_eq!(begun.elapsed().as_secs(), 5);

    for headers in [&[GRPC][..], &[GRPC, ("grpc-timeout", "5H")]] {
        let (body, mut dropped) = endless(0);
        let drain = Drain::default();
        let mut body = call(body, headers, &drain).await;
        let seconds = timeout(Duration::from_secs(60), frame(&mut body)).await;
        assert!(seconds.is_err(), "it ended by itself");
        drain.cut();
        assert_eq!(end(&mut body).await, Some(Reason::ShuttingDown));
        drop(body);
        assert!(!lasts(&mut dropped).await);
    }
}

/// A body that ends by itself, in trailers.
struct Finished(Option<HeaderMap>);

impl http_body::Body for Finished {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_ended_does_not_end_again() {
    for headers in [&[GRPC][..], &[GRPC, ("grpc-timeout", "5S")]] {
        let drain = Drain::default();
        let mut body = call(Body::new(Finished(Some(HeaderMap::new()))), headers, &drain).await;
        assert!(frame(&mut body).await.unwrap().is_trailers());
        tokio::time::sleep(Duration::from_secs(10)).await;
        drain.cut();
        // The deadline's own task has its turn.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(frame(&mut body).await.is_none() && body.is_end_stream(), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_dropped_with_its_reader() {
    let (body, mut dropped) = endless(1);
    let body = call(body, &[GRPC], &Drain::default()).await;
    assert!(lasts(&mut dropped).await);
    drop(body);
    dropped.await.unwrap_err();

    let (body, mut dropped) = endless(1);
    let body = call(body, &[GRPC, ("grpc-timeout", "5S")], &Drain::default()).await;
    drop(body);
    assert!(dropped.try_recv().is_err_and(|error| error == tokio::sync::oneshot::error::TryRecvError::Closed));
}

/// The health service, as every surface has it.
async fn health(method: &str, headers: &[(&str, &str)], body: Vec<u8>) -> HeaderMap {
    let surface = Surface { grpc: Routes::default(), names: Vec::new(), http: Router::new() };
    let (router, _) = crate::surface(surface, &Readiness::default(), &Drain::default());
    let path = format!("/grpc.health.v1.Health/{method}");
    router.oneshot(request(&path, headers, body)).await.unwrap().headers().clone()
}

#[tokio::test]
async fn a_compressed_request_is_told_to_come_uncompressed() {
    // A message of one byte, flagged as compressed.
    let headers = health("Check", &[GRPC, ("grpc-encoding", "gzip")], vec![1, 0, 0, 0, 1, 0]).await;
    let status = Status::from_header_map(&headers).unwrap();
    assert_eq!((status.code(), reason(&headers)), (Code::InvalidArgument, Some(Reason::InvalidRequest)));
    assert!(status.message().contains("send it uncompressed"), "{status:?}");
    assert_eq!(headers["grpc-accept-encoding"], "identity");
}

#[tokio::test]
async fn what_tonic_refuses_has_a_reason_of_ours() {
    for (method, body, want) in [
        ("Check", vec![0, 0, 0, 0, 1, 0xff], Reason::InvalidRequest),
        ("NoSuchMethod", vec![0; 5], Reason::RouteNotFound),
    ] {
        assert_eq!(reason(&health(method, &[GRPC], body).await), Some(want));
    }
}

async fn refusing(request: Request) -> Response {
    match request.extensions().get::<Refused>() {
        Some(Refused(error)) => {
            (error.reason().http_status(), [(REASON, error.reason().name())], "own form").into_response()
        }
        None => StatusCode::OK.into_response(),
    }
}

#[tokio::test]
async fn a_refused_mesh_context_is_said_in_the_form_of_the_surface() {
    let router = Router::new().route("/own", axum::routing::post(refusing)).fallback(async || "overlooked");
    let router = router.layer(GuardLayer { drain: Drain::default() });
    for (path, want) in [("/own", "own form"), ("/other", "leave the mesh context out: this listener is public\n")] {
        let context = request(path, &[(MESH_CONTEXT, "AA")], Vec::new());
        let response = router.clone().oneshot(context).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()[REASON], "MESH_CONTEXT_REFUSED");
        assert_eq!(to_bytes(response.into_body(), 1000).await.unwrap(), want);
    }
    let grpc = request("/own", &[GRPC, (MESH_CONTEXT, "AA")], Vec::new());
    let response = router.clone().oneshot(grpc).await.unwrap();
    assert_eq!(reason(response.headers()), Some(Reason::MeshContextRefused));
    let response = router.oneshot(request("/own", &[], Vec::new())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
