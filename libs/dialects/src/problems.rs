use std::fmt::Display;

use pointsman_errors::Error;
use pointsman_proto::Violations;
use tonic_types::FieldViolation;

/// What is wrong with a body, in the dialect's own field names and in the order of reading.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<FieldViolation>,
    invalid: bool,
}

impl Problems {
    /// Adds a field whose value is not allowed. `description` says what to change.
    pub(crate) fn invalid(&mut self, field: impl Display, description: impl Into<String>) {
        self.invalid = true;
        self.add(field, description);
    }

    /// Adds a field that the API has and the mesh does not.
    pub(crate) fn unsupported(&mut self, field: impl Display, description: impl Into<String>) {
        self.add(field, description);
    }

    /// Adds a field unless it, a part of it or what it is part of has a problem already: it was left out then, and
    /// what is wrong with that is said.
    pub(crate) fn invalid_if_new(&mut self, field: impl Display, description: &str) {
        let field = field.to_string();
        if !self.found.iter().any(|known| related(&known.field, &field)) {
            self.invalid(field, description);
        }
    }

    /// Adds broken rules of the contract, with fields that were already translated: by their first index only.
    pub(crate) fn add_rules(&mut self, broken: Vec<FieldViolation>) {
        let known: Vec<String> = self.found.iter().map(|violation| without_later_indices(&violation.field)).collect();
        for violation in broken {
            if !known.iter().any(|known| related(known, &violation.field)) {
                self.invalid(violation.field, violation.description);
            }
        }
    }

    /// Returns whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Makes the error that names everything found.
    pub(crate) fn into_error(self) -> Error {
        if self.invalid { Error::invalid(self.found) } else { Error::unsupported(self.found) }
    }

    fn add(&mut self, field: impl Display, description: impl Into<String>) {
        if self.found.len() < Violations::LIMIT {
            self.found.push(FieldViolation::new(field.to_string(), description));
        }
    }
}

/// Whether one field is the other, or a part of it.
pub(crate) fn related(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `messages[2].tool_calls[1].id` as `messages[2].tool_calls.id`.
pub(crate) fn without_later_indices(field: &str) -> String {
    let mut segments = field.split('.');
    let mut short = segments.next().unwrap_or_default().to_owned();
    for segment in segments {
        short.push('.');
        short.push_str(segment.split('[').next().unwrap_or_default());
    }
    short
}

/// Shortens a name that a caller chose, so that a bad request has a small answer. One without a letter is shown as such.
pub(crate) fn shortened(name: &str) -> String {
    const LONGEST: usize = 64;
    if name.is_empty() {
        return "\"\"".to_owned();
    }
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn every_name_is_seen() {
        for (name, shown) in [("", "\"\""), ("temprature", "temprature"), (&"é".repeat(64), &"é".repeat(64))] {
            assert_eq!(shortened(name), shown);
        }
        assert_eq!(shortened(&"é".repeat(65)), "é".repeat(64) + "…");
    }
}
