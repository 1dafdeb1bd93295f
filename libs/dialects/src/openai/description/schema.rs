//! What schemas are made of.

use serde_json::{Map, Value, json};

use crate::json::object::Uncarried;

/// Names and their schemas.
pub(super) type Schemas = Map<String, Value>;

/// Takes an object apart.
pub(super) fn fields(object: Value) -> Schemas {
    if let Value::Object(fields) = object { fields } else { Schemas::new() }
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object that a caller sends. What it does not know is refused unless it is null.
pub(super) fn taken(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": {"type": "null"},
    })
}

/// An object of an answer. It has no other fields.
pub(super) fn given(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

/// The same value, or null.
pub(super) fn optional(mut schema: Value) -> Value {
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    match schema.get_mut("type").map(Value::take) {
        Some(kind) => {
            schema["type"] = json!([kind, "null"]);
            schema
        }
        None if schema.get("enum").is_some() => schema,
        None => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

/// The same schema with a word about it.
pub(super) fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

pub(super) fn boolean() -> Value {
    json!({"type": "boolean"})
}

/// A number between these, which are allowed.
pub(super) fn number(least: i32, most: i32) -> Value {
    json!({"type": "number", "minimum": least, "maximum": most})
}

/// A number above 0, to this.
pub(super) fn above_zero(most: i32) -> Value {
    json!({"type": "number", "exclusiveMinimum": 0, "maximum": most})
}

/// A whole number that is at least this. A great one is as good as the greatest that there is.
pub(super) fn at_least(least: i32) -> Value {
    json!({"type": "integer", "minimum": least})
}

pub(super) fn whole(least: i64, most: i64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

pub(super) fn list(items: Value, fewest: usize, most: usize) -> Value {
    json!({"type": "array", "items": items, "minItems": fewest, "maxItems": most})
}

/// One of these texts.
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A text of these bytes.
pub(super) fn text(shortest: usize, longest: usize) -> Value {
    json!({"type": "string", "minLength": shortest, "maxLength": longest})
}

/// The name of a tool or a form.
pub(super) fn name() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "minLength": 1, "maxLength": 64, "examples": ["weather"]})
}

/// Adds the fields that are not carried to a model.
pub(super) fn with(mut properties: Value, uncarried: &[Uncarried]) -> Value {
    for field in uncarried {
        properties[field.name()] = match field {
            Uncarried::Hint(_) => json!({"description": "Changes nothing."}),
            Uncarried::Neutral(_, values) => {
                let values = values.iter().filter_map(|value| serde_json::from_str(value).ok());
                let values: Vec<Value> = values.chain([Value::Null]).collect();
                json!({"enum": values, "description": "Taken at these values, which ask for nothing."})
            }
        };
    }
    properties
}

/// The rule that a field asks for nothing (`nothing`) unless another is as in `needed`.
pub(super) fn needs(field: &str, nothing: Value, other: &str, needed: Value) -> Value {
    json!({"anyOf": [
        {"properties": {field: nothing}},
        {"properties": {other: needed}, "required": [other]},
    ]})
}
