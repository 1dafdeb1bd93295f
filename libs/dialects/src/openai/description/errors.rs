//! Errors: one body, and a response for each status.

use std::collections::BTreeMap;

use pointsman_errors::Reason;
use pointsman_proto::metadata::REASON;
use serde_json::{Map, Value, json};

use super::headers;
use super::schema::{Schemas, fields, given};
use crate::openai::error::{code, kind};

/// Reasons of other surfaces: no call of this one ends with them.
const ELSEWHERE: [Reason; 7] = [
    Reason::TraceNotFound,
    Reason::RequestNotFound,
    Reason::UsageNotKept,
    Reason::MethodNotAllowed,
    Reason::SessionExists,
    Reason::BindingNotFound,
    Reason::TurnNotFound,
];

/// What the calls that do no work can end with.
pub(super) const UNASKED: [Reason; 6] = [
    Reason::InvalidRequest,
    Reason::KeyInvalid,
    Reason::ScopeMissing,
    Reason::MeshContextRefused,
    Reason::OriginRefused,
    Reason::Internal,
];

/// What the others can end with.
pub(super) fn asked() -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(|reason| !ELSEWHERE.contains(reason))
}

pub(super) fn schemas() -> Schemas {
    let all: Vec<Reason> = asked().collect();
    let mut event = body(&all);
    event["properties"]["error"]["properties"]["trace_id"] =
        json!({"type": "string", "description": "What to give an operator."});
    event["description"] = "The last event of a stream that failed.".into();
    fields(json!({"ErrorEvent": event}))
}

/// The responses by their names.
pub(super) fn responses() -> Value {
    let mut by_status: BTreeMap<u16, Vec<Reason>> = BTreeMap::new();
    for reason in asked() {
        by_status.entry(reason.http_status().as_u16()).or_default().push(reason);
    }
    let response = |(status, reasons): (u16, Vec<Reason>)| (name(status), response(&reasons));
    Value::Object(by_status.into_iter().map(response).collect())
}

/// The responses to a call that can end so, by status.
pub(super) fn responses_of(reasons: impl Iterator<Item = Reason>) -> Map<String, Value> {
    let status = |reason: Reason| reason.http_status().as_u16();
    let named = |status: u16| (status.to_string(), json!({"$ref": format!("#/components/responses/{}", name(status))}));
    reasons.map(status).map(named).collect()
}

fn name(status: u16) -> String {
    format!("Error{status}")
}

fn response(reasons: &[Reason]) -> Value {
    let words: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    let mut headers = headers::of_errors();
    headers[REASON]["schema"]["enum"] = json!(words);
    json!({
        "description": words.join(", "),
        "headers": headers,
        "content": {"application/json": {"schema": body(reasons)}},
    })
}

fn body(reasons: &[Reason]) -> Value {
    let mut kinds: Vec<&str> = reasons.iter().map(|reason| kind(*reason)).collect();
    let mut codes: Vec<String> = reasons.iter().map(|reason| code(*reason)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    codes.sort_unstable();
    codes.dedup();
    given(
        &["error"],
        json!({"error": given(&["message", "type", "param", "code"], json!({
            "message": {"type": "string", "minLength": 1},
            "type": {"enum": kinds},
            "param": {"type": ["string", "null"], "description": "The first field at fault."},
            "code": {"enum": codes},
        }))}),
    )
}
