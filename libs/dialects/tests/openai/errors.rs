//! Errors in OpenAI's shape.

use pointsman_dialects::openai::{Endpoint, parse_chat, render_error, render_error_event};
use pointsman_errors::{Error, Reason};
use pointsman_proto::abilities;
use pointsman_proto::inference::v1::{Ability, TargetDescription};
use serde_json::{Value, json};

use super::requests::body;

fn rendered(error: &Error) -> (u16, Value) {
    let (status, body) = render_error(Endpoint::Chat, error);
    (status, serde_json::from_slice(&body).unwrap())
}

/// This reason has this status, type, param and code.
fn check(reason: Reason, status: u16, kind: &str, param: Option<&str>, code: &str) {
    let want = json!({"error": {"message": "What to do.", "type": kind, "param": param, "code": code}});
    assert_eq!(rendered(&Error::new(reason, "What to do.")), (status, want), "{reason}");
}

#[test]
fn reasons_have_openai_names() {
    check(Reason::InvalidRequest, 400, "invalid_request_error", None, "invalid_request");
    check(Reason::UnsupportedField, 400, "invalid_request_error", None, "unsupported_field");
    check(Reason::ContextTooLong, 400, "invalid_request_error", Some("messages"), "context_length_exceeded");
    check(Reason::RequestTooLarge, 413, "invalid_request_error", None, "request_too_large");
    check(Reason::KeyInvalid, 401, "authentication_error", None, "invalid_api_key");
    check(Reason::ScopeMissing, 403, "permission_error", None, "scope_missing");
    check(Reason::MeshContextRefused, 403, "permission_error", None, "mesh_context_refused");
    check(Reason::OriginRefused, 403, "permission_error", None, "origin_refused");
    check(Reason::ModelNotFound, 404, "invalid_request_error", Some("model"), "model_not_found");
    check(Reason::RouteNotFound, 404, "invalid_request_error", None, "unknown_url");
    check(Reason::MethodNotAllowed, 405, "invalid_request_error", None, "method_not_supported");
    check(Reason::TraceNotFound, 404, "invalid_request_error", None, "trace_not_found");
    check(Reason::Cancelled, 499, "invalid_request_error", None, "cancelled");
    check(Reason::DeadlineExceeded, 504, "timeout_error", None, "deadline_exceeded");
    check(Reason::QueueFull, 429, "rate_limit_error", None, "rate_limit_exceeded");
    check(Reason::ShuttingDown, 503, "server_error", None, "shutting_down");
    check(Reason::NoInstanceReady, 503, "server_error", None, "no_instance_ready");
    check(Reason::InstanceUnreachable, 503, "server_error", None, "instance_unreachable");
    check(Reason::EngineLost, 503, "server_error", None, "engine_lost");
    check(Reason::StreamTruncated, 502, "server_error", None, "stream_truncated");
    check(Reason::GenerationFailed, 500, "server_error", None, "generation_failed");
    check(Reason::Internal, 500, "server_error", None, "internal");
}

#[test]
fn a_bad_body_is_said_in_openai_words() {
    let error = parse_chat(&body(&json!({"temperature": 3, "n": 0}))).unwrap_err();
    let (status, rendered) = rendered(&error);
    assert_eq!(status, 400);
    assert_eq!(rendered["error"]["message"], "temperature: must be 0 to 2; n: must be 1 to 128");
    assert_eq!(rendered["error"]["param"], "temperature");
}

#[test]
fn what_a_worker_refuses_is_said_in_openai_words() {
    let asks = [
        (json!({"logit_bias": {"5": 1}}), "logit_bias"),
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"temperature": 1}), "temperature"),
        (json!({"response_format": {"type": "json_object"}}), "response_format.type"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}]}),
            "messages.content.image_url",
        ),
        (json!({"messages": [{"role": "tool", "tool_call_id": "1", "content": "x"}]}), "messages.tool_call_id"),
        (json!({"reasoning_effort": "low"}), "reasoning_effort"),
    ];
    for (fields, parameter) in asks {
        let chat = parse_chat(&body(&fields)).unwrap();
        let error = Error::unsupported(abilities::lacking(&chat.request, &TargetDescription::default()));
        let (status, rendered) = rendered(&Error::from_status(&error.into()));
        assert_eq!((status, rendered["error"]["param"].as_str()), (400, Some(parameter)));
        assert!(rendered["error"]["message"].as_str().unwrap().starts_with(&format!("{parameter}: is not supported")));
        let abilities = (1..=16).map(|ability| Ability::try_from(ability).unwrap().into()).collect();
        let able = TargetDescription { abilities, ..TargetDescription::default() };
        assert!(abilities::lacking(&chat.request, &able).is_empty());
    }
}

#[test]
fn an_error_in_a_stream_is_one_event() {
    let error = Error::new(Reason::EngineLost, "The engine died.\nTry again.");
    let event = String::from_utf8(render_error_event(Endpoint::Chat, &error, "4bf9")).unwrap();
    // Some clients look for these very bytes.
    let data = event.strip_prefix("data: {\"error\":").unwrap().strip_suffix("}\n\n").unwrap();
    assert!(!data.contains('\n'));
    let want = json!({
        "message": "The engine died.\nTry again.", "type": "server_error", "param": null, "code": "engine_lost",
        "trace_id": "4bf9"
    });
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), want);
    assert!(!String::from_utf8(render_error_event(Endpoint::Chat, &error, "")).unwrap().contains("trace_id"));
}
