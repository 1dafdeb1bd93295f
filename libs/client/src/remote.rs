//! Channels to other processes, in plain text and over TLS.

use std::error::Error as StdError;
use std::sync::Arc;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use pointsman_tls::{ClientTls, Connector, TlsError};
use thiserror::Error;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Endpoint;
use tower::{Service, ServiceExt};

use crate::{Channel, Config, layered};

/// A peer cannot be called, whether it is there or not.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The address is no URI that can be called.
    #[error("`{address}` is no address of a service: write http://HOST:PORT or https://HOST:PORT")]
    Address {
        /// The address.
        address: String,
        /// Why, if that is known.
        source: Option<tonic::transport::Error>,
    },
    /// Certificates are named for an address in plain text.
    #[error("`{0}` is plain text, and certificates are named for it: write https://HOST:PORT, or leave them out")]
    PlainText(String),
    /// The certificates for it cannot be used.
    #[error("the certificates for `{address}` cannot be used")]
    Tls {
        /// The address.
        address: String,
        /// Why.
        source: TlsError,
    },
}

/// How much of one answer may wait here for its reader, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;

/// Room for every stream's window: were it smaller, the answers that nobody reads would keep those of
/// others from coming, and a peer's health with them.
fn connection_window(max_in_flight: usize) -> u32 {
    /// RFC 9113, section 6.9.1.
    const LARGEST: u32 = (1 << 31) - 1;
    let streams = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
    STREAM_WINDOW.saturating_mul(streams).clamp(STREAM_WINDOW, LARGEST)
}

/// Opens a channel to another process. It connects at the first call, and again after a loss. An `https` address is
/// trusted as `tls` says, or as the system's authorities do; certificates that change are used by later connections.
pub fn remote(address: &str, tls: Option<&ClientTls>, config: &Config) -> Result<Channel, RemoteError> {
    let endpoint = checked(address, tls)?
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(config.max_in_flight));
    let channel = match is_secure(&endpoint) {
        true => {
            let connector = Connector::new(address, tls.unwrap_or(&ClientTls::default()))
                .map_err(|source| RemoteError::Tls { address: address.to_owned(), source })?;
            let connect = move |uri| secured(connector.clone(), uri);
            endpoint.connect_with_connector_lazy(tower::service_fn(connect))
        }
        false => endpoint.connect_lazy(),
    };
    Ok(layered(channel.map_err(unreached), config))
}

/// Checks an address, and whether it may have certificates beside it, without calling it or reading them.
pub fn check_address(address: &str, tls: Option<&ClientTls>) -> Result<(), RemoteError> {
    checked(address, tls).map(|_| ())
}

fn checked(address: &str, tls: Option<&ClientTls>) -> Result<Endpoint, RemoteError> {
    let invalid = |source| RemoteError::Address { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|source| invalid(Some(source)))?;
    let is_callable = matches!(endpoint.uri().scheme_str(), Some("http" | "https"));
    if !is_callable || endpoint.uri().host().is_none() {
        return Err(invalid(None));
    }
    if tls.is_some() && !is_secure(&endpoint) {
        return Err(RemoteError::PlainText(address.to_owned()));
    }
    Ok(endpoint)
}

fn is_secure(endpoint: &Endpoint) -> bool {
    endpoint.uri().scheme_str() == Some("https")
}

type Secured = TokioIo<pointsman_tls::client::TlsStream<TcpStream>>;

/// Connects, and makes the handshake; tonic bounds the time of both.
async fn secured(tls: Connector, uri: Uri) -> Result<Secured, Box<dyn StdError + Send + Sync>> {
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_nodelay(true);
    let host = uri.host().unwrap_or_default().to_owned();
    let stream = plain.ready().await?.call(uri).await?;
    Ok(TokioIo::new(tls.connect(&host, stream.into_inner()).await?))
}

/// Says why a call did not get through, also where tonic says that it was the transport: of a certificate that the peer
/// asked for and did not get, the client learns after its own side of the handshake.
fn unreached(error: tonic::transport::Error) -> Status {
    let mut cause = StdError::source(&error);
    while let Some(deeper) = cause.and_then(StdError::source) {
        cause = Some(deeper);
    }
    let cause = cause.map(ToString::to_string);
    let status = Status::from_error(error.into());
    match cause {
        Some(cause) if !status.message().contains(&cause) => {
            let mut told = Status::new(status.code(), format!("{}: {cause}", status.message()));
            told.set_source(Arc::new(status));
            told
        }
        _ => status,
    }
}
