//! How long a prompt is (`POST /v1/tokenize`, as vLLM has it).

use pointsman_errors::Error;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{CountTokensRequest, CountTokensResponse, GenerateRequest};
use serde::Serialize;

use super::chat::body::{MessageBody, ResponseFormatBody, ToolBody, ToolChoiceBody};
use super::chat::{messages, tools};
use super::generation;
use super::parameter::completions_parameter;
use super::read::{check, read};
use super::text::{prompt, said};
use super::texts::Texts;
use super::{append, parameter};
use crate::json::object::Uncarried::{self, Neutral};
use crate::json::object::object;
use crate::json::{Given, Pairs};
use crate::problems::Problems;

object! {
    TokenizeBody {
        model: String,
        messages: Vec<Given<MessageBody<'de>>>,
        prompt: Texts,
        tools: Vec<Given<ToolBody<'de>>>,
        tool_choice: ToolChoiceBody<'de>,
        parallel_tool_calls: bool,
        response_format: ResponseFormatBody<'de>,
        user: String,
        metadata: Pairs<String>,
    }
}

pub(super) const UNCARRIED: &[Uncarried] = &[
    Neutral("add_generation_prompt", &["true"]),
    Neutral("add_special_tokens", &[]),
    Neutral("continue_final_message", &["false"]),
    Neutral("return_token_strs", &["false"]),
];

/// Reads the body of `POST /v1/tokenize`. Fails with every mistake in it, like [`parse_chat`](super::parse_chat).
pub fn parse_tokenize(body: &[u8]) -> Result<Valid<CountTokensRequest>, Error> {
    let body: TokenizeBody<'_> = read(body, "`model`, and `messages` or `prompt`")?;
    let mut problems = Problems::default();
    let p = &mut problems;
    let has_prompt = !body.prompt.is_absent();
    if has_prompt && !body.messages.is_absent() {
        p.invalid("prompt", "is given beside `messages`; give one of the two");
    }
    let messages = match has_prompt {
        true => vec![said(prompt(body.prompt, p))],
        false => messages::convert(body.messages, p),
    };
    let request = GenerateRequest {
        model: body.model.take("model", p).unwrap_or_default(),
        messages,
        tools: tools::convert(body.tools, p),
        tool_choice: tools::choice(body.tool_choice, body.parallel_tool_calls, p),
        response_format: tools::response_format(body.response_format, p),
        labels: generation::labels(body.metadata, p),
        end_user: body.user.take("user", p).unwrap_or_default(),
        ..GenerateRequest::default()
    };
    body.others.check("", UNCARRIED, parameter, p);
    let spelled = if has_prompt { completions_parameter } else { parameter };
    check(CountTokensRequest { request: Some(request) }, problems, spelled)
}

/// Renders a count. `max_model_len` is null where it is not known.
pub fn render_tokenize(counted: &CountTokensResponse) -> Vec<u8> {
    let mut out = Vec::new();
    let max_model_len = Some(counted.context_tokens).filter(|tokens| *tokens > 0);
    append(&mut out, &Body { count: counted.prompt_tokens, max_model_len });
    out
}

#[derive(Serialize)]
struct Body {
    count: u32,
    max_model_len: Option<u32>,
}
