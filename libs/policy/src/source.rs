//! A policy file: the JSON mapping of `pointsman.policy.v1.Policy`, written as YAML or JSON.

mod places;
#[cfg(test)]
mod tests;

use pointsman_proto::json;
use pointsman_proto::policy::v1::Policy;

use crate::{CompiledPolicy, compile};
use places::Places;

/// A mistake in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// How large a policy file may be, in bytes.
pub const LIMIT: usize = 4 << 20;

/// Reads and compiles a policy file. Fails with every mistake in it; where the form is wrong, that is one.
pub fn load(text: &str) -> Result<CompiledPolicy, Vec<Mistake>> {
    let policy = read(text).map_err(|mistake| vec![mistake])?;
    compile(&policy).map_err(|problems| {
        let places = Places::of(text);
        let mut mistakes: Vec<Mistake> = problems
            .into_iter()
            .map(|problem| {
                let (line, column) = places.find(&problem.path, problem.offset);
                Mistake { line, column, message: format!("{}: {}", problem.path, problem.message) }
            })
            .collect();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes
    })
}

fn read(text: &str) -> Result<Policy, Mistake> {
    if text.trim().is_empty() {
        // As a file is for a moment while it is written: that is no wish to have no policy.
        let message = "is empty; a policy that says nothing is written `{}`".to_owned();
        return Err(Mistake { line: 1, column: 1, message });
    }
    if text.len() > LIMIT {
        return Err(Mistake { line: 1, column: 1, message: format!("has more than {LIMIT} bytes") });
    }
    let read = |yaml: serde_saphyr::Deserializer<'_, '_>| json::read("pointsman.policy.v1.Policy", yaml);
    serde_saphyr::with_deserializer_from_str(text, read).map_err(|error| {
        let around = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let message = error.without_snippet().to_string();
        let (line, column) = place_of_key(text, &message, around.0).unwrap_or(around);
        // The place is said once.
        let said = format!(" at line {}, column {}", around.0, around.1);
        Mistake { line, column, message: message.strip_suffix(&said).unwrap_or(&message).to_owned() }
    })
}

/// Finds a key that a message names. What reads messages notices an unknown key after its map, and says where
/// that began.
fn place_of_key(text: &str, message: &str, from: u64) -> Option<(u64, u64)> {
    let key = message.strip_prefix("unrecognized field name '")?.split('\'').next()?;
    let skipped = usize::try_from(from.saturating_sub(1)).ok()?;
    text.lines().zip(1..).skip(skipped).find_map(|(line, number)| {
        let column = line.find(key).filter(|at| line[at + key.len()..].trim_start_matches('"').starts_with(':'))?;
        Some((number, column as u64 + 1))
    })
}
