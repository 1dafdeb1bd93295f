//! Answers: whole, streamed, and that both are the same.

use pointsman_dialects::openai::{ChatStream, KEEPALIVE, render_chat};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::*;
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) fn started() -> Body {
    Body::Started(Box::new(Started {
        request_id: "r-1".to_owned(),
        accept_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
        model: "pip".to_owned(),
        engine_fingerprint: "sim-1".to_owned(),
        ..Started::default()
    }))
}

pub(crate) fn piece(choice: u32, part: u32, content: Content) -> Body {
    Body::Delta(Delta { choice, part, content: Some(content), logprobs: vec![], token_count: None })
}

pub(crate) fn text(text: &str) -> Content {
    Content::Text(text.to_owned())
}

pub(crate) fn call(id: &str, name: &str, arguments: &str) -> Content {
    Content::ToolCall(ToolCallDelta { id: id.to_owned(), name: name.to_owned(), arguments_json: arguments.to_owned() })
}

pub(crate) fn ends(choice: u32, reason: FinishReason) -> Body {
    Body::ChoiceFinished(ChoiceFinished { choice, reason: reason.into() })
}

pub(crate) fn usage() -> Body {
    Body::Usage(Usage { input_tokens: Some(5), output_tokens: Some(2), ..Usage::default() })
}

pub(crate) fn finished() -> Body {
    Body::Finished(Finished::default())
}

pub(crate) fn frames(bodies: Vec<Body>) -> Vec<Frame> {
    let numbered = bodies.into_iter().zip(1..);
    numbered.map(|(body, sequence)| Frame { sequence, body: Some(body) }).collect()
}

fn stream(frames: &[Frame], include_usage: bool) -> String {
    let mut stream = ChatStream::new(include_usage);
    let mut out = Vec::new();
    for frame in frames {
        stream.push(frame, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn whole(frames: Vec<Frame>) -> Value {
    let mut fold = Fold::default();
    for frame in frames {
        fold.push(frame);
    }
    serde_json::from_slice(&render_chat(&fold.finish().unwrap())).unwrap()
}

/// The chunks of a stream, and whether it said that it is done.
fn chunks(events: &str) -> (Vec<Value>, bool) {
    let mut data: Vec<&str> =
        events.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    let done = data.pop_if(|last| *last == "[DONE]").is_some();
    (data.into_iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect(), done)
}

/// Puts chunks together as OpenAI's clients do.
fn accumulate(chunks: &[Value]) -> Value {
    let mut choices: Vec<Value> = Vec::new();
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        let at = choices.iter().position(|known| known["index"] == choice["index"]).unwrap_or_else(|| {
            choices.push(json!({"index": choice["index"], "message": {"refusal": null}, "logprobs": null}));
            choices.len() - 1
        });
        let whole = &mut choices[at];
        if !choice["finish_reason"].is_null() {
            whole["finish_reason"] = choice["finish_reason"].clone();
        }
        for token in choice["logprobs"]["content"].as_array().into_iter().flatten() {
            if whole["logprobs"].is_null() {
                whole["logprobs"] = json!({"content": [], "refusal": null});
            }
            whole["logprobs"]["content"].as_array_mut().unwrap().push(token.clone());
        }
        let message = &mut whole["message"];
        for (name, value) in choice["delta"].as_object().unwrap() {
            match (name.as_str(), value) {
                ("tool_calls", calls) => calls.as_array().unwrap().iter().for_each(|call| add_call(message, call)),
                (name, Value::String(more)) if message[name].is_string() => {
                    message[name] = json!(message[name].as_str().unwrap().to_owned() + more);
                }
                (name, value) => message[name] = value.clone(),
            }
        }
    }
    choices.sort_by_key(|choice| choice["index"].as_u64());
    choices.into()
}

fn add_call(message: &mut Value, call: &Value) {
    if message["tool_calls"].is_null() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    match calls.get_mut(call["index"].as_u64().unwrap() as usize) {
        Some(known) => {
            let arguments = &mut known["function"]["arguments"];
            *arguments =
                json!(arguments.as_str().unwrap().to_owned() + call["function"]["arguments"].as_str().unwrap());
        }
        None => {
            let mut call = call.clone();
            call.as_object_mut().unwrap().remove("index");
            calls.push(call);
        }
    }
}

/// What a client cannot tell apart: no text, and empty text; no reasoning, and empty reasoning.
fn leveled(mut choices: Value) -> Value {
    for choice in choices.as_array_mut().unwrap() {
        let message = choice["message"].as_object_mut().unwrap();
        for name in ["content", "reasoning_content"] {
            if matches!(message.get(name), Some(Value::Null)) || message.get(name) == Some(&json!("")) {
                message.remove(name);
            }
        }
    }
    choices
}

#[test]
fn a_stream_is_these_bytes() {
    let frames = frames(vec![
        started(),
        piece(0, 0, text("He said \"hi\"\n")),
        ends(0, FinishReason::Stop),
        usage(),
        finished(),
    ]);
    let head = concat!(
        r#"data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":1700000000,"model":"pip","#,
        r#""system_fingerprint":"sim-1","choices":["#
    );
    let choices = [
        r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{"content":"He said \"hi\"\n"},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}"#,
    ];
    let plain: String = choices.iter().map(|choice| format!("{head}{choice}]}}\n\n")).collect();
    assert_eq!(stream(&frames, false), format!("{plain}data: [DONE]\n\n"));
    let with_usage: String = choices.iter().map(|choice| format!("{head}{choice}],\"usage\":null}}\n\n")).collect();
    let usage = r#"],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
    assert_eq!(stream(&frames, true), format!("{with_usage}{head}{usage}\n\ndata: [DONE]\n\n"));
}

#[test]
fn a_piece_without_text_and_scores_is_no_event() {
    let scored = TokenLogprob { token: "end".to_owned(), logprob: -0.5, ..TokenLogprob::default() };
    let scores = Delta { content: Some(text("")), logprobs: vec![scored], ..Delta::default() };
    let frames = frames(vec![
        started(),
        piece(0, 0, text("")),
        piece(0, 1, call("a", "look", "{")),
        piece(0, 1, call("", "", "}")),
        piece(0, 2, text("")),
        piece(1, 0, Content::Reasoning(String::new())),
        piece(1, 0, text("Hi")),
        piece(1, 0, Content::Opaque(Opaque::default())),
        Body::Delta(Delta { choice: 1, ..scores }),
        ends(0, FinishReason::ToolCalls),
        finished(),
    ]);
    let written = stream(&frames, false);
    let events = written.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let choices: Vec<Value> = events.map(|event| event["choices"][0].clone()).collect();
    let begins = |choice: &Value| choice["delta"]["role"] == "assistant";
    let contents: Vec<_> = choices.iter().map(|choice| (&choice["index"], choice["delta"].get("content"))).collect();
    assert_eq!(contents.len(), 7, "{written}");
    // The one begins with a call, the other with text.
    assert!(begins(&choices[0]) && contents[0] == (&json!(0), Some(&Value::Null)), "{written}");
    assert!(begins(&choices[3]) && contents[3] == (&json!(1), Some(&json!(""))), "{written}");
    assert_eq!(choices[4]["delta"]["content"], "Hi");
    assert_eq!(choices[5]["logprobs"]["content"][0]["token"], "end");
}

#[test]
fn a_whole_answer_is_these_bytes() {
    let frames = frames(vec![started(), piece(0, 0, text("Hi")), ends(0, FinishReason::Length), usage(), finished()]);
    let want = json!({
        "id": "chatcmpl-r-1", "object": "chat.completion", "created": 1_700_000_000, "model": "pip",
        "system_fingerprint": "sim-1",
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null},
            "logprobs": null, "finish_reason": "length"
        }],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    });
    assert_eq!(whole(frames), want);
}

#[test]
fn numbers_that_are_not_known_are_not_zero() {
    for (usage, want) in [
        (Usage::default(), Value::Null),
        (Usage { input_tokens: Some(5), ..Usage::default() }, Value::Null),
        (
            Usage {
                input_tokens: Some(5),
                output_tokens: Some(u32::MAX),
                cached_input_tokens: Some(0),
                reasoning_output_tokens: Some(1),
                ..Usage::default()
            },
            json!({
                "prompt_tokens": 5, "completion_tokens": u32::MAX, "total_tokens": 5 + u64::from(u32::MAX),
                "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 1}
            }),
        ),
    ] {
        let frames = frames(vec![started(), Body::Usage(usage), finished()]);
        assert_eq!(whole(frames.clone())["usage"], want);
        let (chunks, done) = chunks(&stream(&frames, true));
        assert_eq!((&chunks[0]["usage"], &chunks[0]["choices"], done), (&want, &json!([]), true));
    }
}

#[test]
fn tool_calls_are_numbered_in_their_answer() {
    let frames = frames(vec![
        started(),
        piece(0, 0, call("a", "f", "{\"x\"")),
        piece(1, 0, text("other")),
        piece(0, 0, call("", "", ":1}")),
        piece(0, 1, call("b", "g", "{}")),
        ends(0, FinishReason::ToolCalls),
        ends(1, FinishReason::ContentFilter),
        finished(),
    ]);
    let want = json!([
        {
            "index": 0, "logprobs": null, "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ]}
        },
        {
            "index": 1, "logprobs": null, "finish_reason": "content_filter",
            "message": {"role": "assistant", "content": "other", "refusal": null}
        },
    ]);
    let (chunks, done) = chunks(&stream(&frames, false));
    assert_eq!((accumulate(&chunks), done), (want.clone(), true));
    assert_eq!(whole(frames)["choices"], want);
}

#[test]
fn logprobs_are_numbers() {
    let unlikely = TokenLogprob { token: "x".to_owned(), logprob: f64::NEG_INFINITY, ..TokenLogprob::default() };
    let token = TokenLogprob {
        token: "é".to_owned(),
        token_bytes: vec![0xc3, 0xa9].into(),
        logprob: -0.5,
        alternatives: vec![unlikely],
    };
    let delta = Delta { content: Some(text("é")), logprobs: vec![token], ..Delta::default() };
    let frames = frames(vec![started(), Body::Delta(delta), ends(0, FinishReason::Stop), finished()]);
    let want = json!({"refusal": null, "content": [{
        "token": "é", "logprob": -0.5, "bytes": [0xc3, 0xa9],
        "top_logprobs": [{"token": "x", "logprob": -9999.0, "bytes": []}]
    }]});
    assert_eq!(whole(frames.clone())["choices"][0]["logprobs"], want);
    assert_eq!(accumulate(&chunks(&stream(&frames, false)).0)[0]["logprobs"], want);
}

#[test]
fn a_stream_that_did_not_finish_is_not_done() {
    let frames = frames(vec![started(), piece(0, 0, text("Hi")), ends(0, FinishReason::Stop), usage()]);
    assert!(!chunks(&stream(&frames, true)).1);
}

#[test]
fn a_keepalive_is_a_comment() {
    assert!(
        KEEPALIVE.starts_with(b":")
            && KEEPALIVE.ends_with(b"\n\n")
            && !KEEPALIVE[..KEEPALIVE.len() - 2].contains(&b'\n')
    );
}

fn any_content() -> impl Strategy<Value = Option<Content>> {
    let any_text = prop_oneof![any::<String>(), "[\\x00-\\x1f\"\\\\\u{2028}]{0,6}"];
    prop_oneof![
        4 => any_text.clone().prop_map(|text| Some(Content::Text(text))),
        2 => any_text.clone().prop_map(|text| Some(Content::Reasoning(text))),
        2 => (any_text.clone(), any_text.clone(), any_text).prop_map(|(id, name, arguments)| Some(call(&id, &name, &arguments))),
        1 => Just(Some(Content::Opaque(Opaque { origin: "o".to_owned(), ..Opaque::default() }))),
        1 => Just(None),
    ]
}

fn any_frames() -> impl Strategy<Value = Vec<Frame>> {
    let logprob = (any::<String>(), any::<f64>()).prop_map(|(token, logprob)| TokenLogprob {
        token_bytes: token.clone().into_bytes().into(),
        token,
        logprob,
        alternatives: vec![],
    });
    let delta = (0..3_u32, 0..4_u32, any_content(), prop::collection::vec(logprob, 0..2)).prop_map(
        |(choice, part, content, logprobs)| Body::Delta(Delta { choice, part, content, logprobs, token_count: None }),
    );
    (prop::collection::vec(delta, 0..40), prop::collection::vec(0..6_i32, 3)).prop_map(|(deltas, reasons)| {
        let ends = reasons
            .into_iter()
            .zip(0..)
            .map(|(reason, choice)| Body::ChoiceFinished(ChoiceFinished { choice, reason }));
        frames([started()].into_iter().chain(deltas).chain(ends).chain([usage(), finished()]).collect())
    })
}

proptest! {
    #[test]
    fn streamed_and_whole_are_the_same(frames in any_frames(), include_usage: bool) {
        let (chunks, done) = chunks(&stream(&frames, include_usage));
        prop_assert!(done);
        let whole = whole(frames);
        prop_assert_eq!(leveled(accumulate(&chunks)), leveled(whole["choices"].clone()));
        for chunk in &chunks {
            for field in ["id", "created", "model", "system_fingerprint"] {
                prop_assert_eq!(&chunk[field], &whole[field]);
            }
            prop_assert_eq!(chunk.get("usage").is_some(), include_usage);
        }
        let first_delta = &chunks[0]["choices"][0]["delta"];
        prop_assert_eq!(&first_delta["role"], "assistant");
    }
}
