//! The same over TLS.

use std::future::pending;

use axum::Router;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman_testkit::certificates::Authority;
use pointsman_tls::{Acceptor, ClientTls, Connector, ServerTls};
use pointsman_types::Origin;
use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{LIMIT, SHORT, Security, Served, serve_with, talk, without_end};
use crate::Drain;
use crate::config::ConnectionConfig;
use crate::listener::{Connection, Outgoing, builder};
use crate::web::{Browsers, Web};

/// Both sides of handshakes.
struct Papers {
    security: Security,
    connector: Connector,
    _folder: TempDir,
}

impl Papers {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority").unwrap();
        let ca = authority.write(folder.path(), "ca.pem").unwrap();
        let own = authority.issue(&["localhost"]).unwrap().write(folder.path(), "own").unwrap();
        let tls = ServerTls { certificate: own.certificate, key: own.key, client_ca: None };
        let security = Security { acceptor: Acceptor::new("test", &tls).unwrap(), failed: Counter::default() };
        let connector = Connector::new("test", &ClientTls { ca: Some(ca), ..ClientTls::default() }).unwrap();
        Self { security, connector, _folder: folder }
    }
}

struct Secured {
    served: Served,
    connector: Connector,
    failed: Counter,
    _folder: TempDir,
}

async fn serve(router: Router, config: ConnectionConfig) -> Secured {
    let Papers { security, connector, _folder } = Papers::new();
    let failed = security.failed.clone();
    Secured { served: serve_with(router, config, Some(security)).await, connector, failed, _folder }
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

/// Carries bytes over a line that takes 1 KiB each half [`SHORT`] towards the client.
async fn slow_line(server: DuplexStream, client: DuplexStream) {
    let ((mut from_server, mut to_server), (mut from_client, mut to_client)) = (split(server), split(client));
    let answers = async {
        let mut piece = [0; 1024];
        loop {
            match from_server.read(&mut piece).await {
                Ok(0) | Err(_) => return to_client.shutdown().await,
                Ok(length) => to_client.write_all(&piece[..length]).await?,
            }
            sleep(SHORT / 2).await;
        }
    };
    let requests = async {
        let _ = copy(&mut from_client, &mut to_server).await;
        pending().await
    };
    tokio::select! { _ = answers => {} () = requests => {} }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_closed() {
    const LENGTH: usize = 200 << 10;
    let papers = Papers::new();
    let config = ConnectionConfig { stall_timeout: SHORT, ..ConnectionConfig::default() };
    let connection = Connection {
        web: Web::new(Router::new().fallback(async || vec![b'x'; LENGTH]), Browsers::default()),
        origin: Origin::Public,
        config,
        drain: Drain::default(),
    };
    let (server, from_server) = duplex(1024);
    let (client, to_client) = duplex(1024);
    tokio::spawn(slow_line(from_server, to_client));
    let (tls, stream) = (papers.security.clone(), Outgoing::new(server, &config));
    tokio::spawn(async move { connection.secured(stream, tls, &builder(&config)).await });

    let mut stream = papers.connector.connect("localhost", client).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with(&"x".repeat(LENGTH)), "{} bytes came", text.len());
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
