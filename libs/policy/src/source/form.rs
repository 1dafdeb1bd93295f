//! What is wrong with the form of a policy: keys and kinds of values, held against the contract, which knows
//! what stands there instead.

mod words;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

use super::tree::Node;
use crate::compile::Problem;

/// A text held against the contract.
#[derive(Default)]
pub(super) struct Form {
    /// What is right, in the JSON mapping.
    pub(super) value: Value,
    /// What is wrong.
    pub(super) flaws: Vec<Flaw>,
    /// The fields that are not in the value because of that.
    left_out: Vec<String>,
}

/// Something wrong.
pub(super) struct Flaw {
    pub(super) at: Location,
    pub(super) message: String,
}

impl Form {
    /// Reads a message from a tree.
    pub(super) fn of(root: &Spanned<Node>, message: &MessageDescriptor) -> Self {
        let mut form = Self::default();
        form.value = form.message(root, message, "").unwrap_or_default();
        form
    }

    /// Whether a problem of the value would be one of the text too: it is not about what was left out.
    pub(super) fn vouches_for(&self, problem: &Problem) -> bool {
        let mut about = std::iter::once(&problem.path).chain(&problem.beside);
        about.all(|path| !self.left_out.iter().any(|left_out| is_within(path, left_out) || is_within(left_out, path)))
    }

    fn flaw(&mut self, at: Location, path: &str, message: String) {
        let message = if path.is_empty() { message } else { format!("{path}: {message}") };
        self.flaws.push(Flaw { at, message });
        self.left_out.push(path.to_owned());
    }

    fn message(&mut self, node: &Spanned<Node>, of: &MessageDescriptor, path: &str) -> Option<Value> {
        let Node::Map(entries) = &node.value else {
            self.flaw(node.referenced, path, words::no_map(&node.value, of));
            return None;
        };
        let mut fields = Map::new();
        for (key, value) in entries {
            let known = of.get_field_by_name(&key.value).or_else(|| of.get_field_by_json_name(&key.value));
            let Some(field) = known else {
                let (meant, message) = words::no_field(&key.value, of);
                // What is missing because its key is misspelt is not told as missing too.
                self.left_out.extend(meant.map(|meant| join(path, meant.name())));
                self.flaw(key.referenced, &join(path, &key.value), message);
                continue;
            };
            if let Some(read) = self.field(value, &field, &join(path, field.name())) {
                fields.insert(field.json_name().to_owned(), read);
            }
        }
        Some(Value::Object(fields))
    }

    fn field(&mut self, node: &Spanned<Node>, field: &FieldDescriptor, path: &str) -> Option<Value> {
        match &node.value {
            // As if it were not there.
            Node::Scalar(Value::Null) => None,
            Node::List(items) if field.is_list() => Some(self.list(items, field, path)),
            other if field.is_list() => {
                self.flaw(node.referenced, path, words::no_list(other, &field.kind()));
                if matches!(other, Node::Map(_)) {
                    self.one(node, field, path);
                }
                None
            }
            _ => self.one(node, field, path),
        }
    }

    fn list(&mut self, items: &[Spanned<Node>], field: &FieldDescriptor, path: &str) -> Value {
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate() {
            // In the place of one that is wrong, so that the others keep theirs.
            let blank = if field.kind().as_message().is_some() { Value::Object(Map::new()) } else { Value::Null };
            read.push(self.one(item, field, &format!("{path}[{index}]")).unwrap_or(blank));
        }
        if read.contains(&Value::Null) {
            self.left_out.push(path.to_owned());
            return Value::Null;
        }
        Value::Array(read)
    }

    fn one(&mut self, node: &Spanned<Node>, field: &FieldDescriptor, path: &str) -> Option<Value> {
        if let Kind::Message(message) = field.kind()
            && message.full_name() != words::DURATION
        {
            return self.message(node, &message, path);
        }
        let flaw = match &node.value {
            Node::Scalar(value) => words::flaw_of(value, field),
            _ => Some(words::expected(field)),
        };
        match (flaw, &node.value) {
            (None, Node::Scalar(value)) => Some(words::mapped(value, field)),
            (flaw, _) => {
                self.flaw(node.referenced, path, flaw.unwrap_or_default());
                None
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether a path is that one, or leads into it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}
