//! Completions of a text (`POST /v1/completions`), the API that was before Chat Completions.
//!
//! A conversation of the mesh has messages and no raw prompt, since only an engine knows its model's template. So
//! the prompt is what a user says, and the answer is what the model says to that.

mod answer;
mod body;
mod logprobs;
mod stream;

use pointsman_errors::Error;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, Limits, Logprobs, Message, Part, Role, part::Kind};

use super::generation::Delivery;
use super::parameter::completions_parameter;
use super::read::{check, read};
use super::texts::Texts;
use crate::json::Given;
use crate::problems::Problems;

pub(super) use body::{TextBody, UNCARRIED};

pub use answer::render_text;
pub use stream::TextStream;

/// As OpenAI and those that follow it.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// A completion that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TextRequest {
    /// What to generate.
    pub request: Valid<GenerateRequest>,
    /// Whether the answer goes out as it is made.
    pub stream: bool,
    /// Whether a stream ends with a chunk that says what was consumed.
    pub include_usage: bool,
    /// What each answer begins with: the prompt, where the caller wants it back. Empty: nothing.
    pub echo: String,
}

/// Reads the body of `POST /v1/completions`. Fails with every mistake in it, like [`parse_chat`](super::parse_chat).
pub fn parse_text(body: &[u8]) -> Result<TextRequest, Error> {
    let mut body: TextBody<'_> = read(body, "`model` and `prompt`")?;
    let mut problems = Problems::default();
    let p = &mut problems;
    let prompt = prompt(std::mem::take(&mut body.prompt), p);
    let echo = echo(&mut body, &prompt, p);
    let (request, delivery) = convert(body, prompt, p);
    let request = check(request, problems, completions_parameter)?;
    Ok(TextRequest { request, stream: delivery.stream, include_usage: delivery.include_usage, echo })
}

fn convert(body: TextBody<'_>, prompt: String, p: &mut Problems) -> (GenerateRequest, Delivery) {
    let (generation, delivery) = body.generation.convert(p);
    best_of(body.best_of, generation.choice_count, p);
    let suffix = body.suffix.take("suffix", p).unwrap_or_default();
    if !suffix.is_empty() {
        p.unsupported("suffix", "is not supported: the mesh has no models that fill in; leave it out");
    }
    let limit = body.max_tokens.take("max_tokens", p).unwrap_or(DEFAULT_MAX_TOKENS);
    let request = GenerateRequest {
        model: body.model.take("model", p).unwrap_or_default(),
        messages: vec![said(prompt)],
        limits: Some(Limits { max_output_tokens: Some(limit) }),
        logprobs: body.logprobs.take("logprobs", p).map(|top_count| Logprobs { top_count }),
        ..generation
    };
    body.others.check("", UNCARRIED, completions_parameter, p);
    (request, delivery)
}

/// A text as the one message of a user.
pub(super) fn said(text: String) -> Message {
    Message { role: Role::User.into(), parts: vec![Part { kind: Some(Kind::Text(text)) }], ..Message::default() }
}

/// Returns the one prompt; an empty one breaks a rule of the contract.
pub(super) fn prompt(given: Given<Texts>, problems: &mut Problems) -> String {
    match Texts::take(given, "prompt", problems) {
        Some(texts) if texts.len() > 1 => {
            problems.unsupported("prompt", "takes one text; send the others as requests of their own");
            String::new()
        }
        texts => texts.and_then(|texts| texts.into_iter().next()).unwrap_or_default(),
    }
}

/// Answers are not ranked: who makes more of them than are given back would have to.
fn best_of(given: Given<u32>, choice_count: Option<u32>, problems: &mut Problems) {
    if given.take("best_of", problems).is_some_and(|best_of| best_of != choice_count.unwrap_or(1)) {
        problems.unsupported("best_of", "must be `n`: answers are not ranked; ask for more with `n`");
    }
}

fn echo(body: &mut TextBody<'_>, prompt: &str, problems: &mut Problems) -> String {
    if !std::mem::take(&mut body.echo).take("echo", problems).unwrap_or_default() {
        return String::new();
    }
    if !body.logprobs.is_absent() {
        problems
            .unsupported("echo", "with `logprobs` is not supported: the prompt has none here; leave one of them out");
    }
    prompt.to_owned()
}
