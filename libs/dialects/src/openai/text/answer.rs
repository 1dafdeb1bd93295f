use pointsman_proto::inference::v1::{Choice, GenerateResponse, Message, Started, part::Kind};
use serde::Serialize;

use super::logprobs::TextLogprobs;
use crate::openai::completion::Head;
use crate::openai::usage::UsageBody;
use crate::openai::{append, finish_reason};

/// Renders a whole response as a `text_completion`, each answer after `echo`.
///
/// Only text has a place in it: reasoning and what only its origin can read are left out.
pub fn render_text(response: &GenerateResponse, echo: &str) -> Vec<u8> {
    let unknown = Started::default();
    let started = response.started.as_ref().unwrap_or(&unknown);
    let mut choices: Vec<&Choice> = response.choices.iter().collect();
    choices.sort_by_key(|choice| choice.index);
    let mut out = Vec::with_capacity(1024);
    append(
        &mut out,
        &Completion {
            head: Head::of(started, "cmpl", "text_completion"),
            choices: choices.into_iter().map(|choice| ChoiceBody::of(choice, echo)).collect(),
            usage: response.usage.as_ref().and_then(UsageBody::of),
        },
    );
    out
}

#[derive(Serialize)]
struct Completion<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    choices: Vec<ChoiceBody<'a>>,
    usage: Option<UsageBody>,
}

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
