use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Delta, Frame};

use super::answer::TEXT;
use super::logprobs::{TextLogprobs, length};
use crate::openai::events::Events;
use crate::openai::{append, finish_reason};

/// Renders the frames of one stream as server-sent events, each a `text_completion`.
///
/// Each answer ends with an event that says why it stopped. `[DONE]` is sent for `Finished` only.
#[derive(Debug)]
pub struct TextStream {
    events: Events,
    echo: String,
    answers: Vec<Answer>,
}

/// How far one answer is.
#[derive(Debug)]
struct Answer {
    choice: u32,
    /// Where its next token with a log-probability begins.
    offset: u64,
}

/// What one event adds to an answer.
#[derive(Default)]
struct Piece<'a> {
    text: &'a str,
    logprobs: Option<TextLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

impl TextStream {
    /// Makes the renderer of a stream whose answers begin with `echo`. `include_usage` is as in
    /// [`ChatStream`](crate::openai::ChatStream).
    pub fn new(include_usage: bool, echo: String) -> Self {
        Self { events: Events::new(TEXT, include_usage), echo, answers: Vec::new() }
    }

    /// Appends the events of a frame. Some frames have none.
    pub fn push(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match &frame.body {
            Some(Body::Started(started)) => self.events.started(started),
            Some(Body::Delta(delta)) => self.delta(delta, out),
            Some(Body::ChoiceFinished(finished)) => {
                self.answer(finished.choice, out);
                let finish_reason = Some(finish_reason(finished.reason));
                self.event(finished.choice, &Piece { finish_reason, ..Piece::default() }, out);
            }
            Some(Body::Usage(usage)) => self.events.usage(usage, out),
            Some(Body::Finished(_)) => Events::done(out),
            None => {}
        }
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        // Nothing else has a place in this format.
        let text = if let Some(Content::Text(text)) = &delta.content { text } else { "" };
        if text.is_empty() && delta.logprobs.is_empty() {
            return;
        }
        let offset = self.offset_of(delta, out);
        let logprobs = TextLogprobs::of(&delta.logprobs, offset);
        self.event(delta.choice, &Piece { text, logprobs, ..Piece::default() }, out);
    }

    /// Returns where the tokens of a piece begin, and counts them.
    fn offset_of(&mut self, delta: &Delta, out: &mut Vec<u8>) -> u64 {
        let at = self.answer(delta.choice, out);
        let begin = self.answers[at].offset;
        self.answers[at].offset += length(&delta.logprobs);
        begin
    }

    /// Returns where an answer stands in `answers`; a new one begins with the echo.
    fn answer(&mut self, choice: u32, out: &mut Vec<u8>) -> usize {
        if let Some(at) = self.answers.iter().position(|answer| answer.choice == choice) {
            return at;
        }
        if !self.echo.is_empty() {
            self.event(choice, &Piece { text: &self.echo, ..Piece::default() }, out);
        }
        self.answers.push(Answer { choice, offset: 0 });
        self.answers.len() - 1
    }

    fn event(&self, choice: u32, piece: &Piece<'_>, out: &mut Vec<u8>) {
        self.events.begin(choice, out);
        out.extend_from_slice(b",\"text\":");
        append(out, piece.text);
        out.extend_from_slice(b",\"logprobs\":");
        append(out, &piece.logprobs);
        out.extend_from_slice(b",\"finish_reason\":");
        append(out, &piece.finish_reason);
        self.events.end(out);
    }
}
