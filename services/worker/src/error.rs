//! What becomes of an engine's errors: what the caller is told, and what the log.

use std::time::Duration;

use pointsman_engine::EngineError;
use pointsman_errors::{Error, Reason};
use pointsman_types::counted;

use crate::probe::{EngineHealth, Round};

/// What the caller is told.
pub(crate) fn for_caller(error: &EngineError) -> Error {
    match error {
        EngineError::InvalidRequest { message } => Error::new(Reason::InvalidRequest, message.clone()),
        EngineError::ContextTooLong { prompt_tokens, context_tokens } => Error::new(
            Reason::ContextTooLong,
            format!(
                "the prompt has {}, and the model's context of {context_tokens} leaves no room for an answer; shorten it",
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

/// Logs an engine's error; a loss makes the worker not ready. The round is that in which the engine was asked.
pub(crate) fn report(error: &EngineError, health: &EngineHealth, round: Round) {
    match error {
        EngineError::InvalidRequest { .. }
        | EngineError::ContextTooLong { .. }
        | EngineError::Saturated
        | EngineError::Chosen { .. } => {}
        EngineError::Failed { detail } => tracing::error!(detail, "the engine failed a request"),
        EngineError::Lost { detail } => {
            tracing::error!(detail, "the engine was lost");
            health.lost(round);
        }
    }
}
