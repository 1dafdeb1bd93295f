//! Finds calls in a stream of text, and tells them as they come: the name first, then the arguments.
//!
//! A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the form of Hermes and Qwen. What looks
//! like one and is none stays text, to the letter. Once a call was told, its arguments are what the model wrote.

use pointsman_proto::inference::v1::ToolCallDelta;
use pointsman_proto::inference::v1::delta::Content;
use serde_json::Value;

use super::scan::{Scan, Scanner};
use crate::template::{CALL_BEGINS, CALL_ENDS};

/// Tells calls from text.
#[derive(Debug)]
pub(crate) struct CallParser {
    /// Of the tools that were offered. What calls another is no call.
    names: Vec<String>,
    /// Text of which it is not known yet what it is.
    held: String,
    call: Option<Call>,
    /// Whether text was told since the last call.
    in_text: bool,
    calls: u32,
}

/// A call that has begun.
#[derive(Debug, Default)]
struct Call {
    /// All of it, until it was told: it is text if it turns out to be no call.
    raw: String,
    scanner: Scanner,
    name: Option<String>,
    /// Arguments that came before the name.
    arguments: String,
    told: bool,
    /// Whether its arguments have come, or begun to.
    argued: bool,
    /// Whether the object is complete, and only the end tag is missing.
    closed: bool,
}

impl CallParser {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, held: String::new(), call: None, in_text: false, calls: 0 }
    }

    /// Takes the next piece, and returns what is decided.
    pub(crate) fn push(&mut self, piece: &str) -> Vec<Content> {
        self.held.push_str(piece);
        let mut contents = Vec::new();
        while self.step(&mut contents) {}
        contents
    }

    /// Returns what was held back, once the answer has ended.
    pub(crate) fn finish(&mut self) -> Vec<Content> {
        let mut contents = Vec::new();
        if let Some(mut call) = self.call.take() {
            if call.told || call.closed {
                let held = std::mem::take(&mut self.held);
                if !call.closed {
                    call.arguments.push_str(&held);
                }
                contents.extend(call.rest());
                self.calls += 1;
                self.in_text = false;
            } else {
                self.held.insert_str(0, &call.raw);
            }
        }
        let rest = std::mem::take(&mut self.held);
        let rest = if self.between_calls() { rest.trim() } else { rest.as_str() };
        if !rest.is_empty() {
            contents.push(Content::Text(rest.to_owned()));
        }
        contents
    }

    /// Whether the answer calls any tool so far.
    pub(crate) fn called(&self) -> bool {
        self.calls > 0 || self.call.as_ref().is_some_and(|call| call.told)
    }

    /// Whether whitespace is the space between calls, and no text.
    fn between_calls(&self) -> bool {
        self.calls > 0 && !self.in_text
    }

    /// Decides about a part of what is held; false when nothing more can be decided.
    fn step(&mut self, contents: &mut Vec<Content>) -> bool {
        match self.call.take() {
            Some(call) => self.read_call(call, contents),
            None => self.read_text(contents),
        }
    }

    fn read_text(&mut self, contents: &mut Vec<Content>) -> bool {
        let tag = self.held.find(CALL_BEGINS);
        let decided = tag.unwrap_or_else(|| self.held.len() - undecided(&self.held));
        let rest = self.held.split_off(decided);
        let mut text = std::mem::replace(&mut self.held, rest);
        if tag.is_some() {
            // Whitespace before a call belongs to neither.
            text.truncate(text.trim_end().len());
        }
        if self.between_calls() {
            text.drain(..text.len() - text.trim_start().len());
        }
        if !text.is_empty() {
            self.in_text = true;
            contents.push(Content::Text(text));
        }
        if tag.is_none() {
            return false;
        }
        self.held.drain(..CALL_BEGINS.len());
        self.call = Some(Call { raw: CALL_BEGINS.to_owned(), ..Call::default() });
        true
    }

    fn read_call(&mut self, mut call: Call, contents: &mut Vec<Content>) -> bool {
        while let Some(letter) = self.held.chars().next() {
            if call.closed {
                return self.read_end(call, contents);
            }
            // An end where none belongs: the arguments are broken, and over.
            if letter == '<' && call.told && !call.scanner.in_text() {
                if self.held.starts_with(CALL_ENDS) {
                    call.closed = true;
                    continue;
                }
                if CALL_ENDS.starts_with(self.held.as_str()) {
                    break;
                }
            }
            self.held.drain(..letter.len_utf8());
            if !call.take(letter, &self.names) {
                // No call: its beginning is text, what follows may hold another.
                contents.push(Content::Text(std::mem::take(&mut call.raw)));
                self.in_text = true;
                return true;
            }
        }
        contents.extend(call.tell());
        let closed = call.closed;
        self.call = Some(call);
        closed && !self.held.is_empty()
    }

    /// Reads the end tag, and the whitespace before it.
    fn read_end(&mut self, mut call: Call, contents: &mut Vec<Content>) -> bool {
        contents.extend(call.tell());
        let after = self.held.trim_start();
        let missing = !after.starts_with(CALL_ENDS) && !CALL_ENDS.starts_with(after);
        if !missing && !after.starts_with(CALL_ENDS) {
            self.call = Some(call);
            return false;
        }
        let used = if missing { 0 } else { self.held.len() - after.len() + CALL_ENDS.len() };
        self.held.drain(..used);
        contents.extend(call.rest());
        self.calls += 1;
        self.in_text = false;
        true
    }
}

impl Call {
    /// Takes the next letter of the call. False: it is none.
    fn take(&mut self, letter: char, names: &[String]) -> bool {
        if !self.told {
            self.raw.push(letter);
        }
        match self.scanner.push(letter) {
            Scan::More => true,
            Scan::Broken => self.told,
            Scan::Value { key, text } => self.member(&key, &text, names),
            Scan::Piece { key } => {
                if is_arguments(&key) {
                    self.argued = true;
                    self.arguments.push(letter);
                }
                true
            }
            Scan::LastValue { key, text } => self.member(&key, &text, names) && self.close(),
            Scan::Closed => self.close(),
        }
    }

    /// Ends the object. False: it is no call.
    fn close(&mut self) -> bool {
        self.closed = true;
        self.name.is_some()
    }

    /// Takes a member whose value is complete and was not told in pieces. False: this is no call.
    fn member(&mut self, key: &str, text: &str, names: &[String]) -> bool {
        let value = serde_json::from_str::<Value>(text);
        match (key, value) {
            ("name", Ok(Value::String(name))) if names.contains(&name) && self.name.is_none() => {
                self.name = Some(name);
                true
            }
            ("name", _) => false,
            // Some models write the arguments as a text that holds JSON.
            (key, Ok(Value::String(inner))) if is_arguments(key) => {
                let is_object = matches!(serde_json::from_str(&inner), Ok(Value::Object(_)));
                if is_object && !self.argued {
                    (self.argued, self.arguments) = (true, inner);
                }
                is_object
            }
            (key, _) => !is_arguments(key),
        }
    }

    /// Tells what is known and was not told.
    fn tell(&mut self) -> Option<Content> {
        let name = self.name.as_ref()?;
        if !self.argued || (self.told && self.arguments.is_empty()) {
            return None;
        }
        let first = !std::mem::replace(&mut self.told, true);
        if first {
            self.raw.clear();
        }
        Some(Content::ToolCall(ToolCallDelta {
            id: if first { new_id() } else { String::new() },
            name: if first { name.clone() } else { String::new() },
            arguments_json: std::mem::take(&mut self.arguments),
        }))
    }

    /// Tells a call without arguments, which is over.
    fn rest(mut self) -> Option<Content> {
        if !self.told && !self.argued {
            (self.argued, self.arguments) = (true, "{}".to_owned());
        }
        self.tell()
    }
}

fn is_arguments(key: &str) -> bool {
    key == "arguments" || key == "parameters"
}

/// Names a call.
fn new_id() -> String {
    format!("call_{:024x}", rand::random::<u128>() >> 32)
}

/// Length of the end of a text that may begin a call, with the whitespace before it.
fn undecided(text: &str) -> usize {
    let tag = (1..CALL_BEGINS.len()).rev().find(|length| text.ends_with(&CALL_BEGINS[..*length])).unwrap_or(0);
    text.len() - text[..text.len() - tag].trim_end().len()
}

#[cfg(test)]
mod tests;
