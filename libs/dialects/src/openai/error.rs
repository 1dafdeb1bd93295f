use pointsman_errors::{Error, Reason};
use serde::Serialize;

use super::{Endpoint, append};

/// Renders an error as the HTTP status and body of an answer.
///
/// Fields are named in OpenAI's words, whether this module or a worker found them at fault. How long to wait
/// (`Error::retry_delay`) belongs in the `retry-after` header.
pub fn render_error(endpoint: Endpoint, error: &Error) -> (u16, Vec<u8>) {
    let mut out = Vec::new();
    append(&mut out, &Body::of(endpoint, error, None));
    (error.reason().http_status().as_u16(), out)
}

/// Renders an error that comes after the first byte of a stream. Nothing follows it, least of all `[DONE]`.
///
/// It is an event without a name, as OpenAI sends it: its Python and Node libraries raise on the `error` in the
/// data and do not look at the name, and the clients that read line by line (go-openai) miss an error that
/// stands below an `event:` line, or does not begin with `data: {"error":`.
pub fn render_error_event(endpoint: Endpoint, error: &Error, trace_id: &str) -> Vec<u8> {
    let mut out = b"data: ".to_vec();
    append(&mut out, &Body::of(endpoint, error, Some(trace_id).filter(|id| !id.is_empty())));
    out.extend_from_slice(b"\n\n");
    out
}

#[derive(Serialize)]
struct Body<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

impl<'a> Body<'a> {
    fn of(endpoint: Endpoint, error: &Error, trace_id: Option<&'a str>) -> Self {
        let reason = error.reason();
        let named: Vec<(String, &str)> = error
            .violations()
            .iter()
            .map(|violation| (endpoint.parameter(&violation.field), violation.description.as_str()))
            .collect();
        // The message of an error with violations lists them, by the names that they had where they were found.
        let message = if named.is_empty() {
            error.message().to_owned()
        } else {
            named.iter().map(|(field, description)| format!("{field}: {description}")).collect::<Vec<_>>().join("; ")
        };
        let param = named.into_iter().next().map(|(field, _)| field).or_else(|| at_fault(endpoint, reason));
        Self { error: ErrorBody { message, kind: kind(reason), param, code: code(reason), trace_id } }
    }
}

/// The parameter that a reason is always about.
fn at_fault(endpoint: Endpoint, reason: Reason) -> Option<String> {
    match reason {
        Reason::ModelNotFound => Some("model".to_owned()),
        Reason::ContextTooLong => Some(endpoint.content().to_owned()),
        _ => None,
    }
}

pub(super) fn kind(reason: Reason) -> &'static str {
    match reason.http_status().as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        504 => "timeout_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// OpenAI's own code where it has one, since clients act on those; the reason in lower case elsewhere.
pub(super) fn code(reason: Reason) -> String {
    match reason {
        Reason::KeyInvalid => "invalid_api_key".to_owned(),
        Reason::ModelNotFound => "model_not_found".to_owned(),
        Reason::ContextTooLong => "context_length_exceeded".to_owned(),
        Reason::QueueFull | Reason::RateLimited | Reason::Overloaded => "rate_limit_exceeded".to_owned(),
        Reason::RouteNotFound => "unknown_url".to_owned(),
        Reason::MethodNotAllowed => "method_not_supported".to_owned(),
        other => other.name().to_ascii_lowercase(),
    }
}
