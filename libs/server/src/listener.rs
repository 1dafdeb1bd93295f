//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on each.
//!
//! Not tonic's server: its timeout layer ends calls at their headers with a status that is not ours, and
//! one port here serves gRPC and REST alike.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pointsman_types::Origin;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::Drain;
use crate::config::ConnectionConfig;

/// Serves until the drain begins, then until every connection has finished what it was doing.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    origin: Origin,
    config: ConnectionConfig,
    drain: Drain,
) {
    let connections = TaskTracker::new();
    let builder = builder(&config);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection =
                    connection(stream, router.clone(), origin, builder.clone(), config.max_age, drain.clone());
                connections.spawn(connection);
            }
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to close instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn builder(config: &ConnectionConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
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

async fn connection(
    stream: TcpStream,
    router: Router,
    origin: Origin,
    builder: Builder<TokioExecutor>,
    max_age: Duration,
    drain: Drain,
) {
    // Without this a stream of small frames waits 40 ms for each acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = router.map_request(move |request: http::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(origin);
        request
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let old = async {
        tokio::select! {
            () = tokio::time::sleep(max_age) => {}
            () = drain.begun() => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = old => {
            // GOAWAY, or `Connection: close`: what runs is finished, what comes goes elsewhere.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A peer that goes away in the middle of something is everyday life.
        tracing::debug!(error, "a connection ended early");
    }
}
