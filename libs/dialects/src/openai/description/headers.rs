//! Headers of requests and of answers.

use pointsman_proto::metadata::{
    ATTEMPTS, DECISION_ID, DETACH, POLICY_REVISION, REASON, REPEATED, REQUEST_ID, RESUME_WINDOW, SESSION,
    SESSION_REVISION, STATIC_ANSWER, TRACE_ID,
};
use serde_json::{Value, json};

/// What a request may say of its trace. One that cannot be read is none.
pub(super) fn of_traces() -> Vec<Value> {
    let trace = "W3C Trace Context. What cannot be read is none.";
    let text = || json!({"type": "string"});
    vec![taken("traceparent", text(), trace), taken("tracestate", text(), trace)]
}

/// What it is called.
pub(super) fn of_names() -> Vec<Value> {
    let name = json!({"type": "string", "pattern": "^[!-~]{1,128}$", "examples": ["order-17"]});
    vec![taken("idempotency-key", name, "The caller's own name for the request, which is generated once.")]
}

/// What it is called, and how it is kept and taken up.
pub(super) fn of_kept() -> Vec<Value> {
    // Eight hexadecimal digits that are not all 0.
    let generation: Vec<String> =
        (0..8).map(|zeros| format!("{}[1-9a-f][0-9a-f]{{{}}}", "0".repeat(zeros), 7 - zeros)).collect();
    let pattern = format!("^(0|[0-9]{{1,19}}-({}))$", generation.join("|"));
    let event = json!({"type": "string", "pattern": pattern, "examples": ["0"]});
    let window = json!({"type": "integer", "minimum": 0, "maximum": 300});
    let mut all = of_names();
    all.push(taken(
        "last-event-id",
        event,
        "The id of an event, as it came: those after it are sent. Any but 0 needs an idempotency-key.",
    ));
    all.push(taken(RESUME_WINDOW, window, "How long the work goes on without a reader, in seconds."));
    all
}

/// Which conversation it is a turn of.
pub(super) fn of_sessions() -> Vec<Value> {
    // As `pointsman_proto::session_id` reads it.
    let name = json!({"type": "string", "pattern": "^(sessions/)?[A-Za-z0-9._~@+:-]{1,128}$", "examples": ["tea"]});
    let revision = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
    let said = "The stored conversation that this is a turn of: its turns so far go before the messages. `n` is 1.";
    let believed = "How many turns the caller believes it to have. Needs x-pointsman-session.";
    let detach = json!({"type": "string", "enum": ["true", "false"]});
    let run = "Whether the answer is a run, which goes on whoever leaves. Needs x-pointsman-session.";
    vec![taken(SESSION, name, said), taken(SESSION_REVISION, revision, believed), taken(DETACH, detach, run)]
}

fn taken(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema})
}

/// What each answer says.
pub(super) fn of_answers() -> Value {
    json!({REQUEST_ID: must("The name of the request, for whoever asks about it.", json!({"type": "string", "minLength": 1}))})
}

/// What the answer to a request for work says.
pub(super) fn of_work() -> Value {
    let mut headers = of_answers();
    headers[TRACE_ID] =
        may("The trace: what to give an operator.", json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}));
    headers[DECISION_ID] = may("The routing decision.", json!({"type": "string", "pattern": "^[0-9a-f]{16}$"}));
    headers[POLICY_REVISION] = may("The policy that decided.", json!({"type": "string"}));
    headers[ATTEMPTS] =
        may("{target}@{instance} {outcome} {milliseconds}ms, for each attempt.", json!({"type": "string"}));
    headers
}

/// What an answer that was generated says.
pub(super) fn of_generated() -> Value {
    let mut headers = of_work();
    let is_true = || json!({"type": "string", "const": "true"});
    headers[REPEATED] = may("The answer was asked for before, and is given again.", is_true());
    headers[STATIC_ANSWER] = may("The answer is a policy's fixed text and no model's.", is_true());
    headers
}

/// What an error says.
pub(super) fn of_errors() -> Value {
    let mut headers = of_generated();
    let seconds = json!({"type": "integer", "minimum": 1});
    headers["retry-after"] = may("When the same request may succeed, in seconds.", seconds);
    let never = json!({"type": "string", "const": "false"});
    headers["x-should-retry"] = may("The same request would fail again.", never);
    headers[REASON] = must("What went wrong: a page of docs/errors.", json!({"type": "string"}));
    headers
}

fn must(description: &str, schema: Value) -> Value {
    json!({"required": true, "description": description, "schema": schema})
}

fn may(description: &str, schema: Value) -> Value {
    json!({"required": false, "description": description, "schema": schema})
}
