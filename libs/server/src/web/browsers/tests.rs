use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use http::Version;
use pointsman_errors::Reason;

use super::Browsers;
use crate::web::{Cors, CorsConfig};

fn facing(allowed: &[&str], loopback_names_only: bool) -> Browsers {
    let allowed_origins = allowed.iter().map(|origin| (*origin).to_owned()).collect();
    let cors = Cors::new(&CorsConfig { allowed_origins, ..CorsConfig::default() });
    Browsers { cors: Some(Arc::new(cors)), loopback_names_only }
}

/// The same call over HTTP/1.1 and over HTTP/2, where the host is in the target.
fn calls(host: &str, origin: Option<&str>) -> [Request; 2] {
    [Version::HTTP_11, Version::HTTP_2].map(|version| {
        let mut request = http::Request::post("/");
        request = match version {
            Version::HTTP_2 => request.uri(format!("http://{host}/")),
            _ => request.header("host", host),
        };
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.version(version).body(Body::empty()).unwrap()
    })
}

fn check(browsers: &Browsers, host: &str, origin: Option<&str>, is_taken: bool) {
    for request in calls(host, origin) {
        let refused = browsers.refusal(&request);
        assert!(refused.iter().all(|error| error.reason() == Reason::OriginRefused));
        assert_eq!(refused.is_none(), is_taken, "{origin:?} calls {host} over {:?}: {refused:?}", request.version());
    }
}

#[test]
fn a_page_calls_where_it_is_from_or_allowed() {
    let (none, some) = (facing(&[], false), facing(&["https://app.example"], false));
    for (origin, without, with) in [
        (None, true, true),
        (Some("https://mesh.example"), true, true),
        // Behind a proxy that ends TLS.
        (Some("http://mesh.example"), true, true),
        (Some("https://app.example"), false, true),
        (Some("https://mesh.example:8443"), false, false),
        (Some("https://evil.example"), false, false),
        (Some("https://evil.mesh.example"), false, false),
        (Some("null"), false, false),
        (Some("mesh.example"), false, false),
    ] {
        check(&none, "mesh.example", origin, without);
        check(&some, "mesh.example", origin, with);
        check(&facing(&["*"], false), "mesh.example", origin, true);
        check(&Browsers::default(), "mesh.example", origin, origin.is_none());
    }
}

#[test]
fn what_needs_no_key_has_the_names_of_loopback_alone() {
    let only = facing(&[], true);
    for (host, is_taken) in [
        ("localhost:8080", true),
        ("LOCALHOST", true),
        ("127.0.0.1:8080", true),
        ("127.8.0.1", true),
        ("[::1]:8080", true),
        ("evil.example:8080", false),
        ("localhost.evil.example:8080", false),
        ("127.0.0.1.evil.example", false),
        ("192.168.1.2:8080", false),
        ("[::2]:8080", false),
    ] {
        check(&only, host, None, is_taken);
        // As the browser sees it, a page of that name is at home.
        check(&only, host, Some(&format!("http://{host}")), is_taken);
        check(&facing(&[], false), host, None, true);
    }
    let mut odd = calls("a", None).into_iter().next().unwrap();
    odd.headers_mut().insert("host", http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(only.refusal(&odd).is_some());
    // No browser, such as a probe over HTTP/1.0.
    odd.headers_mut().remove("host");
    assert!(only.refusal(&odd).is_none());
}
