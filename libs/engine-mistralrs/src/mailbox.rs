//! How mistral.rs is asked: its queue, a request without anything special, and the one answer of those that have one.

use mistralrs::{Constraint, Model, NormalRequest, Request, RequestMessage, Response, SamplingParams};
use pointsman_engine::EngineError;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Hands a request over. Never waits: a full queue is an error.
pub(crate) fn submit(model: &Model, request: Request) -> Result<(), EngineError> {
    let sender = model.inner().get_sender(None);
    let sender = sender.map_err(|error| EngineError::Lost { detail: error.to_string() })?;
    sender.try_send(request).map_err(|error| match error {
        TrySendError::Full(_) => EngineError::Saturated,
        TrySendError::Closed(_) => EngineError::Lost { detail: "mistral.rs takes no requests".to_owned() },
    })
}

/// Waits for the one answer of a request that is not streamed. `None`: it never came.
pub(crate) async fn only_answer<T: Send + 'static>(mut answers: mpsc::Receiver<T>) -> Option<T> {
    // A task of its own holds the channel's end until it is answered: mistral.rs panics, and takes every
    // running generation with it, when this future is dropped and nobody listens any more.
    tokio::spawn(async move { answers.recv().await }).await.ok().flatten()
}

/// The error of an answer that never came.
pub(crate) fn unanswered(what: &str) -> EngineError {
    EngineError::Lost { detail: format!("mistral.rs did not answer {what}") }
}

/// Makes a request that asks for nothing of what mistral.rs could do beside.
pub(crate) fn bare(
    messages: RequestMessage,
    sampling_params: SamplingParams,
    response: mpsc::Sender<Response>,
) -> NormalRequest {
    NormalRequest {
        messages,
        sampling_params,
        logits_processors: None,
        response,
        is_streaming: false,
        id: 0,
        model_id: None,
        return_logprobs: false,
        return_raw_logits: false,
        constraint: Constraint::None,
        suffix: None,
        tools: None,
        tool_choice: None,
        web_search_options: None,
        truncate_sequence: false,
    }
}
