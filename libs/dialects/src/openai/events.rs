//! What the events of a stream have around their choices.

use pointsman_proto::inference::v1::{Started, Usage};

use super::append;
use super::completion::{Head, Kind};
use super::usage::UsageBody;

/// Writes server-sent events of one kind. With usage there is an event without choices that says what was consumed, and
/// every other says `"usage":null`.
#[derive(Debug)]
pub(super) struct Events {
    kind: Kind,
    /// What every event begins with, up to its choices.
    head: Vec<u8>,
    include_usage: bool,
}

impl Events {
    pub(super) fn new(kind: Kind, include_usage: bool) -> Self {
        let mut events = Self { kind, head: Vec::new(), include_usage };
        events.started(&Started::default());
        events
    }

    /// From here on events say this of their stream.
    pub(super) fn started(&mut self, started: &Started) {
        self.head = b"data: ".to_vec();
        append(&mut self.head, &Head::of(started, self.kind));
        self.head.pop();
        self.head.extend_from_slice(b",\"choices\":[");
    }

    /// Begins an event with a piece of one answer.
    pub(super) fn begin(&self, choice: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        append(out, &choice);
    }

    /// Ends the event.
    pub(super) fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" });
    }

    /// Writes the event that says what was consumed, where it is wanted.
    pub(super) fn usage(&self, usage: &Usage, out: &mut Vec<u8>) {
        if self.include_usage {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],\"usage\":");
            append(out, &UsageBody::of(usage));
            out.extend_from_slice(b"}\n\n");
        }
    }

    /// Says that the answer is complete.
    pub(super) fn done(out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
