//! The conversation.

use std::borrow::Cow;

use pointsman_proto::inference::v1::{Message, Part, Reasoning, Role, ToolCall, part::Kind};

use super::body::{MessageBody, ToolCallBody};
use super::{content, uncarried};
use crate::json::Given;
use crate::openai::parameter;
use crate::problems::Problems;

/// As the contract has it for texts, in bytes.
const LONGEST_REFUSAL: usize = 4 << 20;

pub(in crate::openai) fn convert(given: Given<Vec<Given<MessageBody<'_>>>>, problems: &mut Problems) -> Vec<Message> {
    let bodies = given.take("messages", problems).unwrap_or_default();
    let mut messages = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.into_iter().enumerate() {
        // A place holder keeps the numbers of those that follow.
        let body = body.element(format_args!("messages[{index}]"), problems);
        messages.push(body.map(|body| message(body, index, problems)).unwrap_or_default());
    }
    messages
}

fn message(body: MessageBody<'_>, index: usize, problems: &mut Problems) -> Message {
    let p = problems;
    let role = role(body.role, index, p);
    let name = body.name.take(format_args!("messages[{index}].name"), p).unwrap_or_default();
    let call_id = body.tool_call_id.take(format_args!("messages[{index}].tool_call_id"), p);
    let mut refusal = body.refusal.take(format_args!("messages[{index}].refusal"), p).unwrap_or_default();
    if refusal.len() > LONGEST_REFUSAL {
        // As a part it would be named as one of the content's.
        p.invalid(format_args!("messages[{index}].refusal"), "must have at most 4 MiB");
        refusal = "-".to_owned();
    }
    let reasoning = body.reasoning_content.take(format_args!("messages[{index}].reasoning_content"), p);
    let reasoning = reasoning.unwrap_or_default();
    let calls = body.tool_calls.take(format_args!("messages[{index}].tool_calls"), p).unwrap_or_default();
    body.others.check(format_args!("messages[{index}]."), uncarried::MESSAGE, parameter, p);

    for (field, given, owner) in [
        ("tool_call_id", call_id.is_some(), Role::Tool),
        ("refusal", !refusal.is_empty(), Role::Assistant),
        ("reasoning_content", !reasoning.is_empty(), Role::Assistant),
        ("tool_calls", !calls.is_empty(), Role::Assistant),
    ] {
        if given && role != owner && role != Role::Unspecified {
            let owner = if owner == Role::Tool { "tool" } else { "assistant" };
            p.invalid(format_args!("messages[{index}].{field}"), format!("belongs in messages of the role {owner}"));
        }
    }

    let mut kinds = Vec::new();
    if !reasoning.is_empty() {
        kinds.push(Kind::Reasoning(Reasoning { text: reasoning, ..Reasoning::default() }));
    }
    if role == Role::Tool {
        kinds.extend(content::tool_result(body.content, call_id, index, p));
    } else {
        content::convert(body.content, role, index, &mut kinds, p);
    }
    if !refusal.is_empty() {
        kinds.push(Kind::Text(refusal));
    }
    for (number, call) in calls.into_iter().enumerate() {
        // A call with a problem leaves a place holder that breaks no rule.
        let holder = || ToolCall { id: "-".to_owned(), name: "-".to_owned(), arguments_json: String::new() };
        kinds.push(Kind::ToolCall(tool_call(call, index, number, p).unwrap_or_else(holder)));
    }
    if kinds.is_empty() {
        // A tool may return nothing, so that for it only the field itself can be missing.
        let rule = if role == Role::Tool { "is required" } else { "must not be empty" };
        p.invalid_if_new(format_args!("messages[{index}].content"), rule);
    }
    let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect();
    Message { role: role.into(), parts, name }
}

/// Returns the role; unspecified if there is none that is good, which is a problem then.
fn role(given: Given<Cow<'_, str>>, index: usize, problems: &mut Problems) -> Role {
    let field = format_args!("messages[{index}].role");
    let role = given.take(field, problems);
    match role.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some("function") => {
            problems.unsupported(field, "`function` is replaced by `tool`");
            Role::Unspecified
        }
        // That it is wrong or missing is said by the rules of the contract.
        Some(_) | None => Role::Unspecified,
    }
}

fn tool_call(given: Given<ToolCallBody<'_>>, index: usize, number: usize, problems: &mut Problems) -> Option<ToolCall> {
    let p = problems;
    let body = given.element(format_args!("messages[{index}].tool_calls[{number}]"), p)?;
    let at = |field: &str| format!("messages[{index}].tool_calls[{number}].{field}");
    if let Some("custom") = body.kind.text() {
        p.unsupported(at("type"), "must be `function`");
        return None;
    }
    if !matches!(body.kind.take(at("type"), p).as_deref(), None | Some("function")) {
        p.invalid(at("type"), "must be `function`");
    }
    body.others.check(at(""), uncarried::TOOL_CALL, parameter, p);
    let id = body.id.take(at("id"), p).unwrap_or_default();
    if id.is_empty() {
        p.invalid_if_new(at("id"), "is required");
    }
    let Some(function) = body.function.take(at("function"), p) else {
        p.invalid_if_new(at("function"), "is required");
        return None;
    };
    function.others.check(at("function."), uncarried::NONE, parameter, p);
    let name = function.name.take(at("function.name"), p).unwrap_or_default();
    if name.is_empty() {
        p.invalid_if_new(at("function.name"), "is required");
    }
    let arguments = function.arguments.take(at("function.arguments"), p);
    Some(ToolCall { id, name, arguments_json: arguments.unwrap_or_default() })
}
