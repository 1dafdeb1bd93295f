//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on each.
//!
//! Not tonic's server: its timeout layer ends calls at their headers with a status that is not ours, and
//! one port here serves gRPC and REST alike.

mod body;
mod patience;
mod stream;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pointsman_tls::Acceptor;
use pointsman_types::Origin;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::body::Timely;
use self::stream::{Greeted, Outgoing};
use crate::Drain;
use crate::config::ConnectionConfig;
use crate::guard::is_grpc;
use crate::web::{Browsers, Web, names_grpc_web};

pub use self::body::BodyTimeout;

/// A socket, and what is served on it.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    /// Whom the socket faces.
    pub(crate) origin: Origin,
    /// Its certificate; `None`: plain text.
    pub(crate) tls: Option<Security>,
    /// What it takes of what browsers send.
    pub(crate) browsers: Browsers,
    pub(crate) config: ConnectionConfig,
    pub(crate) drain: Drain,
    /// Where its connections run. They may outlast [`Listener::serve`], to finish what they were doing.
    pub(crate) connections: TaskTracker,
}

/// How a listener secures its connections.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) acceptor: Acceptor,
    /// Handshakes that failed.
    pub(crate) failed: Counter,
}

impl Listener {
    /// Accepts connections until the drain begins.
    pub(crate) async fn serve(self) {
        // Whoever waits for the connections waits for the last that is accepted too.
        let _accepting = self.connections.token();
        let mut places = Places::new(self.config.max_connections);
        let builder = builder(&self.config);
        let web = Web::new(self.router.clone(), self.browsers.clone());
        loop {
            let accepted = async {
                let place = places.take().await;
                (place, self.socket.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                () = self.drain.begun() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    at_once(&stream);
                    let stream = Outgoing::new(stream, &self.config);
                    let connection = Connection {
                        web: web.clone(),
                        origin: self.origin,
                        config: self.config,
                        drain: self.drain.clone(),
                    };
                    let (builder, tls) = (builder.clone(), self.tls.clone());
                    // A place is held from here: a handshake needs one too.
                    self.connections.spawn(async move {
                        match tls {
                            None => connection.speak(stream, &builder).await,
                            // On the heap: a handshake is large, and connections in plain text are not to be.
                            Some(tls) => Box::pin(connection.secured(stream, tls, &builder)).await,
                        }
                        drop(place);
                    });
                }
                Err(error) if is_exhaustion(&error) => {
                    tracing::warn!(%error, "a connection could not be accepted; waiting for others to end");
                    // Instead of spinning: the connection is still there, and so is what is missing.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // A peer that has gone before it was accepted is its own business.
                Err(error) => tracing::debug!(%error, "a connection could not be accepted"),
            }
        }
    }
}

/// Whether the process or the machine has run out of descriptors or memory.
fn is_exhaustion(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// The connections that there may be at the same time.
struct Places {
    free: Arc<Semaphore>,
    said_full: bool,
}

impl Places {
    fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), said_full: false }
    }

    /// Waits for a place. That it has to is said once: at a limit that is reached, it is reached all the time.
    async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        if self.free.available_permits() == 0 && !std::mem::replace(&mut self.said_full, true) {
            tracing::warn!("server.connection.max_connections is reached: new connections wait until others end");
        }
        // It is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

fn builder(config: &ConnectionConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(64 << 10)
        // Windows that a long prompt fits into: the default of 64 KiB costs a round trip each time.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
}

/// A connection that was accepted.
struct Connection {
    web: Web,
    origin: Origin,
    config: ConnectionConfig,
    drain: Drain,
}

impl Connection {
    /// Makes a handshake, and speaks over it. A drain does not wait for it: nothing was asked yet.
    async fn secured<S>(self, stream: Outgoing<S>, tls: Security, builder: &Builder<TokioExecutor>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = tokio::time::timeout(self.config.handshake_timeout, tls.acceptor.accept(stream));
        let shaken = tokio::select! {
            biased;
            () = self.drain.begun() => return,
            shaken = handshake => shaken,
        };
        match shaken.unwrap_or_else(|late| Err(late.into())) {
            Ok(stream) => Box::pin(self.speak(stream, builder)).await,
            Err(error) => {
                tls.failed.inc();
                tracing::debug!(%error, "a TLS handshake failed");
            }
        }
    }

    /// Speaks HTTP until the peer has gone, or until the connection is old or the drain begins and all that runs is done.
    async fn speak<S>(self, stream: S, builder: &Builder<TokioExecutor>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { web, origin, config, drain } = self;
        let service = web.map_request(move |request: http::Request<Incoming>| {
            // A gRPC call has its deadline for that; a browser's seldom has one, and sends one message.
            let has_deadline = is_grpc(request.headers()) && !names_grpc_web(request.headers());
            let timely = !has_deadline && !request.body().is_end_stream();
            let mut request = request
                .map(|body| if timely { Body::new(Timely::new(body, config.body_timeout)) } else { Body::new(body) });
            request.extensions_mut().insert(origin);
            request
        });
        let stream = TokioIo::new(Greeted::new(stream, &config));
        let mut connection = pin!(builder.serve_connection(stream, TowerToHyperService::new(service)));
        let old = async {
            tokio::select! {
                () = tokio::time::sleep(config.max_age) => {}
                () = drain.begun() => {}
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = old => {
                // GOAWAY, or `Connection: close`: what runs is finished, what comes goes elsewhere.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    // What the peer has not read by now it does not get.
                    () = drain.closed() => return,
                }
            }
        };
        if let Err(error) = ended {
            // A peer that goes away in the middle of something is everyday life.
            tracing::debug!(error, "a connection ended early");
        }
    }
}

/// Without this a stream of small frames waits 40 ms for each acknowledgement.
fn at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
}

#[cfg(test)]
mod tests;
