use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use http::header::{HOST, HeaderValue, ORIGIN};
use http::uri::Authority;
use pointsman_errors::{Error, Reason};

use super::Cors;

/// What a listener takes of what browsers send. A page may be anybody's, and reaches whatever its reader does: where that
/// is all that a caller needs, such as on loopback without keys, it could do as it likes, though it reads no answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browsers {
    /// Which pages may call, beside the listener's own, and gRPC-Web is spoken; `None`: no page may.
    pub(crate) cors: Option<Arc<Cors>>,
    /// Whether only names that lead to loopback everywhere are answered to. Under a name of its own that leads here
    /// (DNS rebinding) a page would be the listener's own.
    pub(crate) loopback_names_only: bool,
}

impl Browsers {
    /// Says why a request is not for this listener. Who is no browser names no origin (RFC 6454, section 7.3).
    pub(super) fn refusal(&self, request: &Request) -> Option<Error> {
        let refused = |message| Some(Error::new(Reason::OriginRefused, message));
        if self.loopback_names_only && host(request).is_some_and(|host| !is_loopback(host)) {
            return refused(
                "no key is needed here, so that this listener answers to `localhost` and loopback addresses only, such as 127.0.0.1; call it so, or ask for keys (`gateway.keys`)",
            );
        }
        let origin = request.headers().get(ORIGIN)?;
        let Some(cors) = &self.cors else {
            return refused("this listener is not for web pages; call it from outside of a browser");
        };
        if cors.allowed(request.headers()).is_some() || host(request).is_some_and(|host| is_of(origin, host)) {
            return None;
        }
        refused("this page may not call here; name its origin in `server.cors.allowed_origins`")
    }
}

/// Host and port that were called; `None`: not said, which browsers always do.
fn host(request: &Request) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default()),
    }
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether this is the origin of the pages of a host. Of either scheme: a proxy may have ended TLS.
fn is_of(origin: &HeaderValue, host: &str) -> bool {
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    own.is_some_and(|(_, own)| own.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests;
