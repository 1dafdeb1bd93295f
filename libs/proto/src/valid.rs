use std::fmt::Display;
use std::ops::Deref;

use tonic_types::FieldViolation;

/// A message that keeps every rule of its documentation. Made once, at the edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid<T>(T);

/// A message with rules that its schema cannot say.
pub trait Validate {
    /// Adds every violation, named by field path (`messages[2].parts[0].text`).
    fn validate(&self, violations: &mut Violations);
}

impl<T: Validate> Valid<T> {
    /// Checks a message. Fails with every violation, not only the first.
    pub fn new(message: T) -> Result<Self, Vec<FieldViolation>> {
        let mut violations = Violations::default();
        message.validate(&mut violations);
        violations.done(Self(message))
    }

    /// Takes a message that was checked as a part of another.
    pub(crate) fn checked(message: T) -> Self {
        Self(message)
    }

    /// Changes the message in a way that keeps its rules.
    pub(crate) fn change(mut self, change: impl FnOnce(&mut T)) -> Self {
        change(&mut self.0);
        self
    }

    /// Returns the message.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Valid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The violations found so far, at most [`Violations::LIMIT`], so that a bad request has a small answer.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<FieldViolation>,
}

impl Violations {
    /// How many violations are reported at most.
    pub const LIMIT: usize = 32;

    /// Adds a violation. `description` says what to change, and follows the field's name.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.found.len() < Self::LIMIT {
            self.found.push(FieldViolation::new(field, description));
        }
    }

    /// Adds a violation unless the rule is kept. The field's path is written only then.
    pub fn require(&mut self, kept: bool, field: impl Display, description: &str) {
        if !kept {
            self.add(field.to_string(), description);
        }
    }

    /// Returns the value if there are no violations.
    pub fn done<T>(self, value: T) -> Result<T, Vec<FieldViolation>> {
        if self.found.is_empty() { Ok(value) } else { Err(self.found) }
    }
}
