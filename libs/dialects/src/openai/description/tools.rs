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
        "ResponseFormat": {"anyOf": [
            reference("PlainFormat"), reference("JsonSchemaFormat"), reference("RegexFormat"), reference("LarkFormat"),
        ]},
        "PlainFormat": format(&["text", "json_object"], None),
        "JsonSchemaFormat": format(&["json_schema"], Some(("json_schema", reference("NamedSchema")))),
        "RegexFormat": format(&["regex"], Some(("regex", text(1, 16 << 10)))),
        "LarkFormat": format(&["lark_grammar"], Some(("lark_grammar", text(1, 64 << 10)))),
        "NamedSchema": taken(&["name", "schema"], json!({
            "name": name(),
            "description": {"type": ["string", "null"]},
            "schema": schema(),
            "strict": optional(boolean()),
        })),
    }))
}

/// A form of an answer: with the field that belongs to its kind, and without those of others.
fn format(kinds: &[&str], own: Option<(&str, Value)>) -> Value {
    let mut fields = json!({
        "type": one_of(kinds),
        "json_schema": {"type": "null"},
        "regex": {"type": "null"},
        "lark_grammar": {"type": "null"},
    });
    let mut required = vec!["type"];
    if let Some((name, schema)) = own {
        fields[name] = schema;
        required.push(name);
    }
    taken(&required, fields)
}

fn schema() -> Value {
    json!({"type": "object", "description": "A JSON schema of at most 64 KiB, which is for the model to take or refuse."})
}
