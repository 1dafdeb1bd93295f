use pointsman_proto::inference::v1::{Choice, GenerateResponse, Message, part::Kind};
use serde::Serialize;

use super::logprobs::TextLogprobs;
use crate::openai::completion::{self, render};
use crate::openai::finish_reason;

/// Renders a whole response as a `text_completion`, each answer after `echo`.
///
/// Only text has a place in it: reasoning and what only its origin can read are left out.
pub fn render_text(response: &GenerateResponse, echo: &str) -> Vec<u8> {
    render(response, TEXT, |choice| ChoiceBody::of(choice, echo))
}

/// A completion, and each piece of one.
pub(super) const TEXT: completion::Kind = completion::Kind { prefix: "cmpl", object: "text_completion" };

#[derive(Serialize)]
struct ChoiceBody<'a> {
    index: u32,
    text: String,
    logprobs: Option<TextLogprobs<'a>>,
    finish_reason: &'static str,
}

impl<'a> ChoiceBody<'a> {
    fn of(choice: &'a Choice, echo: &str) -> Self {
        Self {
            index: choice.index,
            text: text(choice.message.as_ref(), echo),
            logprobs: TextLogprobs::of(&choice.logprobs, 0),
            finish_reason: finish_reason(choice.finish_reason),
        }
    }
}

fn text(message: Option<&Message>, echo: &str) -> String {
    let mut text = echo.to_owned();
    for part in message.into_iter().flat_map(|message| &message.parts) {
        if let Some(Kind::Text(piece)) = &part.kind {
            text.push_str(piece);
        }
    }
    text
}
