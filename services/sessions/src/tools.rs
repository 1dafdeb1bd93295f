//! The calls that a turn ended in, and what becomes of them: the next turn answers or cancels each.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use pointsman_proto::inference::v1::{Message, Part, Role, ToolResult, part};
use pointsman_proto::sessions::v1::{Session, Turn};
use tonic_types::FieldViolation;

use crate::store::{Awaited, micros};

/// The calls that a turn leaves open, however it ended: one that was cut off needs a result, too, before anything else is said.
pub(crate) fn left_open(turn: &Turn) -> Vec<String> {
    // An id that could not be kept apart from others is none that a caller could answer.
    calls(turn.output.iter()).filter(|id| !id.chars().any(char::is_control)).map(str::to_owned).collect()
}

/// What a session awaits of these calls from now on.
pub(crate) fn awaited<'a>(calls: &'a [String], session: &Session) -> Awaited<'a> {
    match calls {
        [] => Awaited::default(),
        calls => Awaited { calls, until: micros(expire_time(session)) },
    }
}

/// How long results are awaited, where the session does not say.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// When calls that are awaited from now on count as failed.
pub(crate) fn expire_time(session: &Session) -> SystemTime {
    let own = session.tool_timeout.and_then(|timeout| Duration::try_from(timeout).ok());
    SystemTime::now() + own.unwrap_or(TIMEOUT)
}

/// Holds the results in some messages against the calls that are awaited. Returns results for those that have none, which
/// go before the messages; or says which results answer nothing.
pub(crate) fn answered(
    awaited: &[String],
    have_expired: bool,
    messages: &[Message],
) -> Result<Vec<Message>, Vec<FieldViolation>> {
    let own: HashSet<&str> = calls(messages.iter()).collect();
    let mut open: Vec<&str> = awaited.iter().map(String::as_str).collect();
    let mut violations = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        for (place, part) in message.parts.iter().enumerate() {
            let Some(part::Kind::ToolResult(result)) = &part.kind else { continue };
            let id = result.tool_call_id.as_str();
            let was_open = open.len();
            open.retain(|call| *call != id);
            if was_open == open.len() && !own.contains(id) {
                let field = format!("messages[{index}].parts[{place}].tool_result.tool_call_id");
                let message = match awaited.is_empty() {
                    true => "the session awaits no result: leave it out, or send the call with it",
                    false => {
                        "the session awaits no result of this call, or has it already; `awaited_tool_call_ids` of the session says which it awaits"
                    }
                };
                violations.push(FieldViolation::new(field, message));
            }
        }
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    let text = if have_expired { "the call has expired" } else { "the call was cancelled" };
    Ok(open.into_iter().map(|id| failed(id, text)).collect())
}

/// The calls in messages that no model made which have no result there.
pub(crate) fn without_results(messages: &[Message]) -> Vec<String> {
    let mut open: Vec<&str> = calls(messages.iter()).collect();
    for part in messages.iter().flat_map(|message| &message.parts) {
        if let Some(part::Kind::ToolResult(result)) = &part.kind {
            open.retain(|id| *id != result.tool_call_id);
        }
    }
    open.into_iter().map(str::to_owned).collect()
}

fn calls<'a>(messages: impl Iterator<Item = &'a Message>) -> impl Iterator<Item = &'a str> {
    messages.flat_map(|message| &message.parts).filter_map(|part| match &part.kind {
        Some(part::Kind::ToolCall(call)) => Some(call.id.as_str()),
        _ => None,
    })
}

fn failed(id: &str, text: &str) -> Message {
    let result = ToolResult { tool_call_id: id.to_owned(), text: text.to_owned(), failed: true };
    let part = Part { kind: Some(part::Kind::ToolResult(result)) };
    Message { role: Role::Tool.into(), parts: vec![part], name: String::new() }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::{FinishReason, Message, Part, Role, ToolCall, ToolResult, part};
    use pointsman_proto::sessions::v1::Turn;

    use super::{answered, left_open, without_results};

    fn message(role: Role, kinds: Vec<part::Kind>) -> Message {
        let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect();
        Message { role: role.into(), parts, name: String::new() }
    }

    fn call(id: &str) -> part::Kind {
        part::Kind::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments_json: "{}".into() })
    }

    fn result(id: &str) -> Message {
        let result = ToolResult { tool_call_id: id.into(), text: "1".into(), failed: false };
        message(Role::Tool, vec![part::Kind::ToolResult(result)])
    }

    fn awaited(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn ids(messages: &[Message]) -> Vec<(String, String)> {
        let results = messages.iter().flat_map(|message| &message.parts).filter_map(|part| match &part.kind {
            Some(part::Kind::ToolResult(result)) => Some((result.tool_call_id.clone(), result.text.clone())),
            _ => None,
        });
        results.collect()
    }

    #[test]
    fn a_call_that_no_model_made_comes_with_its_result() {
        let asked = message(Role::Assistant, vec![call("a"), call("b")]);
        assert_eq!(without_results(&[asked.clone(), result("b")]), ["a"]);
        assert!(without_results(&[asked, result("b"), result("a")]).is_empty());
    }

    #[test]
    fn what_is_not_answered_is_cancelled_or_has_expired() {
        let both = awaited(&["a", "b"]);
        assert!(answered(&both, false, &[result("b"), result("a")]).unwrap().is_empty());
        let user = message(Role::User, vec![part::Kind::Text("never mind".into())]);
        for (expired, text) in [(false, "the call was cancelled"), (true, "the call has expired")] {
            let put = answered(&both, expired, &[result("a"), user.clone()]).unwrap();
            assert_eq!(ids(&put), [("b".to_owned(), text.to_owned())]);
        }
    }

    #[test]
    fn a_result_that_answers_nothing_is_refused_by_its_place() {
        for (open, messages, fields) in [
            (awaited(&[]), vec![result("a")], vec![0]),
            (awaited(&["a"]), vec![result("a"), result("a")], vec![1]),
            (awaited(&["a"]), vec![result("a"), result("c"), result("d")], vec![1, 2]),
            // A call that a caller brings along with its result is its own affair.
            (awaited(&[]), vec![message(Role::Assistant, vec![call("x")]), result("x")], vec![]),
        ] {
            let told = answered(&open, false, &messages).err().unwrap_or_default();
            let want: Vec<_> =
                fields.iter().map(|index| format!("messages[{index}].parts[0].tool_result.tool_call_id")).collect();
            assert_eq!(told.into_iter().map(|it| it.field).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn a_turn_that_ends_in_calls_leaves_them_open() {
        let output = message(Role::Assistant, vec![part::Kind::Text("wait".into()), call("a"), call("b")]);
        let turn = |reason: FinishReason| Turn {
            output: Some(output.clone()),
            finish_reason: reason.into(),
            ..Turn::default()
        };
        for reason in [FinishReason::ToolCalls, FinishReason::Length] {
            assert_eq!(left_open(&turn(reason)), ["a", "b"]);
        }
        assert!(left_open(&Turn::default()).is_empty());
    }
}
