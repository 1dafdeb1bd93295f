//! Messages, and what they say.

use serde_json::{Value, json};

use super::requests::LONGEST_TEXT;
use super::schema::{Schemas, described, fields, list, name, one_of, optional, reference, taken, text, with};
use crate::openai::chat::uncarried;

pub(super) fn schemas() -> Schemas {
    fields(json!({
        "Message": {"anyOf": [
            reference("SystemMessage"),
            reference("UserMessage"),
            reference("AssistantMessage"),
            reference("ToolMessage"),
        ]},
        "SystemMessage": message(&["system", "developer"], &["content"], json!({"content": said(&["TextPart"])})),
        "UserMessage": message(&["user"], &["content"], json!({"content": said(&["TextPart", "ImagePart"])})),
        "AssistantMessage": assistant(),
        "ToolMessage": message(&["tool"], &["tool_call_id", "content"], json!({
            "content": {"anyOf": [{"type": "string"}, list(reference("ResultPart"), 0, 512)]},
            "tool_call_id": {"type": "string", "minLength": 1},
        })),
        "TextPart": part("text", "text", text(0, LONGEST_TEXT)),
        "ResultPart": part("text", "text", json!({"type": "string"})),
        "RefusalPart": part("refusal", "refusal", text(0, LONGEST_TEXT)),
        "ImagePart": part("image_url", "image_url", reference("ImageUrl")),
        "ImageUrl": taken(&["url"], json!({
            "url": {"anyOf": [linked(), held()]},
            "detail": optional(one_of(&["auto", "low", "high", ""])),
        })),
        "ToolCall": taken(&["id", "function"], with(
            json!({
                "id": {"type": "string", "minLength": 1},
                "type": {"enum": ["function", null]},
                "function": reference("FunctionCall"),
            }),
            uncarried::TOOL_CALL,
        )),
        "FunctionCall": taken(&["name"], json!({"name": name(), "arguments": {"type": ["string", "null"]}})),
    }))
}

/// A message of one of these roles. What only others have is taken where it is empty.
fn message(roles: &[&str], required: &[&str], own: Value) -> Value {
    let nowhere = json!({
        "role": one_of(roles),
        "name": optional(text(0, 64)),
        "refusal": {"enum": ["", null]},
        "reasoning_content": {"enum": ["", null]},
        "tool_calls": {"enum": [[], null]},
        "tool_call_id": {"type": "null"},
    });
    let properties = Value::Object(fields(nowhere).into_iter().chain(fields(own)).collect());
    taken(&[&["role"], required].concat(), with(properties, uncarried::MESSAGE))
}

fn assistant() -> Value {
    let content =
        json!({"anyOf": [text(0, LONGEST_TEXT), list(parts(&["TextPart", "RefusalPart"]), 0, 512), {"type": "null"}]});
    let own = json!({
        "content": content,
        "refusal": optional(text(0, LONGEST_TEXT)),
        "reasoning_content": {"type": ["string", "null"], "description": "What the model thought, from reasoning_content of its answer."},
        "tool_calls": optional(list(reference("ToolCall"), 0, 128)),
    });
    let mut schema = message(&["assistant"], &[], own);
    let some_text = json!({"type": "string", "minLength": 1});
    let has = |field: &str, some: Value| json!({"properties": {field: some}, "required": [field]});
    schema["description"] = "Says, refuses, thinks or calls something.".into();
    schema["anyOf"] = json!([
        has("content", json!({"anyOf": [some_text, with_words(&["text", "refusal"])]})),
        has("refusal", some_text.clone()),
        has("reasoning_content", some_text.clone()),
        has("tool_calls", json!({"type": "array", "minItems": 1})),
    ]);
    schema["examples"] = json!([{
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    }]);
    schema
}

/// What must say something: a text, or parts of which one is not empty.
fn said(kinds: &[&str]) -> Value {
    let mut list = list(parts(kinds), 1, 512);
    list["contains"] = match kinds {
        ["TextPart"] => has_words("text"),
        _ => {
            json!({"anyOf": [has_words("text"), {"properties": {"type": {"const": "image_url"}}, "required": ["type"]}]})
        }
    };
    json!({"anyOf": [text(1, LONGEST_TEXT), list]})
}

fn with_words(fields: &[&str]) -> Value {
    let words: Vec<Value> = fields.iter().map(|field| has_words(field)).collect();
    json!({"type": "array", "contains": {"anyOf": words}})
}

fn has_words(field: &str) -> Value {
    json!({"properties": {field: {"type": "string", "minLength": 1}}, "required": [field]})
}

fn parts(kinds: &[&str]) -> Value {
    match kinds {
        [one] => reference(one),
        _ => json!({"anyOf": kinds.iter().map(|kind| reference(kind)).collect::<Vec<_>>()}),
    }
}

/// A part of one kind. It has nothing of the other kinds.
fn part(kind: &str, field: &str, schema: Value) -> Value {
    let mut properties = json!({
        "type": {"type": "string", "const": kind},
        "text": {"type": "null"},
        "refusal": {"type": "null"},
        "image_url": {"type": "null"},
    });
    properties[field] = schema;
    taken(&["type", field], with(properties, uncarried::PART))
}

fn linked() -> Value {
    json!({
        "type": "string",
        "pattern": "^[hH][tT][tT][pP][sS]?://",
        "maxLength": 8192,
        "examples": ["https://example.com/cat.png"],
    })
}

/// A picture in its own URI: base64 (RFC 4648 §4) that encodes whole bytes, of 1 byte to 16 MiB.
fn held() -> Value {
    const DATA: &str =
        "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/][AQgw](==)?|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=?)";
    let schema = json!({
        "type": "string",
        "pattern": format!("^[dD][aA][tT][aA]:image/[^,]*;base64,{DATA}$"),
        "examples": ["data:image/png;base64,iVBORw0KGgo="],
    });
    described(schema, "At most 16 MiB of data.")
}
