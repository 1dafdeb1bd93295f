use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{ChoiceFinished, Delta, Frame, TokenLogprob, ToolCallDelta};

use super::completion::Kind;
use super::events::Events;
use super::logprobs::Logprobs;
use super::{append, finish_reason};

/// Bytes that keep an idle connection open: a comment, which every reader of server-sent events skips.
pub const KEEPALIVE: &[u8] = b": keepalive\n\n";

const CHUNK: Kind = Kind { prefix: "chatcmpl", object: "chat.completion.chunk" };

/// Renders the frames of one stream as server-sent events (`chat.completion.chunk`).
///
/// Each answer begins with a chunk that says its role, and ends with one that says why it stopped. `[DONE]` is
/// sent for `Finished` only; a stream that fails before it ends with
/// [`render_error_event`](super::render_error_event).
#[derive(Debug)]
pub struct ChatStream {
    events: Events,
    answers: Vec<Answer>,
}

/// How far one answer is.
#[derive(Debug)]
struct Answer {
    choice: u32,
    part: Option<u32>,
    in_call: bool,
    calls: u32,
}

impl ChatStream {
    /// Makes the renderer of a stream. With `include_usage` there is a chunk without choices that says what was
    /// consumed, and every other chunk says `"usage":null`.
    pub fn new(include_usage: bool) -> Self {
        Self { events: Events::new(CHUNK, include_usage), answers: Vec::new() }
    }

    /// Appends the events of a frame. Some frames have none.
    pub fn push(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match &frame.body {
            Some(Body::Started(started)) => self.events.started(started),
            Some(Body::Delta(delta)) => self.delta(delta, out),
            Some(Body::ChoiceFinished(finished)) => self.choice_finished(*finished, out),
            Some(Body::Usage(usage)) => self.events.usage(usage, out),
            Some(Body::Finished(_)) => Events::done(out),
            None => {}
        }
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let calls_tool = matches!(delta.content, Some(Content::ToolCall(_)));
        let shows_nothing = shows_nothing(delta);
        if shows_nothing && !self.answers.iter().any(|answer| answer.choice == delta.choice) {
            return;
        }
        let at = self.answer(delta.choice, calls_tool, out);
        let answer = &mut self.answers[at];
        // The same rule as in `pointsman_proto::fold`: a piece that goes on where the last one stopped.
        let continues = answer.part.replace(delta.part) == Some(delta.part) && answer.in_call;
        if delta.content.is_some() {
            answer.in_call = calls_tool;
        }
        if calls_tool && !continues {
            answer.calls = answer.calls.saturating_add(1);
        }
        let call = answer.calls.saturating_sub(1);
        if shows_nothing {
            return;
        }

        self.begin(delta.choice, out);
        match &delta.content {
            Some(Content::Text(text)) => {
                out.extend_from_slice(b"\"content\":");
                append(out, text);
            }
            Some(Content::Reasoning(text)) => {
                out.extend_from_slice(b"\"reasoning_content\":");
                append(out, text);
            }
            Some(Content::ToolCall(piece)) => tool_call(piece, call, !continues, out),
            // What only its origin can read has no place in this format.
            Some(Content::Opaque(_)) | None => {}
        }
        self.end(&delta.logprobs, None, out);
    }

    fn choice_finished(&mut self, finished: ChoiceFinished, out: &mut Vec<u8>) {
        self.answer(finished.choice, false, out);
        self.begin(finished.choice, out);
        self.end(&[], Some(finish_reason(finished.reason)), out);
    }

    /// Returns where an answer stands in `answers`; a new one begins with its role. Its content is null if it
    /// begins with a tool call, as OpenAI does, so that it stays null if no text comes.
    fn answer(&mut self, choice: u32, calls_tool: bool, out: &mut Vec<u8>) -> usize {
        if let Some(at) = self.answers.iter().position(|answer| answer.choice == choice) {
            return at;
        }
        self.begin(choice, out);
        out.extend_from_slice(b"\"role\":\"assistant\",\"content\":");
        out.extend_from_slice(if calls_tool { b"null" } else { b"\"\"" });
        self.end(&[], None, out);
        self.answers.push(Answer { choice, part: None, in_call: false, calls: 0 });
        self.answers.len() - 1
    }

    fn begin(&self, choice: u32, out: &mut Vec<u8>) {
        self.events.begin(choice, out);
        out.extend_from_slice(b",\"delta\":{");
    }

    fn end(&self, logprobs: &[TokenLogprob], finish_reason: Option<&str>, out: &mut Vec<u8>) {
        if logprobs.is_empty() && finish_reason.is_none() {
            out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":null");
        } else {
            out.extend_from_slice(b"},\"logprobs\":");
            append(out, &Logprobs::of(logprobs));
            out.extend_from_slice(b",\"finish_reason\":");
            append(out, &finish_reason);
        }
        self.events.end(out);
    }
}

/// Tells whether a piece has nothing that this format shows, such as one that only counts the tokens of what is
/// held back until it is known to be a tool call. Some readers would take its empty text for the begin of one.
fn shows_nothing(delta: &Delta) -> bool {
    let is_empty = match &delta.content {
        Some(Content::Text(text) | Content::Reasoning(text)) => text.is_empty(),
        Some(Content::ToolCall(_)) => false,
        Some(Content::Opaque(_)) | None => true,
    };
    is_empty && delta.logprobs.is_empty()
}

fn tool_call(piece: &ToolCallDelta, number: u32, first: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
    append(out, &number);
    if first {
        out.extend_from_slice(b",\"id\":");
        append(out, &piece.id);
        out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
        append(out, &piece.name);
        out.extend_from_slice(b",\"arguments\":");
    } else {
        out.extend_from_slice(b",\"function\":{\"arguments\":");
    }
    append(out, &piece.arguments_json);
    out.extend_from_slice(b"}}]");
}
