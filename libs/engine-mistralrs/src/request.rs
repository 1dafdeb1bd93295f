use std::fmt::Display;
use std::sync::Arc;

use image::DynamicImage;
use mistralrs::core::TokenizationRequest;
use mistralrs::{MessageContent, NormalRequest, Request, RequestMessage, Response, SamplingParams, Tool, ToolChoice};
use pointsman_engine::EngineError;
use tokio::sync::mpsc;

use crate::mailbox;
use crate::messages::Messages;
use crate::sampling::TokenChooser;
use crate::template::Thinking;

/// What a chat template makes a prompt of.
#[derive(Clone)]
pub(crate) struct Ingredients {
    pub(crate) messages: Messages,
    pub(crate) tools: Option<Vec<Tool>>,
    pub(crate) thinking: Thinking,
}

/// What an answer is made to.
#[derive(Clone)]
pub(crate) enum Prompt {
    /// mistral.rs makes tokens of it, and text of the answer, in which it tells thoughts from the rest.
    Chat(Ingredients),
    /// The answer is told token by token, by its chooser.
    Tokens(Arc<Vec<u32>>),
    /// mistral.rs makes tokens of messages and pictures, of which there is no other way in. Where the prompt's tokens
    /// are given, with one for each picture, the answer is told token by token all the same.
    Seen(Ingredients, Arc<Vec<DynamicImage>>, Option<Arc<Vec<u32>>>),
}

impl Prompt {
    /// Returns the tokens of the prompt, if the answer is told token by token.
    pub(crate) fn tokens(&self) -> Option<&[u32]> {
        match self {
            Self::Chat(_) | Self::Seen(_, _, None) => None,
            Self::Tokens(tokens) | Self::Seen(_, _, Some(tokens)) => Some(tokens),
        }
    }
}

/// Makes the request that generates an answer into a channel.
pub(crate) fn generation(
    prompt: Prompt,
    max_output_tokens: u32,
    chooser: TokenChooser,
    response: mpsc::Sender<Response>,
) -> Request {
    let mut tools = None;
    let messages = match prompt {
        Prompt::Chat(Ingredients { messages, thinking, .. }) => {
            RequestMessage::Chat { messages, enable_thinking: thinking.enabled, reasoning_effort: thinking.effort }
        }
        Prompt::Tokens(tokens) => RequestMessage::CompletionTokens(tokens.to_vec()),
        Prompt::Seen(given, images, _) => {
            tools = given.tools;
            RequestMessage::MultimodalChat {
                images: images.to_vec(),
                audios: Vec::new(),
                videos: Vec::new(),
                messages: given.messages,
                enable_thinking: given.thinking.enabled,
                reasoning_effort: given.thinking.effort,
            }
        }
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
        // would make mistral.rs look for calls, and end the answer with the first; with this choice it puts them into
        // the prompt, and does not look.
        tools,
        tool_choice: Some(ToolChoice::None),
        logits_processors: Some(vec![Arc::new(chooser)]),
        // Always: when a receiver of a whole answer is dropped, mistral.rs panics.
        is_streaming: true,
        ..mailbox::bare(messages, sampling_params, response)
    }))
}

/// Makes the request that turns messages into a prompt, and no more.
pub(crate) fn tokenization(of: Ingredients, response: mpsc::Sender<anyhow::Result<Vec<u32>>>) -> Request {
    let Ingredients { messages, tools, thinking } = of;
    Request::Tokenize(TokenizationRequest {
        // An `Either`, whose crate is not among our dependencies: any other of its kind can be changed into it.
        text: MessageContent::Left(String::new()).map_left(|_| messages).map_right(|_| String::new()),
        tools,
        add_generation_prompt: true,
        add_special_tokens: true,
        enable_thinking: thinking.enabled,
        reasoning_effort: thinking.effort,
        response,
    })
}

/// Makes the request that turns a text into tokens. `frames`: whether the tokenizer puts its own ones around it.
pub(crate) fn text_tokenization(
    text: String,
    frames: bool,
    response: mpsc::Sender<anyhow::Result<Vec<u32>>>,
) -> Request {
    Request::Tokenize(TokenizationRequest {
        text: MessageContent::Left(text).flip().map_left(|_| Vec::new()),
        tools: None,
        add_generation_prompt: false,
        add_special_tokens: frames,
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
    EngineError::InvalidField { field: field.to_owned(), rule: what_to_do.to_owned() }
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
