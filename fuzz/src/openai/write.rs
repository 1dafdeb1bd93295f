//! Bodies as a client writes them: every field in its plainest form.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pointsman_dialects::openai::{ChatRequest, EmbeddingsRequest, Encoding, TextRequest};
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::{
    GenerateRequest, Image, Message, ReasoningEffort, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice,
    image::Source, part::Kind,
};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

type Raw = Box<RawValue>;

/// An object under way; what is `None` is left out.
#[derive(Serialize, Default)]
#[serde(transparent)]
struct Object(BTreeMap<&'static str, Raw>);

impl Object {
    fn with(mut self, key: &'static str, value: impl Serialize) -> Self {
        self.0.insert(key, raw(value));
        self
    }

    fn with_some(self, key: &'static str, value: Option<impl Serialize>) -> Self {
        if let Some(value) = value { self.with(key, value) } else { self }
    }

    fn bytes(self) -> Vec<u8> {
        serde_json::to_vec(&self).unwrap()
    }
}

fn raw(value: impl Serialize) -> Raw {
    to_raw_value(&value).unwrap()
}

/// JSON that is kept as it was written.
fn kept(text: &str) -> Option<Raw> {
    (!text.is_empty()).then(|| RawValue::from_string(text.to_owned()).expect("it was JSON"))
}

fn unless_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn chat(read: &ChatRequest) -> Vec<u8> {
    let request = &*read.request;
    let mut body = sampled(asked(request), request)
        .with_some("max_completion_tokens", request.limits.and_then(|limits| limits.max_output_tokens))
        .with_some("reasoning_effort", effort(request.reasoning_effort()));
    if let Some(logprobs) = request.logprobs {
        body = body.with("logprobs", true).with("top_logprobs", logprobs.top_count);
    }
    delivered(body, read.stream, read.include_usage).bytes()
}

pub(super) fn completions(read: &TextRequest) -> Vec<u8> {
    let request = &*read.request;
    let prompt = match &request.messages[0].parts[0].kind {
        Some(Kind::Text(text)) => text,
        other => panic!("{other:?} is no prompt"),
    };
    let body = sampled(named(request), request)
        .with("prompt", [prompt])
        .with("max_tokens", request.limits.and_then(|limits| limits.max_output_tokens))
        .with("echo", !read.echo.is_empty())
        .with_some("logprobs", request.logprobs.map(|logprobs| logprobs.top_count));
    delivered(body, read.stream, read.include_usage).bytes()
}

pub(super) fn tokenize(request: &GenerateRequest) -> Vec<u8> {
    asked(request).bytes()
}

pub(super) fn embeddings(read: &EmbeddingsRequest) -> Vec<u8> {
    let request = &*read.request;
    let encoding = if read.encoding == Encoding::Base64 { "base64" } else { "float" };
    Object::default()
        .with("model", &request.model)
        .with("input", &request.inputs)
        .with("encoding_format", encoding)
        .with_some("dimensions", request.dimensions)
        .with("user", &request.end_user)
        .with("metadata", &request.labels)
        .bytes()
}

fn delivered(body: Object, stream: bool, include_usage: bool) -> Object {
    let options = stream.then(|| json!({ "include_usage": include_usage }));
    body.with("stream", stream).with_some("stream_options", options)
}

fn named(request: &GenerateRequest) -> Object {
    Object::default().with("model", &request.model).with("user", &request.end_user).with("metadata", &request.labels)
}

/// What decides the prompt.
fn asked(request: &GenerateRequest) -> Object {
    let choice = request.tool_choice.as_ref();
    named(request)
        .with("messages", request.messages.iter().map(message).collect::<Vec<_>>())
        .with("tools", request.tools.iter().map(tool).collect::<Vec<_>>())
        .with_some("tool_choice", choice.and_then(tool_choice))
        .with_some("parallel_tool_calls", choice.and_then(|choice| choice.parallel))
        .with_some("response_format", request.response_format.as_ref().map(response_format))
}

fn sampled(body: Object, request: &GenerateRequest) -> Object {
    let plain = Sampling::default();
    let sampling = request.sampling.as_ref().unwrap_or(&plain);
    body.with_some("temperature", sampling.temperature)
        .with_some("top_p", sampling.top_p)
        .with_some("top_k", sampling.top_k)
        .with_some("min_p", sampling.min_p)
        .with_some("frequency_penalty", sampling.frequency_penalty)
        .with_some("presence_penalty", sampling.presence_penalty)
        .with_some("repetition_penalty", sampling.repetition_penalty)
        .with("logit_bias", &sampling.logit_bias)
        .with("stop", &request.stop)
        .with_some("seed", request.seed)
        .with_some("n", request.choice_count)
}

fn message(message: &Message) -> Object {
    let role = match message.role() {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Unspecified => panic!("a message has a role"),
    };
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    let mut object = Object::default().with("role", role).with_some("name", unless_empty(&message.name));
    for kind in message.parts.iter().filter_map(|part| part.kind.as_ref()) {
        match kind {
            Kind::Text(text) => content.push(raw(json!({ "type": "text", "text": text }))),
            Kind::Image(image) => content.push(raw(picture(image))),
            Kind::ToolCall(call) => calls.push(tool_call(call)),
            Kind::Reasoning(reasoning) => object = object.with("reasoning_content", &reasoning.text),
            Kind::ToolResult(result) => {
                return object.with("tool_call_id", &result.tool_call_id).with("content", &result.text);
            }
            Kind::Opaque(_) => panic!("no dialect reads these"),
        }
    }
    object.with_some("content", Some(content).filter(|content| !content.is_empty())).with("tool_calls", calls)
}

fn picture(image: &Image) -> Object {
    let url = match image.source.as_ref().expect("a picture has a source") {
        Source::Uri(uri) => uri.clone(),
        Source::Data(data) => format!("data:{};base64,{}", image.media_type, STANDARD.encode(data)),
    };
    let url = Object::default().with("url", url).with_some("detail", unless_empty(&image.detail));
    Object::default().with("type", "image_url").with("image_url", url)
}

fn tool_call(call: &ToolCall) -> serde_json::Value {
    json!({ "type": "function", "id": call.id, "function": { "name": call.name, "arguments": call.arguments_json } })
}

fn tool(tool: &Tool) -> Object {
    let function = Object::default()
        .with("name", &tool.name)
        .with("description", &tool.description)
        .with("strict", tool.strict)
        .with_some("parameters", kept(&tool.parameters_json_schema));
    Object::default().with("type", "function").with("function", function)
}

fn tool_choice(choice: &ToolChoice) -> Option<Raw> {
    Some(match choice.choice.as_ref()? {
        Choice::ToolName(name) => raw(json!({ "type": "function", "function": { "name": name } })),
        Choice::Mode(mode) => raw(match Mode::try_from(*mode) {
            Ok(Mode::None) => "none",
            Ok(Mode::Required) => "required",
            _ => "auto",
        }),
    })
}

fn response_format(format: &ResponseFormat) -> Object {
    let of_type = |name: &str| Object::default().with("type", name);
    match format.format.as_ref().expect("it has a form") {
        Format::Text(_) => of_type("text"),
        Format::JsonObject(_) => of_type("json_object"),
        Format::JsonSchema(schema) => {
            let inner = Object::default()
                .with("name", &schema.name)
                .with_some("description", unless_empty(&schema.description))
                .with("strict", schema.strict)
                .with_some("schema", kept(&schema.json_schema));
            of_type("json_schema").with("json_schema", inner)
        }
        Format::Regex(regex) => of_type("regex").with("regex", regex),
        Format::LarkGrammar(grammar) => of_type("lark_grammar").with("lark_grammar", grammar),
    }
}

fn effort(effort: ReasoningEffort) -> Option<&'static str> {
    Some(match effort {
        ReasoningEffort::Unspecified => return None,
        ReasoningEffort::None => "none",
        ReasoningEffort::Minimal => "minimal",
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
    })
}
