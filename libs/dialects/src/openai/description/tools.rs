//! Tools, and the form of an answer.

use serde_json::{Value, json};

use super::schema::{Schemas, boolean, fields, name, one_of, optional, reference, taken, text, with};
use crate::openai::chat::uncarried;

pub(super) fn schemas() -> Schemas {
    fields(json!({
        "Tool": taken(&["type", "function"], with(
            json!({"type": {"type": "string", "const": "function"}, "function": reference("Function")}),
            uncarried::TOOL,
        )),
        "Function": taken(&["name"], json!({
            "name": name(),
            "description": optional(text(0, 16 << 10)),
            "parameters": {"type": ["object", "null"], "description": "A JSON schema."},
            "strict": optional(boolean()),
        })),
        "ToolChoice": {"anyOf": [one_of(&["none", "auto", "required"]), reference("NamedToolChoice")]},
        "NamedToolChoice": taken(&["type", "function"], json!({
            "type": {"type": "string", "const": "function"},
            "function": reference("NamedFunction"),
        })),
        "NamedFunction": taken(&["name"], json!({
            "name": {"type": "string", "description": "The name of one of the tools.", "examples": ["weather"]},
        })),
        "ResponseFormat": {"anyOf": [reference("PlainFormat"), reference("JsonSchemaFormat")]},
        "PlainFormat": taken(&["type"], json!({
            "type": one_of(&["text", "json_object"]),
            "json_schema": {"type": "null"},
        })),
        "JsonSchemaFormat": taken(&["type", "json_schema"], json!({
            "type": {"type": "string", "const": "json_schema"},
            "json_schema": reference("NamedSchema"),
        })),
        "NamedSchema": taken(&["name", "schema"], json!({
            "name": name(),
            "description": {"type": ["string", "null"]},
            "schema": schema(),
            "strict": optional(boolean()),
        })),
    }))
}

fn schema() -> Value {
    json!({"type": "object", "description": "A JSON schema of at most 64 KiB, which is for the model to take or refuse."})
}
