//! The turns before, and which of them are told together or not at all.

use std::ops::Range;

use pointsman_proto::inference::v1::{Message, part};
use pointsman_proto::sessions::v1::Turn;

use super::estimate;

/// One turn before.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) revision: u64,
    pub(super) messages: Vec<Message>,
    /// Whether it begins with results of calls that it did not make.
    pub(super) answers: bool,
    /// Whether it ends in calls.
    pub(super) asks: bool,
    pub(super) tokens: u64,
    pub(super) pinned: bool,
    pub(super) target: String,
    /// What the target has counted for its prompt, and what was estimated for the same.
    pub(super) counted: Option<(u64, u64)>,
}

impl Past {
    pub(super) fn of(turn: Turn) -> Self {
        let counted = turn.usage.and_then(|usage| usage.input_tokens).map(u64::from);
        let counted = counted.zip(Some(turn.estimated_prompt_tokens));
        // An answer without a word is no message that a model could be told.
        let said = turn.output.filter(|message| !message.parts.is_empty());
        let asks = said.as_ref().is_some_and(has_calls);
        let answers = answers(&turn.input);
        let messages: Vec<Message> = turn.input.into_iter().chain(said).collect();
        Self {
            revision: turn.revision,
            answers,
            asks,
            tokens: estimate(&messages),
            messages,
            pinned: turn.pinned,
            target: turn.target,
            counted: counted.filter(|(counted, estimated)| *counted > 0 && *estimated > 0),
        }
    }
}

/// Turns that are told together or not at all: calls stand before their results.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) turns: Range<usize>,
    pub(super) tokens: u64,
    pub(super) messages: usize,
    /// Whether it is never left out: one of them is pinned, or the request answers its calls.
    pub(super) stays: bool,
}

/// Puts calls and their results together. What lacks its other half, as where that is too old to be read, is nothing that a
/// model could be told.
pub(super) fn units(turns: &[Past], is_answered: bool) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut from = 0;
    while from < turns.len() {
        let mut to = from + 1;
        let answers = |last: &Past, next: &Past| next.answers && next.revision == last.revision + 1;
        while turns[to - 1].asks && turns.get(to).is_some_and(|next| answers(&turns[to - 1], next)) {
            to += 1;
        }
        let is_last = to == turns.len();
        let is_whole = !turns[from].answers && (!turns[to - 1].asks || (is_last && is_answered));
        if is_whole {
            let of = &turns[from..to];
            units.push(Unit {
                turns: from..to,
                tokens: of.iter().map(|turn| turn.tokens).sum(),
                messages: of.iter().map(|turn| turn.messages.len()).sum(),
                stays: of.iter().any(|turn| turn.pinned) || turns[to - 1].asks,
            });
        }
        from = to;
    }
    units
}

/// Whether messages begin with results of calls that are not theirs.
pub(super) fn answers(messages: &[Message]) -> bool {
    let parts = messages.iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref());
    let mut calls = parts.take_while(|kind| !matches!(kind, part::Kind::ToolCall(_)));
    calls.any(|kind| matches!(kind, part::Kind::ToolResult(_)))
}

fn has_calls(message: &Message) -> bool {
    message.parts.iter().any(|part| matches!(part.kind, Some(part::Kind::ToolCall(_))))
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::{Message, Part, Role, ToolCall, ToolResult, part};
    use pointsman_proto::sessions::v1::Turn;

    use super::{Past, answers, units};

    fn message(role: Role, kinds: Vec<part::Kind>) -> Message {
        let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect();
        Message { role: role.into(), parts, name: String::new() }
    }

    fn call() -> part::Kind {
        part::Kind::ToolCall(ToolCall { id: "a".into(), name: "f".into(), arguments_json: "{}".into() })
    }

    fn result() -> part::Kind {
        part::Kind::ToolResult(ToolResult { tool_call_id: "a".into(), text: "1".into(), failed: false })
    }

    /// A turn that says something (`s`), answers (`r`) or brings calls with their results (`b`), and that ends in words (`w`), calls (`c`),
    /// or nothing (`-`); in capitals it is pinned.
    fn turn(revision: u64, kind: &str) -> Turn {
        let words = || part::Kind::Text("words".into());
        let lower = kind.to_lowercase();
        let input = match &lower[..1] {
            "s" => vec![message(Role::User, vec![words()])],
            "r" => vec![message(Role::Tool, vec![result()]), message(Role::User, vec![words()])],
            _ => vec![message(Role::Assistant, vec![call()]), message(Role::Tool, vec![result()])],
        };
        let output = match &lower[1..] {
            "w" => Some(message(Role::Assistant, vec![words()])),
            "c" => Some(message(Role::Assistant, vec![words(), call()])),
            _ => None,
        };
        Turn { revision, input, output, pinned: kind != lower, ..Turn::default() }
    }

    #[test]
    fn calls_and_their_results_are_told_together_or_not_at_all() {
        for (first, kinds, is_answered, want) in [
            (1, "sw sw", false, "0..1 1..2"),
            (1, "sw sc rw sw", false, "0..1 1..3 3..4"),
            (1, "sc rc rc rw", false, "0..4"),
            (1, "sc r- sw", false, "0..2 2..3"),
            (1, "bw sw", false, "0..1 1..2"),
            // One of them is pinned, and so both stay.
            (1, "sw SC rw sw", false, "0..1 1..3! 3..4"),
            (1, "sc RW", false, "0..2!"),
            // What the request answers stays.
            (1, "sw sc", true, "0..1 1..2!"),
            (1, "sc rc", true, "0..2!"),
            // The call before is too old to be read.
            (7, "rw sw", false, "1..2"),
            (7, "rc rw sw", false, "2..3"),
        ] {
            let turns: Vec<_> = (first..).zip(kinds.split(' ')).map(|(at, kind)| Past::of(turn(at, kind))).collect();
            let told = units(&turns, is_answered)
                .into_iter()
                .map(|unit| format!("{:?}{}", unit.turns, if unit.stays { "!" } else { "" }));
            assert_eq!(told.collect::<Vec<_>>().join(" "), want, "{kinds}");
        }
        // Pinned, and read alone: the turn that answered it is not there.
        let turns: Vec<_> = [turn(2, "SC"), turn(9, "sw")].into_iter().map(Past::of).collect();
        assert_eq!(units(&turns, false).len(), 1);
    }

    #[test]
    fn who_brings_calls_along_answers_none() {
        assert!(answers(&[message(Role::Tool, vec![result()])]));
        assert!(!answers(&[message(Role::Assistant, vec![call()]), message(Role::Tool, vec![result()])]));
        assert!(!answers(&[]));
    }
}
