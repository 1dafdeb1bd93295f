//! The same over TLS.

use axum::Router;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman_testkit::certificates::Authority;
use pointsman_tls::{Acceptor, ClientTls, Connector, ServerTls};
use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LIMIT, SHORT, Security, Served, serve_with, talk, without_end};
use crate::config::ConnectionConfig;

struct Secured {
    served: Served,
    connector: Connector,
    failed: Counter,
    _folder: TempDir,
}

async fn serve(router: Router, config: ConnectionConfig) -> Secured {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority").unwrap();
    let ca = authority.write(folder.path(), "ca.pem").unwrap();
    let own = authority.issue(&["localhost"]).unwrap().write(folder.path(), "own").unwrap();
    let tls = ServerTls { certificate: own.certificate, key: own.key, client_ca: None };
    let failed = Counter::default();
    let security = Security { acceptor: Acceptor::new("test", &tls).unwrap(), failed: failed.clone() };
    let connector = Connector::new("test", &ClientTls { ca: Some(ca), ..ClientTls::default() }).unwrap();
    Secured { served: serve_with(router, config, Some(security)).await, connector, failed, _folder: folder }
}

impl Secured {
    /// Calls over a connection of its own.
    async fn call(&self) -> http::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.served.address).await.unwrap();
        let stream = self.connector.connect("localhost", stream).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1024);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
            .send_request(http::Request::get("https://localhost/").body(axum::body::Body::empty()).unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn handshakes_that_fail_or_do_not_come_are_counted_and_harm_nobody() {
    let config = ConnectionConfig { handshake_timeout: SHORT, ..ConnectionConfig::default() };
    let secured = serve(Router::new().fallback(async || "x"), config).await;
    let plain = talk(secured.served.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1"), "{plain}");
    assert_eq!(talk(secured.served.address, b"").await, "");
    // Its port is open, and it never says anything: others are served meanwhile.
    let _silent = TcpStream::connect(secured.served.address).await.unwrap();
    assert_eq!(timeout(LIMIT, secured.call()).await.unwrap().status(), 200);
    assert!(secured.failed.get() >= 2, "{}", secured.failed.get());
}

#[tokio::test]
async fn a_handshake_takes_a_place_and_a_drain_does_not_wait_for_it() {
    let config = ConnectionConfig { max_connections: 1, ..ConnectionConfig::default() };
    let secured = serve(Router::new().fallback(async || "x"), config).await;
    let silent = TcpStream::connect(secured.served.address).await.unwrap();
    let mut second = Box::pin(secured.call());
    assert!(timeout(SHORT, second.as_mut()).await.is_err(), "it was served");
    drop(silent);
    assert_eq!(timeout(LIMIT, second).await.unwrap().status(), 200);

    let secured = serve(Router::new(), ConnectionConfig::default()).await;
    let mut silent = TcpStream::connect(secured.served.address).await.unwrap();
    while secured.served.connections.len() < 2 {
        tokio::task::yield_now().await;
    }
    secured.served.drain.begin();
    secured.served.connections.close();
    timeout(LIMIT, secured.served.connections.wait()).await.unwrap();
    assert_eq!(silent.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_stalled_reader_is_closed() {
    let (router, dropped) = without_end();
    let config = ConnectionConfig { stall_timeout: SHORT, ..ConnectionConfig::default() };
    let secured = serve(router, config).await;
    let stream = TcpStream::connect(secured.served.address).await.unwrap();
    let mut stream = secured.connector.connect("localhost", stream).await.unwrap();
    // HTTP/1.1 all the same: the server looks at what is said, and this answer needs no window.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    timeout(LIMIT, dropped).await.unwrap().unwrap_err();
}
