//! Events put together again, as clients do.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a client has of a stream.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// How often the stream said that it was done.
    pub(super) done: usize,
    /// The answers, by their index.
    pub(super) answers: BTreeMap<u64, Answer>,
    /// The last usage that was told.
    pub(super) usage: Value,
}

/// One answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) reasoning: String,
    /// Id, name and arguments.
    pub(super) calls: Vec<[String; 3]>,
    pub(super) logprobs: Vec<Value>,
    /// Where a text's tokens begin.
    pub(super) offsets: Vec<Value>,
    pub(super) finish_reason: Value,
}

/// Reads events; panics where one is none.
pub(super) fn receive(bytes: &[u8]) -> Received {
    let text = str::from_utf8(bytes).expect("events are UTF-8");
    let mut received = Received::default();
    for event in text.split_terminator("\n\n") {
        let data = event.strip_prefix("data: ").expect("an event has data");
        assert!(!data.contains(['\n', '\r']), "{data:?}");
        if data == "[DONE]" {
            received.done += 1;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).expect("an event is JSON");
        if !chunk["usage"].is_null() || chunk["choices"] == Value::Array(Vec::new()) {
            received.usage = chunk["usage"].clone();
        }
        for choice in chunk["choices"].as_array().expect("an event has choices") {
            received.answers.entry(choice["index"].as_u64().expect("an index")).or_default().add(choice);
        }
    }
    assert!(bytes.is_empty() || bytes.ends_with(b"\n\n"));
    received
}

/// Reads the choices of a whole answer the same way.
pub(super) fn whole(bytes: &[u8]) -> (BTreeMap<u64, Answer>, Value) {
    let mut body: Value = serde_json::from_slice(bytes).expect("an answer is JSON");
    let mut answers = BTreeMap::new();
    for choice in body["choices"].as_array_mut().expect("an answer has choices") {
        choice["delta"] = choice["message"].take();
        let calls = choice["delta"]["tool_calls"].as_array_mut();
        for (index, call) in calls.into_iter().flatten().enumerate() {
            call["index"] = index.into();
        }
        let mut answer = Answer::default();
        answer.add(choice);
        let twice = answers.insert(choice["index"].as_u64().expect("an index"), answer);
        assert!(twice.is_none());
    }
    (answers, body["usage"].take())
}

impl Answer {
    fn add(&mut self, choice: &Value) {
        let delta = &choice["delta"];
        for text in [&choice["text"], &delta["content"]] {
            self.text.push_str(text.as_str().unwrap_or_default());
        }
        self.reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(call);
        }
        // A list of tokens in one API, lists of what is said of them in the other.
        let lists = &choice["logprobs"];
        let tokens = lists["content"].as_array().or_else(|| lists["top_logprobs"].as_array());
        self.logprobs.extend(tokens.into_iter().flatten().cloned());
        self.offsets.extend(lists["text_offset"].as_array().into_iter().flatten().cloned());
        if !choice["finish_reason"].is_null() {
            self.finish_reason = choice["finish_reason"].clone();
        }
    }

    fn call(&mut self, call: &Value) {
        let index = call["index"].as_u64().and_then(|index| usize::try_from(index).ok()).expect("a number");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let function = &call["function"];
        if index == self.calls.len() {
            self.calls.push([text(&call["id"]), text(&function["name"]), String::new()]);
        } else {
            assert!(call["id"].is_null() && index + 1 == self.calls.len(), "{call}");
        }
        self.calls[index][2].push_str(&text(&function["arguments"]));
    }
}
