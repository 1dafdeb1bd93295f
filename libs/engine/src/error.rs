use std::time::Duration;

use pointsman_errors::Reason;
use thiserror::Error;

/// Why a generation, or the engine as a whole, failed.
///
/// `detail` is for the log: it may name files and carry backtraces, and never reaches a caller.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EngineError {
    /// The request cannot be served, and would not be if it was repeated. `message` is for the caller.
    #[error("the request cannot be served: {message}")]
    InvalidRequest {
        /// What to change.
        message: String,
    },
    /// The same, where one field is to blame. Both texts are for the caller.
    #[error("the request cannot be served: {field}: {rule}")]
    InvalidField {
        /// The field, as the contract names it: `messages[0].parts[1]`.
        field: String,
        /// What it must be, or what to do about it.
        rule: String,
    },
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt_tokens} tokens, the context {context_tokens}")]
    ContextTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens that prompt and answer may have together.
        context_tokens: u32,
    },
    /// The engine has no room at this moment.
    #[error("the engine's own queue is full")]
    Saturated,
    /// This request failed; others are untouched.
    #[error("the generation failed")]
    Failed {
        /// For the log.
        detail: String,
    },
    /// An error that was chosen beforehand, by a script: the caller is told just this, and nothing has happened
    /// to the engine.
    #[error("a chosen error: {reason}")]
    Chosen {
        /// What the caller is told to have gone wrong.
        reason: Reason,
        /// The sentence for the caller.
        message: String,
        /// How long the caller is told to wait before it tries again.
        retry_after: Option<Duration>,
    },
    /// The engine died and took every running generation with it.
    #[error("the engine was lost")]
    Lost {
        /// For the log.
        detail: String,
    },
}
