//! Channels to other processes, in plain text and over TLS.

use std::error::Error as StdError;
use std::net::Ipv6Addr;
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
    #[error("`{address}` is no address of a service ({why}): write http://HOST:PORT or https://HOST:PORT")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: &'static str,
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
    let invalid = |why, source| RemoteError::Address { address: address.to_owned(), why, source };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|source| invalid("it is no URI", Some(source)))?;
    if let Some(why) = flaw(endpoint.uri()).or(address.contains('#').then_some(NOTHING_BEHIND)) {
        return Err(invalid(why, None));
    }
    if tls.is_some() && !is_secure(&endpoint) {
        return Err(RemoteError::PlainText(address.to_owned()));
    }
    Ok(endpoint)
}

const NOTHING_BEHIND: &str = "nothing but `/` may follow the port";

/// Says what keeps a URI from being the address of a service. `Uri` takes any text for a port, and what stands behind
/// the port would be left out of calls in silence.
fn flaw(uri: &Uri) -> Option<&'static str> {
    let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().map_or("", |it| it.as_str()));
    let port = authority.strip_prefix(host).unwrap_or(authority);
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|it| it > 0);
    let literal = host.strip_prefix('[').map(|host| host.trim_end_matches(']'));
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        Some("its scheme is neither `http` nor `https`")
    } else if authority.contains('@') {
        Some("no user may be named in it")
    } else if host.is_empty() {
        Some("it has no host")
    } else if literal.is_some_and(|host| host.parse::<Ipv6Addr>().is_err()) {
        Some("no IPv6 address is between `[` and `]`")
    } else if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        Some("its port is no number from 1 to 65535")
    } else if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
        Some(NOTHING_BEHIND)
    } else {
        None
    }
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

#[cfg(test)]
mod tests {
    use super::check_address;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        for address in [
            "http://127.0.0.1:35190",
            "http://127.0.0.1:35190/",
            "https://worker-1.example:443",
            "http://[::1]:8080",
            "https://gateway.example",
        ] {
            assert!(check_address(address, None).is_ok(), "{address}");
        }
        for (address, why) in [
            ("", "no URI"),
            ("127.0.0.1:8080", "scheme"),
            ("worker", "scheme"),
            ("/worker", "scheme"),
            ("ftp://worker:80", "scheme"),
            ("http://:99999", "no host"),
            ("http://user@worker:80", "no user"),
            ("http://[]:80", "IPv6"),
            ("http://[worker]:80", "IPv6"),
            ("http://127.0.0.1:35190x", "port"),
            ("http://worker:", "port"),
            ("http://worker:+80", "port"),
            ("http://worker:0", "port"),
            ("http://worker:99999", "port"),
            ("http://127.0.0.1:35190/path?x", "nothing but `/`"),
            ("http://worker:80/v1", "nothing but `/`"),
            ("http://worker:80?x", "nothing but `/`"),
            ("http://worker:80/#x", "nothing but `/`"),
        ] {
            let told = check_address(address, None).unwrap_err().to_string();
            let (_, advice) = told.split_once(why).unwrap_or_else(|| panic!("{told}"));
            assert!(advice.ends_with("write http://HOST:PORT or https://HOST:PORT"), "{told}");
        }
    }
}
