//! Which pages may call from a browser (<https://fetch.spec.whatwg.org/#http-cors-protocol>). No cookies are ever
//! asked for: a key is a header that the page itself has.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};
use pointsman_proto::metadata::{
    ATTEMPTS, DECISION_ID, POLICY_REVISION, REASON, REPEATED, REQUEST_ID, STATIC_ANSWER, TRACE_ID,
};
use serde::{Deserialize, Serialize};

/// What a page may read of an answer, beside its body and what every page may.
const EXPOSED: [&str; 13] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "retry-after",
    "x-should-retry",
    REQUEST_ID,
    REASON,
    TRACE_ID,
    DECISION_ID,
    POLICY_REVISION,
    ATTEMPTS,
    STATIC_ANSWER,
    REPEATED,
];

/// Which pages may call from a browser.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// The origins of these pages, such as `https://app.example.com`; `*` allows every page. Default: none.
    pub allowed_origins: Vec<String>,
    /// How long a browser may remember that it may. Default 1h.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self { allowed_origins: Vec::new(), max_age: Duration::from_secs(60 * 60) }
    }
}

impl CorsConfig {
    /// Returns what is wrong with these values, each with its field.
    pub(crate) fn problems(&self) -> Vec<String> {
        let wrong = |(index, origin): (usize, &String)| {
            let what = mistake(origin)?;
            Some(format!("server.cors.allowed_origins[{index}]: `{origin}` {what}"))
        };
        self.allowed_origins.iter().enumerate().filter_map(wrong).collect()
    }
}

/// Says why no browser would ever name this origin.
fn mistake(origin: &str) -> Option<&'static str> {
    const FORM: &str = "is no origin: write SCHEME://HOST or SCHEME://HOST:PORT in small letters, or `*`";
    if origin == "*" {
        return None;
    }
    let Some((scheme, host)) = origin.split_once("://") else { return Some(FORM) };
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain(scheme) || !is_plain(host) || host.contains(['/', '?', '#', '@', '*', ',']) {
        return Some(FORM);
    }
    if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(FORM);
    }
    let has_default_port =
        matches!((scheme, host.rsplit_once(':')), ("https", Some((_, "443"))) | ("http", Some((_, "80"))));
    has_default_port.then_some("names a port that browsers leave out: leave it out too")
}

/// The same, ready to be asked.
#[derive(Debug)]
pub(crate) struct Cors {
    any: bool,
    origins: HashSet<HeaderValue>,
    max_age: HeaderValue,
    exposed: HeaderValue,
}

impl Cors {
    pub(crate) fn new(config: &CorsConfig) -> Self {
        let text = EXPOSED.join(", ");
        Self {
            any: config.allowed_origins.iter().any(|origin| origin == "*"),
            origins: config.allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            max_age: HeaderValue::from(config.max_age.as_secs()),
            exposed: HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("grpc-status, grpc-message")),
        }
    }

    /// Whether any page may call: then answers depend on which one does.
    pub(crate) fn allows_some(&self) -> bool {
        self.any || !self.origins.is_empty()
    }

    /// Returns what the answer says of who is allowed; `None` if this is no page, or one that is not.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if !self.allows_some() {
            return None;
        }
        let origin = headers.get(ORIGIN)?;
        if self.any { Some(HeaderValue::from_static("*")) } else { self.origins.get(origin).cloned() }
    }

    /// Answers a browser that asks before it sends; `None` if this is the request itself.
    pub(crate) fn preflight(&self, origin: &HeaderValue, request: &Request) -> Option<Response> {
        let asked = request.headers();
        let method = asked.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| request.method() == Method::OPTIONS)?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        // Whatever it asks for: it is a page that may call, and a header is as good in its hands as in another caller's.
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        headers.insert(
            VARY,
            HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers"),
        );
        Some(response)
    }

    /// Lets the page that is allowed, if it is one, read an answer; and keeps caches from giving it to another.
    pub(crate) fn marked(&self, mut response: Response, allowed: Option<HeaderValue>) -> Response {
        let headers = response.headers_mut();
        if let Some(origin) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::{CorsConfig, mistake};

    #[test]
    fn an_origin_is_as_browsers_write_it() {
        for good in ["*", "https://a.example", "http://localhost:3000", "chrome-extension://abc", "http://[::1]:8000"] {
            assert_eq!(mistake(good), None, "{good}");
        }
        for bad in [
            "",
            "a.example",
            "https://",
            "https://a/",
            "https://a/b",
            "https://A.example",
            "https://*.a",
            "null",
            "https://a b",
        ] {
            assert!(mistake(bad).is_some_and(|what| what.starts_with("is no origin")), "{bad}");
        }
        for port in ["https://a:443", "http://a:80"] {
            assert!(mistake(port).is_some_and(|what| what.contains("leave it out")), "{port}");
        }
        let origins = ["https://a", "b", "c"].map(str::to_owned).to_vec();
        let problems = CorsConfig { allowed_origins: origins, ..CorsConfig::default() }.problems();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("server.cors.allowed_origins[1]: `b` "), "{problems:?}");
    }
}
