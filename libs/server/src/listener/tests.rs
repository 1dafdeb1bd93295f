//! Over real sockets.

mod secured;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman_types::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{BodyTimeout, Listener, Security};
use crate::Drain;
use crate::config::ConnectionConfig;
use crate::endless::{Dropped, endless};
use crate::guard::GuardLayer;
use crate::web::Browsers;

/// Catches what hangs; nothing comes near it.
const LIMIT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

struct Served {
    address: SocketAddr,
    drain: Drain,
    connections: TaskTracker,
}

async fn serve(router: Router, config: ConnectionConfig) -> Served {
    serve_with(router, config, None).await
}

async fn serve_with(router: Router, config: ConnectionConfig, tls: Option<Security>) -> Served {
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let (drain, connections) = (Drain::default(), TaskTracker::new());
    let listener = Listener {
        socket,
        router: router.layer(GuardLayer { drain: drain.clone() }),
        origin: Origin::Public,
        tls,
        browsers: Browsers::default(),
        config,
        drain: drain.clone(),
        connections: connections.clone(),
    };
    tokio::spawn(listener.serve());
    Served { address, drain, connections }
}

/// Answers the first request without an end, in pieces of 64 KiB.
fn without_end() -> (Router, Dropped) {
    let (body, dropped) = endless(64 << 10);
    let body = Arc::new(Mutex::new(Some(body)));
    let router = Router::new().fallback(async move || {
        let body = body.lock().unwrap().take().unwrap();
        ([(CONTENT_TYPE, "application/grpc")], body).into_response()
    });
    (router, dropped)
}

/// Begins a gRPC call and reads nothing of its answer. The connection lives as long as what is returned.
async fn begin(address: SocketAddr, timeout: Option<&str>) -> impl Sized {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1024);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = http::Request::post("http://a/b").header(CONTENT_TYPE, "application/grpc");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
    (sender, response, connection)
}

/// Sends bytes as they are, and reads until the server closes.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    // A reset is a close too.
    let _ = timeout(LIMIT, stream.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_stalled_grpc_reader_frees_what_its_answer_holds_at_the_deadline() {
    let (router, dropped) = without_end();
    let served = serve(router, ConnectionConfig::default()).await;
    let _call = begin(served.address, Some("200m")).await;
    timeout(LIMIT, dropped).await.unwrap().unwrap_err();
    assert_eq!(served.connections.len(), 2, "the listener and the connection, which goes on");
}

#[tokio::test]
async fn a_stalled_grpc_reader_without_a_deadline_ends_with_its_connection() {
    let (router, mut dropped) = without_end();
    let served = serve(router, ConnectionConfig::default()).await;
    let _call = begin(served.address, None).await;
    served.drain.begin();
    served.drain.cut();
    served.connections.close();
    timeout(SHORT, &mut dropped).await.unwrap_err();
    served.drain.close();
    timeout(LIMIT, dropped).await.unwrap().unwrap_err();
    timeout(LIMIT, served.connections.wait()).await.unwrap();
}

#[tokio::test]
async fn a_stalled_http_reader_is_closed() {
    let (router, dropped) = without_end();
    let served = serve(router, ConnectionConfig { stall_timeout: SHORT, ..ConnectionConfig::default() }).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    timeout(LIMIT, dropped).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_speaks_is_closed() {
    let config = ConnectionConfig { first_byte_timeout: SHORT, ..ConnectionConfig::default() };
    let served = serve(Router::new().fallback(async || "x"), config).await;
    for greeting in ["", "P", "PRI * HTTP/2.0\r\n"] {
        assert_eq!(talk(served.address, greeting.as_bytes()).await, "", "{greeting:?}");
    }
    // The limit ends with the greeting.
    let slow = async {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"PO").await.unwrap();
        assert!(timeout(3 * SHORT, stream.read_u8()).await.is_err(), "it was closed");
        stream.write_all(b"ST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    assert!(timeout(LIMIT, slow).await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn headers_and_bodies_that_do_not_come_are_given_up() {
    let router = Router::new().fallback(async |request: Request| {
        let error = to_bytes(request.into_body(), 1000).await.unwrap_err();
        BodyTimeout::in_sources_of(&error).unwrap().to_string()
    });
    let config = ConnectionConfig { header_read_timeout: SHORT, body_timeout: SHORT, ..ConnectionConfig::default() };
    let served = serve(router, config).await;
    assert_eq!(talk(served.address, b"GET / HTTP/1.1\r\nHost").await, "");
    let text = talk(served.address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").await;
    assert!(text.ends_with("the request's body did not go on for 100ms"), "{text}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_others_to_end() {
    let config = ConnectionConfig { max_connections: 1, ..ConnectionConfig::default() };
    let served = serve(Router::new().fallback(async || "x"), config).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    timeout(LIMIT, first.read_u8()).await.unwrap().unwrap();
    let second = talk(served.address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut second = std::pin::pin!(second);
    assert!(timeout(SHORT, second.as_mut()).await.is_err(), "it was served");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}
