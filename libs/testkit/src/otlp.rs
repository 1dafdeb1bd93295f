//! A receiver of traces, as a collector is one: OTLP over gRPC and over HTTP (protobuf), on one port.

mod server;
mod span;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::span::{Event, Span};

/// Spans beyond this many are refused with RESOURCE_EXHAUSTED (HTTP 503).
const LIMIT: usize = 100_000;

/// Listens on a loopback port and keeps the spans that are sent to it; ends on drop.
pub struct OtlpReceiver {
    address: SocketAddr,
    store: Store,
    server: JoinHandle<()>,
}

impl OtlpReceiver {
    /// Starts to listen on a free port; must be called inside a Tokio runtime.
    pub async fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts to listen there; must be called inside a Tokio runtime.
    pub async fn start_on(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        let address = listener.local_addr()?;
        let store = Store::default();
        let server = tokio::spawn(server::serve(listener, store.clone()));
        Ok(Self { address, store, server })
    }

    /// Returns what `OTEL_EXPORTER_OTLP_ENDPOINT` wants, with either protocol: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the spans received so far, in the order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.store.lock().clone()
    }

    /// Takes the spans received so far out of the receiver, which makes room for more.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.store.lock())
    }

    /// Waits until there are spans.
    pub async fn arrived(&self) {
        let mut changes = self.store.changed.subscribe();
        while self.store.lock().is_empty() {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// Waits until the condition holds for the spans received so far, and returns them.
    ///
    /// When the limit is over the error lists what had arrived.
    pub async fn wait_for(&self, limit: Duration, mut condition: impl FnMut(&[Span]) -> bool) -> Result<Vec<Span>> {
        let mut changes = self.store.changed.subscribe();
        let arrived = timeout(limit, async {
            loop {
                changes.mark_unchanged();
                let spans = self.spans();
                if condition(&spans) {
                    return spans;
                }
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        });
        arrived.await.map_err(|_| {
            let spans: String = self.spans().iter().map(|span| format!("  {span:?}\n")).collect();
            anyhow!("the expected spans did not arrive within {limit:?}; those that did:\n{spans}")
        })
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The spans, shared with the connections.
#[derive(Clone, Default)]
struct Store {
    spans: Arc<Mutex<Vec<Span>>>,
    changed: watch::Sender<()>,
}

/// No more spans are kept.
struct Full;

impl Store {
    fn add(&self, request: ExportTraceServiceRequest) -> Result<(), Full> {
        let new = request.resource_spans.into_iter().flat_map(Span::of_resource);
        {
            let mut spans = self.lock();
            if spans.len() >= LIMIT {
                return Err(Full);
            }
            spans.extend(new);
        }
        self.changed.send_replace(());
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
