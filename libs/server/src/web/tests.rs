use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::Frame;
use pointsman_errors::{Error, Reason};
use pointsman_proto::metadata::REASON;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::{Browsers, Cors, CorsConfig, KINDS, Web};
use crate::Drain;
use crate::guard::GuardLayer;

const PAGE: &str = "https://app.example";

/// A gRPC method that sends what the test says; it is told the headers that came.
fn echo(receiver: mpsc::Receiver<Frame<Bytes>>) -> Router {
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let answer = async move |request: Request| -> Response {
        let headers = request.headers();
        assert_eq!(headers["content-type"], "application/grpc");
        let frames = receiver.lock().unwrap().take().unwrap();
        ([(CONTENT_TYPE, "application/grpc")], Body::new(Frames(frames))).into_response()
    };
    Router::new().route("/grpc", post(answer)).route("/http", post(async || [("x-request-id", "7")]))
}

struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

fn web(router: Router, origins: &[&str]) -> Web {
    let allowed_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let cors = Cors::new(&CorsConfig { allowed_origins, ..CorsConfig::default() });
    Web::new(router, Browsers { cors: Some(Arc::new(cors)), loopback_names_only: false })
}

fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn next(body: &mut Body) -> Option<Bytes> {
    use std::pin::Pin;
    let frame = std::future::poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context)).await?;
    Some(frame.unwrap().into_data().unwrap())
}

#[tokio::test]
async fn every_piece_comes_when_it_is_there_and_trailers_come_as_the_last() {
    let kinds = ["application/grpc-web+proto", "application/grpc-web-text"];
    let versions = [Version::HTTP_11, Version::HTTP_2];
    for (kind, version) in kinds.into_iter().flat_map(|kind| versions.map(|version| (kind, version))) {
        let (sender, receiver) = mpsc::channel(1);
        let mut called = request(Method::POST, "/grpc", &[("content-type", kind), ("accept", kind)]);
        *called.version_mut() = version;
        let response = web(echo(receiver), &[]).oneshot(called).await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind), "{:?}", response.headers());
        let mut body = response.into_body();
        let text = kind.ends_with("text");
        // Each is read before the next is sent: nothing is gathered.
        for (piece, encoded) in [("abc", "YWJj"), ("defg", "ZGVmZw==")] {
            sender.send(Frame::data(Bytes::from(piece))).await.unwrap();
            assert_eq!(next(&mut body).await.unwrap(), if text { encoded } else { piece });
        }
        let trailers = [("grpc-status", "0"), ("x-pointsman-attempts", "a@b FINISHED 1ms")];
        let trailers: HeaderMap = trailers
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        sender.send(Frame::trailers(trailers)).await.unwrap();
        let last = next(&mut body).await.unwrap();
        if !text {
            let (head, lines) = last.split_at(5);
            assert_eq!((head[0], u32::from_be_bytes(head[1..].try_into().unwrap()) as usize), (0x80, lines.len()));
            let lines = std::str::from_utf8(lines).unwrap();
            assert!(lines.contains("grpc-status:0\r\n"), "{lines}");
            assert!(lines.contains("x-pointsman-attempts:a@b FINISHED 1ms\r\n"), "{lines}");
        }
        drop(sender);
        assert!(next(&mut body).await.is_none());
    }
}

#[tokio::test]
async fn a_page_that_is_allowed_is_told_so_and_may_read_what_is_ours() {
    let asked = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-grpc-web"),
    ];
    let (_, receiver) = mpsc::channel(1);
    let web = web(echo(receiver), &["https://other.example", PAGE]);
    let preflight = web.clone().oneshot(request(Method::OPTIONS, "/grpc", &asked)).await.unwrap();
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    for (name, want) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization,x-grpc-web"),
        ("access-control-max-age", "3600"),
    ] {
        assert_eq!(preflight.headers()[name], want, "{name}");
    }
    let answer = web.oneshot(request(Method::POST, "/http", &[("origin", PAGE)])).await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
    assert_eq!(answer.headers()["vary"], "origin");
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "x-pointsman-trace-id"] {
        assert!(exposed.split(", ").any(|one| one == name), "{name} in {exposed}");
    }
}

#[tokio::test]
async fn other_pages_are_told_nothing() {
    let preflight = [("origin", PAGE), ("access-control-request-method", "POST")];
    for origins in [&[][..], &["https://other.example"]] {
        for (method, path) in [(Method::OPTIONS, "/http"), (Method::POST, "/http")] {
            let (_, receiver) = mpsc::channel(1);
            let response = web(echo(receiver), origins).oneshot(request(method, path, &preflight)).await.unwrap();
            assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control")), "{response:?}");
        }
    }
    let (_, receiver) = mpsc::channel(1);
    let any = web(echo(receiver), &["*"]).oneshot(request(Method::POST, "/http", &preflight)).await.unwrap();
    assert_eq!(any.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn a_listener_of_the_mesh_translates_nothing() {
    let router = Router::new().route(
        "/grpc",
        post(async |request: Request| request.headers()["content-type"].clone().to_str().unwrap().to_owned()),
    );
    let kind = "application/grpc-web";
    let called = request(Method::POST, "/grpc", &[("content-type", kind)]);
    let response = Web::new(router, Browsers::default()).oneshot(called).await.unwrap();
    assert_eq!(next(&mut response.into_body()).await.unwrap(), kind);
}

/// What comes to a service, with the guard before it.
fn guarded() -> (Router, mpsc::UnboundedReceiver<Bytes>) {
    let (sender, came) = mpsc::unbounded_channel();
    let take = async move |request: Request| {
        let body = axum::body::to_bytes(request.into_body(), 1000).await.unwrap();
        sender.send(body).unwrap();
        "done"
    };
    (Router::new().fallback(take).layer(GuardLayer { drain: Drain::default() }), came)
}

fn reason(headers: &HeaderMap) -> Option<Reason> {
    let status = tonic::Status::from_header_map(headers)?;
    Error::ours(&status).map(|error| error.reason())
}

#[tokio::test]
async fn nothing_is_done_for_other_pages() {
    let (router, mut came) = guarded();
    let web = web(router, &["https://other.example"]);
    // What a page may send without asking first: as text, or without a type; tonic would take that as it is.
    for kind in [None, Some("text/plain"), Some("application/grpc"), Some("application/grpc-web+proto")] {
        let mut asked = request(Method::POST, "/grpc", &[("origin", PAGE)]);
        *asked.body_mut() = Body::from("generate");
        if let Some(kind) = kind {
            asked.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let response = web.clone().oneshot(asked).await.unwrap();
        let is_grpc = kind.is_some_and(|kind| kind.starts_with("application/grpc"));
        if is_grpc {
            assert_eq!(reason(response.headers()), Some(Reason::OriginRefused), "{kind:?}");
            assert_eq!(response.headers()[CONTENT_TYPE], kind.unwrap());
        } else {
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            assert_eq!(response.headers()[REASON], "ORIGIN_REFUSED");
            assert_eq!(came.recv().await.unwrap(), "", "the service was told what to do");
        }
        assert!(came.try_recv().is_err());
    }
}

#[tokio::test]
async fn grpc_web_in_another_way_is_told_the_right_one() {
    let (router, mut came) = guarded();
    let web = web(router, &[]);
    let post = |kind| request(Method::POST, "/grpc", &[("content-type", kind)]);
    for kind in KINDS {
        let response = web.clone().oneshot(post(kind)).await.unwrap();
        assert_eq!((response.status(), reason(response.headers())), (StatusCode::OK, None), "{kind}");
        came.recv().await.unwrap();
    }
    let put = request(Method::PUT, "/grpc", &[("content-type", KINDS[0])]);
    for odd in [put, post("application/grpc-web+json"), post("application/grpc-web-text; charset=utf-8")] {
        let response = web.clone().oneshot(odd).await.unwrap();
        assert_eq!(reason(response.headers()), Some(Reason::InvalidRequest), "{response:?}");
    }
    assert!(came.try_recv().is_err());
}

#[tokio::test]
async fn caches_are_told_where_the_page_makes_a_difference() {
    let (_, receiver) = mpsc::channel(1);
    let router = echo(receiver);
    let none: &[(&str, &str)] = &[];
    for (origins, vary) in [(&[][..], None), (&["https://other.example"], Some("origin")), (&["*"], Some("origin"))] {
        for headers in [none, &[("origin", PAGE)]] {
            let response = web(router.clone(), origins).oneshot(request(Method::POST, "/http", headers)).await.unwrap();
            let told = response.headers().get("vary").map(|value| value.to_str().unwrap());
            assert_eq!(told, vary, "{origins:?} {headers:?}");
        }
    }
}
