//! What a caller is told of an engine's errors. What the log is told stands where they are handled.

use std::time::Duration;

use pointsman_engine::EngineError;
use pointsman_errors::{Error, Reason};

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
