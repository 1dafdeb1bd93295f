use std::fmt::Display;
use std::sync::Arc;

use mistralrs::core::TokenizationRequest;
use mistralrs::{MessageContent, NormalRequest, Request, RequestMessage, Response, SamplingParams, Tool};
use pointsman_engine::EngineError;
use tokio::sync::mpsc;

use crate::mailbox;
use crate::messages::Messages;
use crate::sampling::TokenChooser;

/// What an answer is made to.
#[derive(Clone)]
pub(crate) enum Prompt {
    /// mistral.rs makes tokens of it, and text of the answer, in which it tells thoughts from the rest.
    Chat(Messages),
    /// The answer is told token by token, by its chooser.
    Tokens(Arc<Vec<u32>>),
}

/// Makes the request that generates an answer into a channel.
pub(crate) fn generation(
    prompt: Prompt,
    max_output_tokens: u32,
    chooser: TokenChooser,
    response: mpsc::Sender<Response>,
) -> Request {
    let messages = match prompt {
        Prompt::Chat(messages) => RequestMessage::Chat { messages, enable_thinking: None, reasoning_effort: None },
        Prompt::Tokens(tokens) => RequestMessage::CompletionTokens(tokens.to_vec()),
    };
    let sampling_params = SamplingParams {
        // Absent, it gives the most probable token and true probabilities. 0 takes the highest logit without
        // making probabilities of them, which is 2 ms less for each token with a vocabulary of 152,000; it is
        // enough where the chooser leaves a single token.
        temperature: chooser.decides().then_some(0.0),
        top_k: Some(1),
        max_len: usize::try_from(max_output_tokens).ok(),
        ..SamplingParams::neutral()
    };
    Request::Normal(Box::new(NormalRequest {
        // Tools are in the prompt's tokens, and the chooser keeps to grammars itself. As a part of the request, tools
        // would make mistral.rs look for calls, and end the answer with the first.
        logits_processors: Some(vec![Arc::new(chooser)]),
        // Always: when a receiver of a whole answer is dropped, mistral.rs panics.
        is_streaming: true,
        ..mailbox::bare(messages, sampling_params, response)
    }))
}

/// Makes the request that turns messages into a prompt, and no more.
pub(crate) fn tokenization(
    messages: Messages,
    tools: Option<Vec<Tool>>,
    response: mpsc::Sender<anyhow::Result<Vec<u32>>>,
) -> Request {
    Request::Tokenize(TokenizationRequest {
        // An `Either`, whose crate is not among our dependencies: any other of its kind can be changed into it.
        text: MessageContent::Left(String::new()).map_left(|_| messages).map_right(|_| String::new()),
        tools,
        add_generation_prompt: true,
        add_special_tokens: true,
        enable_thinking: None,
        reasoning_effort: None,
        response,
    })
}

/// Returns the first line of an error, for a caller: what follows it is a backtrace.
pub(crate) fn first_line(error: &impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(300).collect()
}

/// Refuses a request for one of its fields.
pub(crate) fn invalid(field: &str, what_to_do: &str) -> EngineError {
    EngineError::InvalidRequest { message: format!("{field}: {what_to_do}") }
}

#[cfg(test)]
mod tests {
    use super::first_line;

    #[test]
    fn backtraces_stay_behind() {
        assert_eq!(first_line(&"bad\n   0: std::backtrace"), "bad");
        assert_eq!(first_line(&""), "");
        assert_eq!(first_line(&"ä".repeat(400)).chars().count(), 300);
    }
}
