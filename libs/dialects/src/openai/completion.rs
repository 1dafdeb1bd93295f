use pointsman_proto::inference::v1::{Choice, GenerateResponse, Message, Started, ToolCall, part};
use serde::Serialize;

use super::logprobs::Logprobs;
use super::usage::UsageBody;
use super::{append, finish_reason};

/// Renders a whole response as a `chat.completion`.
///
/// Reasoning goes into `reasoning_content`, as vLLM and DeepSeek do; parts that only their origin can read are
/// left out. `usage` is null unless prompt and answer were both counted.
pub fn render_chat(response: &GenerateResponse) -> Vec<u8> {
    render(response, CHAT, ChoiceBody::of)
}

/// Renders a whole response, its choices in order.
pub(super) fn render<'a, C: Serialize>(
    response: &'a GenerateResponse,
    kind: Kind,
    choice: impl Fn(&'a Choice) -> C,
) -> Vec<u8> {
    let unknown = Started::default();
    let started = response.started.as_ref().unwrap_or(&unknown);
    let mut choices: Vec<&Choice> = response.choices.iter().collect();
    choices.sort_by_key(|choice| choice.index);
    let choices = choices.into_iter().map(choice).collect();
    let usage = response.usage.as_ref().and_then(UsageBody::of);
    let mut out = Vec::with_capacity(1024);
    append(&mut out, &Completion { head: Head::of(started, kind), choices, usage });
    out
}

/// A kind of completions, or of pieces of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// What ids begin with.
    pub(super) prefix: &'static str,
    pub(super) object: &'static str,
}

const CHAT: Kind = Kind { prefix: "chatcmpl", object: "chat.completion" };

/// What a completion and each of its chunks begin with.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    id: String,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: Option<&'a str>,
}

impl<'a> Head<'a> {
    pub(super) fn of(started: &'a Started, kind: Kind) -> Self {
        Self {
            id: format!("{}-{}", kind.prefix, started.request_id),
            object: kind.object,
            created: started.accept_time.as_ref().map_or(0, |time| time.seconds),
            model: &started.model,
            system_fingerprint: Some(started.engine_fingerprint.as_str()).filter(|print| !print.is_empty()),
        }
    }
}

#[derive(Serialize)]
struct Completion<'a, C> {
    #[serde(flatten)]
    head: Head<'a>,
    choices: Vec<C>,
    usage: Option<UsageBody>,
}

#[derive(Serialize)]
struct ChoiceBody<'a> {
    index: u32,
    message: MessageBody<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: &'static str,
}

impl<'a> ChoiceBody<'a> {
    fn of(choice: &'a Choice) -> Self {
        Self {
            index: choice.index,
            message: MessageBody::of(choice.message.as_ref()),
            logprobs: Logprobs::of(&choice.logprobs),
            finish_reason: finish_reason(choice.finish_reason),
        }
    }
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: (),
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallBody<'a>>,
}

impl<'a> MessageBody<'a> {
    fn of(message: Option<&'a Message>) -> Self {
        let (mut content, mut reasoning_content, mut tool_calls) = (String::new(), String::new(), Vec::new());
        for kind in message.into_iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref()) {
            match kind {
                part::Kind::Text(text) => content.push_str(text),
                part::Kind::Reasoning(reasoning) => reasoning_content.push_str(&reasoning.text),
                part::Kind::ToolCall(call) => tool_calls.push(ToolCallBody::of(call)),
                part::Kind::Image(_) | part::Kind::ToolResult(_) | part::Kind::Opaque(_) => {}
            }
        }
        // A client may expect a string wherever no tool is called.
        let said = !content.is_empty() || tool_calls.is_empty();
        Self { role: "assistant", content: said.then_some(content), refusal: (), reasoning_content, tool_calls }
    }
}

#[derive(Serialize)]
struct ToolCallBody<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionBody<'a>,
}

#[derive(Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> ToolCallBody<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let function = FunctionBody { name: &call.name, arguments: &call.arguments_json };
        Self { id: &call.id, kind: "function", function }
    }
}
