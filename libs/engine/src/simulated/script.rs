//! Replies that somebody wrote down: answers, delays, errors and broken streams, so that callers can test what
//! they do about each.
//!
//! [`file`] is a script as YAML says it, [`check`] makes replies of it or finds every mistake, [`when`] decides
//! whether a reply fits, and [`message`] is what an error says by default.
//! The keys stand in `docs/reference/script.md`.

mod check;
mod file;
mod message;
mod when;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use pointsman_errors::Reason;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_types::counted;

use super::plan::Plan;
use super::prompt::last_user_text;
use crate::EngineError;
use when::When;

/// Replies in order. It also counts how often those are left that answer a number of times.
#[derive(Debug)]
pub struct Script {
    replies: Vec<Reply>,
}

#[derive(Debug)]
struct Reply {
    when: When,
    /// How often it still answers; `None`: always.
    left: Option<AtomicU32>,
    plan: Plan,
}

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line and column, from 1. `None` where the YAML ends too early to say.
    pub place: Option<(u64, u64)>,
    /// What is wrong, beginning with the key where there is one.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl Script {
    /// Reads YAML.
    ///
    /// All wrong values are told at once, in the order of their places. An unknown key, a list where
    /// a text should be, or text that is no YAML is told alone.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Mistake>> {
        let file = file::read(yaml).map_err(|mistake| vec![mistake])?;
        Ok(Self { replies: check::replies(&file)? })
    }

    /// Takes the first reply that fits and is not used up. The error is for the caller.
    pub(super) fn plan(&self, request: &GenerateRequest) -> Result<Plan, EngineError> {
        let asked = last_user_text(request);
        let mut fitting = self.replies.iter().filter(|reply| reply.when.fits(request, asked.as_deref()));
        let reply = fitting.find(|reply| reply.take()).ok_or_else(|| no_reply(asked.as_deref()))?;
        Ok(reply.plan.clone())
    }
}

impl Reply {
    /// Uses the reply once, if it is not used up.
    fn take(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.left.as_ref().is_none_or(|left| left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok())
    }
}

/// Says how long the text is, not what: an error may end in a log.
fn no_reply(asked: Option<&str>) -> EngineError {
    let whose = match asked.map(|text| text.chars().count()) {
        None => "without a text of a user".to_owned(),
        Some(length) => format!("whose last user text has {}", counted(length, "character")),
    };
    EngineError::Chosen {
        reason: Reason::GenerationFailed,
        message: format!(
            "no reply of the script fits this request, {whose}, or those that fit are used up; a last reply without `when` answers everything"
        ),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
