//! How long a prompt is.

use pointsman_dialects::openai::{parse_chat, parse_text, parse_tokenize, render_tokenize};
use pointsman_errors::Reason::{self, InvalidRequest, UnsupportedField};
use pointsman_proto::inference::v1::{CountTokensResponse, GenerateRequest};
use serde_json::{Value, json};

fn parsed(body: &Value) -> GenerateRequest {
    let parsed = parse_tokenize(&serde_json::to_vec(body).unwrap());
    parsed.unwrap_or_else(|error| panic!("{body} is refused: {error}")).into_request().into_inner()
}

fn check_refused(body: Value, reason: Reason, parameters: &[&str]) {
    let error = parse_tokenize(&serde_json::to_vec(&body).unwrap()).err().unwrap_or_else(|| panic!("{body} is taken"));
    let found: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!((error.reason(), found.as_slice()), (reason, parameters), "{body}: {error}");
}

#[test]
fn what_is_counted_is_what_would_be_generated() {
    let chat = json!({
        "model": "pip",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "none",
        "response_format": {"type": "json_object"},
    });
    let generated = parse_chat(&serde_json::to_vec(&chat).unwrap()).unwrap().request.into_inner();
    assert_eq!(parsed(&chat), generated);
    let text = json!({"model": "pip", "prompt": "Hello"});
    let generated = parse_text(&serde_json::to_vec(&text).unwrap()).unwrap().request.into_inner();
    assert_eq!(parsed(&text), GenerateRequest { limits: None, ..generated });
    let defaults = json!({
        "model": "pip", "prompt": "Hello", "add_generation_prompt": true, "return_token_strs": false,
        "continue_final_message": false, "add_special_tokens": null,
    });
    assert_eq!(parsed(&defaults), parsed(&text));
}

#[test]
fn mistakes_are_named() {
    let hello = json!([{"role": "user", "content": "Hello"}]);
    check_refused(json!({"model": "pip"}), InvalidRequest, &["messages"]);
    check_refused(json!({"model": "pip", "prompt": ""}), InvalidRequest, &["prompt"]);
    check_refused(json!({"model": "pip", "prompt": "a", "messages": hello}), InvalidRequest, &["prompt"]);
    check_refused(json!({"prompt": [1, 2], "model": "pip"}), UnsupportedField, &["prompt"]);
    check_refused(
        json!({"prompt": "a", "model": "pip", "return_token_strs": true}),
        UnsupportedField,
        &["return_token_strs"],
    );
    check_refused(
        json!({"messages": [{"role": "nobody", "content": "a"}], "temperature": 0}),
        InvalidRequest,
        &["temperature", "model", "messages[0].role"],
    );
}

#[test]
fn a_count_is_as_vllm_writes_it() {
    let counted = |context_tokens| CountTokensResponse { prompt_tokens: 9, context_tokens, ..Default::default() };
    assert_eq!(render_tokenize(&counted(512)), br#"{"count":9,"max_model_len":512}"#);
    assert_eq!(render_tokenize(&counted(0)), br#"{"count":9,"max_model_len":null}"#);
}
