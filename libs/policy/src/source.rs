//! A policy file: the JSON mapping of `pointsman.policy.v1.Policy`, written as YAML or JSON.

mod form;
mod places;
#[cfg(test)]
mod tests;
mod tree;

use pointsman_proto::json;
use pointsman_proto::policy::v1::Policy;
use serde_saphyr::{Error, UserMessageFormatter};

use crate::compile::Problem;
use crate::{CompiledPolicy, compile};
use form::Form;
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

/// How many mistakes are told of a file.
const MOST_MISTAKES: usize = 100;
const NAME: &str = "pointsman.policy.v1.Policy";

/// Reads and compiles a policy file. Fails with every mistake in it; where the text is no YAML, that is one.
pub fn load(text: &str) -> Result<CompiledPolicy, Vec<Mistake>> {
    is_there(text).map_err(|mistake| vec![mistake])?;
    let read = |yaml: serde_saphyr::Deserializer<'_, '_>| json::read(NAME, yaml);
    let policy: Policy =
        serde_saphyr::with_deserializer_from_str(text, read).map_err(|first| mistakes_of_form(text, &first))?;
    compile(&policy).map_err(|problems| {
        let read = tree::read(text).ok();
        in_order(placed(problems, &Places::new(text, read.as_ref().map(|(root, _)| root))))
    })
}

fn is_there(text: &str) -> Result<(), Mistake> {
    if text.trim().is_empty() {
        // As a file is for a moment while it is written: that is no wish to have no policy.
        let message = "is empty; a policy that says nothing is written `{}`".to_owned();
        return Err(Mistake { line: 1, column: 1, message });
    }
    if text.len() > LIMIT {
        return Err(Mistake { line: 1, column: 1, message: format!("has more than {LIMIT} bytes") });
    }
    Ok(())
}

/// Finds what is wrong in a text that is no policy: all of its form, and what the rest of it shows of its
/// meaning. What reads messages stops at the first mistake, which is told if none is found.
fn mistakes_of_form(text: &str, first: &Error) -> Vec<Mistake> {
    let (root, twice) = match tree::read(text) {
        Ok(read) => read,
        Err(error) => return vec![mistake_of_yaml(&error)],
    };
    let form = json::descriptor(NAME).map(|contract| Form::of(&root, &contract)).unwrap_or_default();
    let mut mistakes: Vec<Mistake> = twice.iter().map(mistake_of_yaml).collect();
    mistakes.extend(form.flaws.iter().map(|flaw| {
        let (line, column) = (flaw.at.line(), flaw.at.column());
        Mistake { line, column, message: flaw.message.clone() }
    }));
    if mistakes.is_empty() {
        return vec![mistake_of_yaml(first)];
    }
    if let Ok(rest) = json::read::<Policy, _>(NAME, &form.value)
        && let Err(mut problems) = compile(&rest)
    {
        problems.retain(|problem| form.vouches_for(problem));
        mistakes.extend(placed(problems, &Places::new(text, Some(&root))));
    }
    in_order(mistakes)
}

fn placed(problems: Vec<Problem>, places: &Places<'_>) -> Vec<Mistake> {
    let place = |problem: Problem| {
        let (line, column) = places.find(&problem.path, problem.offset);
        Mistake { line, column, message: format!("{}: {}", problem.path, problem.message) }
    };
    problems.into_iter().map(place).collect()
}

fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.truncate(MOST_MISTAKES);
    mistakes
}

fn mistake_of_yaml(error: &Error) -> Mistake {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let message = match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is there twice"),
        other => {
            let message = other.render_with_formatter(&UserMessageFormatter);
            // The place is said once.
            let said = format!(" at line {line}, column {column}");
            format!("cannot be read as YAML: {}", message.strip_suffix(&said).unwrap_or(&message))
        }
    };
    Mistake { line, column, message }
}
