//! Which values a field takes, and what to write instead of others.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::super::tree::{Node, same};
use crate::compile::limits::must_be;
use crate::near::nearest;

pub(super) const DURATION: &str = "google.protobuf.Duration";

/// The units that people write, in milliseconds.
const UNITS: [(&str, f64); 7] =
    [("ms", 1.0), ("", 1000.0), ("s", 1000.0), ("sec", 1000.0), ("m", 60_000.0), ("min", 60_000.0), ("h", 3_600_000.0)];

/// What is said of a key that a message has no field for, and the field that was probably meant.
pub(super) fn no_field(key: &str, of: &MessageDescriptor) -> (Option<FieldDescriptor>, String) {
    let plain = key.replace(['-', ' '], "_");
    let meant = of.fields().find(|field| same(&plain, field.name())).or_else(|| {
        let names: Vec<String> = of.fields().flat_map(|f| [f.name().to_owned(), f.json_name().to_owned()]).collect();
        let near = nearest(&plain, names.iter().map(String::as_str))?;
        of.get_field_by_name(near).or_else(|| of.get_field_by_json_name(near))
    });
    let message = if let Some(field) = &meant {
        format!("there is no such key; did you mean `{}`?", field.name())
    } else if let Some(outer) = of.fields().find(|field| has_field(field, key)) {
        format!("there is no such key here; it belongs into `{}`", outer.name())
    } else {
        format!("there is no such key; there are {}", keys(of))
    };
    (meant, message)
}

fn has_field(outer: &FieldDescriptor, key: &str) -> bool {
    let kind = outer.kind();
    let inner = kind.as_message().filter(|inner| inner.full_name() != DURATION && !outer.is_list());
    inner.is_some_and(|inner| inner.fields().any(|field| same(key, field.name())))
}

/// What is said of a value that stands where a map belongs.
pub(super) fn no_map(found: &Node, of: &MessageDescriptor) -> String {
    let example = match found {
        Node::Scalar(value) => of.fields().next().filter(|first| flaw_of(value, first).is_none()),
        _ => None,
    };
    match (example, found) {
        (Some(first), Node::Scalar(value)) => {
            format!("must be a map, as in `{{{}: {}}}`", first.name(), written(value))
        }
        _ => format!("must be a map, with {}", keys(of)),
    }
}

/// What is said of a value that stands where a list belongs.
pub(super) fn no_list(found: &Node, of: &Kind) -> String {
    match (found, of) {
        (Node::Scalar(value), Kind::Message(message)) => {
            let first = message.fields().next().map(|first| first.name().to_owned()).unwrap_or_default();
            format!("must be a list of maps, as in `[{{{first}: {}}}]`", written(value))
        }
        (Node::Scalar(value), Kind::Enum(names)) => {
            let name = value.as_str().and_then(|text| enum_near(text, names)).unwrap_or_else(|| written(value));
            format!("must be a list, as in `[{name}]`")
        }
        (Node::Scalar(value), _) => format!("must be a list, as in `[{}]`", written(value)),
        _ => "must be a list: begin each of its entries with `- `".to_owned(),
    }
}

/// What is wrong with a value of a field, or of one entry of its list.
pub(super) fn flaw_of(value: &Value, field: &FieldDescriptor) -> Option<String> {
    let is_right = match (field.kind(), value) {
        (_, Value::Null) => false,
        (Kind::String, _) | (Kind::Bool, Value::Bool(_)) | (Kind::Double, Value::Number(_)) => true,
        (Kind::Bool, Value::String(text)) => truth(text).is_some(),
        (Kind::Uint32, Value::String(text)) => text.parse::<u32>().is_ok(),
        (Kind::Uint32, Value::Number(number)) => number.as_f64().is_some_and(is_whole),
        (Kind::Double, Value::String(text)) => text.parse::<f64>().is_ok(),
        (Kind::Enum(names), Value::String(text)) => names.get_value_by_name(text).is_some(),
        (Kind::Enum(_), Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        (Kind::Message(_), Value::String(text)) => text.parse::<prost_types::Duration>().is_ok(),
        (Kind::Bool | Kind::Uint32 | Kind::Double | Kind::Enum(_) | Kind::Message(_), _) => false,
        // Of no kind that a policy has.
        _ => true,
    };
    (!is_right).then(|| flaw(value, field))
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)
}

fn flaw(value: &Value, field: &FieldDescriptor) -> String {
    let expected = expected(field);
    match field.kind() {
        Kind::Enum(names) => match value.as_str().and_then(|text| enum_near(text, &names)) {
            Some(near) => format!("{expected}; did you mean `{near}`?"),
            None => expected,
        },
        Kind::Message(_) => match seconds(value) {
            Some(seconds) => format!("{expected}: write `{seconds}s`"),
            None => expected,
        },
        _ => expected,
    }
}

/// What a field takes.
pub(super) fn expected(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::String => "must be a text".to_owned(),
        Kind::Bool => "must be `true` or `false`".to_owned(),
        Kind::Enum(names) => {
            let names: Vec<String> = allowed(&names).map(|name| format!("`{name}`")).collect();
            format!("must be one of {}", names.join(", "))
        }
        Kind::Message(_) => "must be a time in seconds with its unit, such as `30s` or `0.5s`".to_owned(),
        _ => must_be(field.name()),
    }
}

/// The value as the JSON mapping has it: what YAML reads as a number may be a text, and a text a truth.
pub(super) fn mapped(value: &Value, field: &FieldDescriptor) -> Value {
    match (field.kind(), value) {
        (Kind::String, _) => Value::String(written(value)),
        (Kind::Bool, Value::String(text)) => truth(text).map_or(Value::Null, Value::Bool),
        _ => value.clone(),
    }
}

/// What YAML 1.1 takes for true and false, beside these words themselves.
fn truth(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(["y", "yes", "on"]) {
        return Some(true);
    }
    is_one_of(["n", "no", "off"]).then_some(false)
}

fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn keys(of: &MessageDescriptor) -> String {
    let names: Vec<String> = of.fields().map(|field| format!("`{}`", field.name())).collect();
    names.join(", ")
}

/// The names of an enum without its first one, which stands for nothing.
fn allowed(names: &EnumDescriptor) -> impl Iterator<Item = String> {
    names.values().filter(|value| value.number() != 0).map(|value| value.name().to_owned())
}

/// The name that was probably meant, with or without what all names begin with.
fn enum_near(text: &str, names: &EnumDescriptor) -> Option<String> {
    let zero = names.get_value(0)?;
    let prefix = zero.name().strip_suffix("UNSPECIFIED")?;
    let written = text.to_uppercase().replace(['-', ' '], "_");
    let written = written.strip_prefix(prefix).unwrap_or(&written);
    let short: Vec<String> = allowed(names).map(|name| name.trim_start_matches(prefix).to_owned()).collect();
    nearest(written, short.iter().map(String::as_str)).map(|near| format!("{prefix}{near}"))
}

/// How many seconds a time is that somebody wrote without a unit, or with another one.
fn seconds(value: &Value) -> Option<f64> {
    let text = written(value);
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    // Through milliseconds, so that 1500 ms are 1.5 s and nothing near it.
    let seconds = digits.parse::<f64>().ok()? * millis / 1000.0;
    (seconds > 0.0 && seconds.is_finite()).then_some(seconds)
}
