//! OpenAI's API: completions of a chat and of a text, embeddings, the model list; and vLLM's count of tokens.
//!
//! - [`parse_chat`], [`parse_text`]: a body to a `Valid<GenerateRequest>`; [`render_chat`], [`render_text`]: a response to a
//!   `chat.completion` or `text_completion`; [`ChatStream`], [`TextStream`]: frames to server-sent events.
//! - [`parse_embeddings`], [`render_embeddings`]; [`parse_tokenize`], [`render_tokenize`].
//! - [`render_error`], [`render_error_event`]: errors, before the first byte and after it.
//! - [`render_models`], [`render_model`]: what may be asked.
//! - [`describe`]: all of it in OpenAPI's words.
//! - [`Endpoint`], [`parameter`]: a field of the contract in OpenAI's words.
//!
//! What is done with each field stands in `docs/reference/openai.md`.

mod chat;
mod completion;
mod description;
mod embeddings;
mod error;
mod events;
mod generation;
mod logprobs;
mod models;
mod parameter;
mod read;
mod stream;
mod text;
mod texts;
mod tokenize;
mod usage;

pub use chat::{ChatRequest, parse_chat};
pub use completion::render_chat;
pub use description::describe;
pub use embeddings::{EmbeddingsRequest, Encoding, parse_embeddings, render_embeddings};
pub use error::{render_error, render_error_event};
pub use models::{ModelEntry, render_model, render_models};
pub use parameter::{Endpoint, parameter};
pub use stream::{ChatStream, KEEPALIVE};
pub use text::{TextRequest, TextStream, parse_text, render_text};
pub use tokenize::{parse_tokenize, render_tokenize};

use pointsman_proto::inference::v1::FinishReason;

/// Returns OpenAI's word for why a model stopped. It has none for a reason that this version does not know,
/// and a choice that came to its end needs one.
fn finish_reason(reason: i32) -> &'static str {
    match FinishReason::try_from(reason) {
        Ok(FinishReason::Length) => "length",
        Ok(FinishReason::ToolCalls) => "tool_calls",
        Ok(FinishReason::ContentFilter) => "content_filter",
        Ok(FinishReason::Stop | FinishReason::Unspecified) | Err(_) => "stop",
    }
}

/// Appends a value as JSON.
fn append<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Neither a vector nor the types of this module can fail here.
    serde_json::to_writer(out, value).ok();
}
