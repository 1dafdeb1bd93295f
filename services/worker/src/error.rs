//! What becomes of an engine's errors: what the caller is told, and what the log,
//! the trace and the metrics.

use std::time::Duration;

use pointsman_engine::EngineError;
use pointsman_errors::{Error, Reason};
use tracing::Span;

use crate::metrics::{Metrics, Outcome};
use crate::probe::EngineHealth;

/// What the caller is told.
pub(crate) fn for_caller(error: &EngineError) -> Error {
    match error {
        EngineError::InvalidRequest { message } => Error::new(Reason::InvalidRequest, message.clone()),
        EngineError::ContextTooLong { prompt_tokens, context_tokens } => Error::new(
            Reason::ContextTooLong,
            format!(
                "the prompt has {prompt_tokens} tokens, and the model's context of {context_tokens} leaves no room for an answer; shorten it"
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
        EngineError::Lost { .. } => Error::new(
            Reason::EngineLost,
            "the engine died while it generated; the answer so far is not whole. Try again",
        )
        .retry_after(Duration::from_secs(1)),
    }
}

/// Logs an engine's error; a loss makes the worker not ready.
pub(crate) fn report(error: &EngineError, health: &EngineHealth) {
    match error {
        EngineError::InvalidRequest { .. } | EngineError::ContextTooLong { .. } | EngineError::Saturated => {}
        EngineError::Failed { detail } => tracing::error!(detail, "the engine failed a request"),
        EngineError::Lost { detail } => {
            tracing::error!(detail, "the engine was lost");
            health.lost();
        }
    }
}

/// Notes on the span and in the metrics how a request ended.
pub(crate) fn failed(span: &Span, metrics: &Metrics, reason: Reason) {
    metrics.ended(Outcome::Failed(reason));
    span.record("otel.status_code", "ERROR").record("error.type", reason.name());
}
