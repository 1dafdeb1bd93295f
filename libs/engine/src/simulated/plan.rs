//! What a sequence is to write, before it writes.

use std::time::Duration;

use pointsman_proto::inference::v1::{FinishReason, GenerateRequest, Usage, UsageSource};

use super::prompt::{last_user_text, tokens};
use super::sequence::Step;
use super::state::State;
use super::{Fault, FaultKind};
use crate::EngineError;

/// An answer that was decided on. Stop texts and the limit of the request may still cut it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The answer; each piece is a token.
    pub(super) pieces: Vec<String>,
    /// What comes before the end, or in its place.
    pub(super) interruption: Option<Interruption>,
    /// Why the answer ends, if nothing cuts it.
    pub(super) finish_reason: FinishReason,
    pub(super) usage: StatedUsage,
    pub(super) pace: Pace,
    /// Whether its silence is chosen, too: by a script, not by a fault.
    pub(super) is_scripted: bool,
}

/// Something that comes once so many pieces are written, and nothing after it.
#[derive(Clone, Debug)]
pub(super) struct Interruption {
    pub(super) after_pieces: u32,
    pub(super) step: Step,
}

/// Token counts to report in the place of those counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StatedUsage {
    pub(super) input_tokens: Option<u32>,
    pub(super) output_tokens: Option<u32>,
}

/// How long the pieces of one answer take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Before the first piece, or what comes in its place.
    pub(super) first_piece: Duration,
    /// Before each further piece, and before the end.
    pub(super) per_piece: Duration,
}

impl Plan {
    /// Plans these pieces, and a good end.
    pub(super) fn new(pieces: Vec<String>) -> Self {
        Self {
            pieces,
            interruption: None,
            finish_reason: FinishReason::Stop,
            usage: StatedUsage::default(),
            pace: Pace::default(),
            is_scripted: false,
        }
    }

    /// Plans the caller's last words, cut or filled up to a length in tokens.
    pub(super) fn echo(request: &GenerateRequest, length: Option<u32>) -> Self {
        let answer = format!("You said: {}", last_user_text(request).as_deref().unwrap_or("nothing"));
        let mut pieces: Vec<String> = tokens(&answer).map(str::to_owned).collect();
        if let Some(length) = length {
            let filler = (0..).map(|number| format!(" and {number}"));
            pieces.extend(filler.take((length as usize).saturating_sub(pieces.len())));
            pieces.truncate(length as usize);
        }
        Self::new(pieces)
    }
}

impl From<Fault> for Interruption {
    fn from(fault: Fault) -> Self {
        let step = match fault.kind {
            FaultKind::Fail => Step::Error(EngineError::Failed { detail: "a fault on schedule".to_owned() }),
            FaultKind::Lose => Step::Lose,
            FaultKind::Truncate => Step::End,
            FaultKind::Stall => Step::Stall,
            FaultKind::Hang => Step::Fall(State::Hangs),
            FaultKind::Break => Step::Fall(State::Broken),
        };
        Self { after_pieces: fault.after_tokens, step }
    }
}

impl StatedUsage {
    /// Returns what to report of these counts.
    pub(super) fn instead_of(self, input_tokens: u32, output_tokens: u32) -> Usage {
        let is_stated = self.input_tokens.is_some() || self.output_tokens.is_some();
        let source = if is_stated { UsageSource::Reported } else { UsageSource::Counted };
        Usage {
            input_tokens: self.input_tokens.or(Some(input_tokens)),
            output_tokens: self.output_tokens.or(Some(output_tokens)),
            source: source.into(),
            ..Usage::default()
        }
    }
}
