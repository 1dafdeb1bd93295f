//! What becomes of an engine's errors: what the caller is told, and what the log.

use std::time::Duration;

use pointsman_engine::EngineError;
use pointsman_errors::{Error, Reason};
use pointsman_types::counted;
use tonic_types::FieldViolation;
use tracing::Span;

use crate::metrics::{Failure, Metrics};
use crate::probe::{EngineHealth, Round};
use crate::watchdog::Verdict;

/// What the caller is told.
pub(crate) fn for_caller(error: &EngineError) -> Error {
    match error {
        EngineError::InvalidRequest { message } => Error::new(Reason::InvalidRequest, message.clone()),
        EngineError::InvalidField { field, rule } => Error::invalid(vec![FieldViolation::new(field, rule)]),
        EngineError::ContextTooLong { prompt_tokens, context_tokens } => Error::new(
            Reason::ContextTooLong,
            // LangChain knows the error by its first words.
            format!(
                "the prompt is too long: it has {}, and the model's context of {context_tokens} leaves no room for an answer; shorten it",
                counted(*prompt_tokens, "token")
            ),
        ),
        EngineError::Saturated => {
            Error::new(Reason::QueueFull, "the engine takes nothing more at this moment; try again")
                .retry_after(Duration::from_secs(1))
        }
        EngineError::Failed { .. } => Error::new(
            Reason::GenerationFailed,
            "the engine failed this request; if it fails again, give the operators the trace id",
        ),
        EngineError::Chosen { reason, message, retry_after } => {
            let error = Error::new(*reason, message.clone());
            if let Some(delay) = retry_after { error.retry_after(*delay) } else { error }
        }
        EngineError::Lost { .. } => Error::new(
            Reason::EngineLost,
            "the engine died while it generated; the answer so far is not whole. Try again",
        )
        .retry_after(Duration::from_secs(1)),
    }
}

/// What the caller of an answer is told that got nothing for too long.
pub(crate) fn of_silence(verdict: Verdict) -> Error {
    match verdict {
        Verdict::Stuck => Error::new(
            Reason::EngineLost,
            "the engine hangs and gives nothing more; the answer so far is not whole. Try again: other workers go on, and this one's operators have to start it anew",
        )
        .retry_after(Duration::from_secs(1)),
        Verdict::Stalled => Error::new(
            Reason::GenerationFailed,
            "the engine gave this answer nothing for too long, while others went on; if it fails again, give the operators the trace id",
        ),
    }
}

/// Logs it, once for each answer.
pub(crate) fn report_silence(verdict: Verdict, metrics: &Metrics) {
    let failure = match verdict {
        Verdict::Stuck => Failure::Stuck,
        Verdict::Stalled => Failure::Stalled,
    };
    metrics.engine_failed(failure);
    Span::current().record("pointsman.engine.failure", failure.name());
    tracing::error!(failure = failure.name(), "the engine gave an answer nothing for too long");
}

/// Logs an engine's error; a loss makes the worker not ready, and failures in a row make it look. The round is
/// that in which the engine was asked.
pub(crate) fn report(error: &EngineError, health: &EngineHealth, round: Round, metrics: &Metrics) {
    let told = |failure: Failure| {
        metrics.engine_failed(failure);
        Span::current().record("pointsman.engine.failure", failure.name());
    };
    match error {
        EngineError::InvalidRequest { .. }
        | EngineError::InvalidField { .. }
        | EngineError::ContextTooLong { .. }
        | EngineError::Saturated
        | EngineError::Chosen { .. } => {}
        EngineError::Failed { detail } => {
            tracing::error!(detail, "the engine failed a request");
            told(Failure::Failed);
            health.failed();
        }
        EngineError::Lost { detail } => {
            told(Failure::Lost);
            tracing::error!(detail, "the engine was lost");
            health.lost(round);
        }
    }
}
