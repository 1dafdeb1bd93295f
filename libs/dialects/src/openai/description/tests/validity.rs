//! As much of JSON Schema (<https://json-schema.org/draft/2020-12>) as the description uses. A keyword that is not here
//! is a mistake of a test.

use regex::Regex;
use serde_json::{Map, Value};

/// What references lead into.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'a>(pub(super) &'a Value);

/// Says nothing of which values fit.
const WORDS: [&str; 6] = ["description", "default", "examples", "contentMediaType", "contentEncoding", "contentSchema"];

impl<'a> Schemas<'a> {
    pub(super) fn named(self, name: &str) -> &'a Value {
        &self.0["components"]["schemas"][name]
    }

    /// Follows a reference.
    pub(super) fn of(self, schema: &'a Value) -> &'a Value {
        let path = schema.get("$ref").and_then(Value::as_str);
        path.map_or(schema, |path| self.0.pointer(path.trim_start_matches('#')).unwrap())
    }

    pub(super) fn fits(self, schema: &'a Value, value: &Value) -> bool {
        let schema = self.of(schema).as_object().unwrap();
        schema.iter().filter(|(keyword, _)| !WORDS.contains(&keyword.as_str())).all(|(keyword, rule)| match value {
            _ if self.applies_to_all(keyword, rule, value) => true,
            Value::Number(number) => number_fits(keyword, rule, number.as_f64().unwrap()),
            Value::String(text) => text_fits(keyword, rule, text),
            Value::Array(items) => self.list_fits(keyword, rule, items),
            Value::Object(fields) => self.object_fits(keyword, schema, fields),
            Value::Null | Value::Bool(_) => is_of_others(keyword),
        })
    }

    /// Whether a keyword that concerns values of each kind is satisfied.
    fn applies_to_all(self, keyword: &str, rule: &'a Value, value: &Value) -> bool {
        match keyword {
            "type" => is_a(rule, value),
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| self.fits(schema, value)),
            "allOf" => rule.as_array().unwrap().iter().all(|schema| self.fits(schema, value)),
            _ => false,
        }
    }

    fn list_fits(self, keyword: &str, rule: &'a Value, items: &[Value]) -> bool {
        match keyword {
            "items" => items.iter().all(|item| self.fits(rule, item)),
            "contains" => items.iter().any(|item| self.fits(rule, item)),
            "minItems" => items.len() as u64 >= rule.as_u64().unwrap(),
            "maxItems" => items.len() as u64 <= rule.as_u64().unwrap(),
            _ => is_of_others(keyword),
        }
    }

    fn object_fits(self, keyword: &str, schema: &'a Map<String, Value>, fields: &Map<String, Value>) -> bool {
        let rule = &schema[keyword];
        match keyword {
            "required" => rule.as_array().unwrap().iter().all(|name| fields.contains_key(name.as_str().unwrap())),
            "properties" => fields.iter().all(|(name, value)| rule.get(name).is_none_or(|rule| self.fits(rule, value))),
            "additionalProperties" => {
                let is_known = |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                let mut others = fields.iter().filter(|(name, _)| !is_known(name));
                others.all(|(_, value)| *rule != Value::Bool(false) && self.fits(rule, value))
            }
            "propertyNames" => fields.keys().all(|name| self.fits(rule, &Value::from(name.as_str()))),
            "maxProperties" => fields.len() as u64 <= rule.as_u64().unwrap(),
            _ => is_of_others(keyword),
        }
    }
}

fn is_a(kinds: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type: {other}"),
    };
    kinds.as_array().map_or_else(|| is(kinds), |kinds| kinds.iter().any(is))
}

fn number_fits(keyword: &str, rule: &Value, number: f64) -> bool {
    match keyword {
        "minimum" => number >= rule.as_f64().unwrap(),
        "maximum" => number <= rule.as_f64().unwrap(),
        "exclusiveMinimum" => number > rule.as_f64().unwrap(),
        _ => is_of_others(keyword),
    }
}

fn text_fits(keyword: &str, rule: &Value, text: &str) -> bool {
    match keyword {
        "minLength" => text.chars().count() as u64 >= rule.as_u64().unwrap(),
        "maxLength" => text.chars().count() as u64 <= rule.as_u64().unwrap(),
        "pattern" => Regex::new(rule.as_str().unwrap()).unwrap().is_match(text),
        _ => is_of_others(keyword),
    }
}

/// Whether a keyword is one that does not concern this kind of value.
fn is_of_others(keyword: &str) -> bool {
    let known = [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minLength",
        "maxLength",
        "pattern",
        "items",
        "contains",
        "minItems",
        "maxItems",
        "required",
        "properties",
        "additionalProperties",
        "propertyNames",
        "maxProperties",
    ];
    known.contains(&keyword)
}
