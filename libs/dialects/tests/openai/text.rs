//! Completions of a text: bodies in, answers out.

use pointsman_dialects::openai::{TextRequest, TextStream, parse_text, render_text};
use pointsman_errors::Reason::{self, InvalidRequest, UnsupportedField};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::*;
use serde_json::{Value, json};

use super::answers::{call, ends, finished, frames, piece, started, text, usage};

fn body(fields: &Value) -> Vec<u8> {
    let mut body = json!({"model": "pip", "prompt": "Hello"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::to_vec(&body).unwrap()
}

fn parse(fields: &Value) -> TextRequest {
    parse_text(&body(fields)).unwrap_or_else(|error| panic!("{fields} is refused: {error}"))
}

/// These fields make this change to the request.
fn check(fields: Value, change: fn(&mut GenerateRequest)) {
    let parts = vec![Part { kind: Some(part::Kind::Text("Hello".to_owned())) }];
    let mut want = GenerateRequest {
        model: "pip".to_owned(),
        messages: vec![Message { role: Role::User.into(), parts, ..Message::default() }],
        limits: Some(Limits { max_output_tokens: Some(16) }),
        ..GenerateRequest::default()
    };
    change(&mut want);
    assert_eq!(parse(&fields).request.into_inner(), want, "{fields}");
}

/// These fields are refused for this reason, with these and no other parameters at fault.
fn check_refused(fields: Value, reason: Reason, parameters: &[&str]) {
    let error = parse_text(&body(&fields)).err().unwrap_or_else(|| panic!("{fields} is taken"));
    let found: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!((error.reason(), found.as_slice()), (reason, parameters), "{fields}: {error}");
}

#[test]
fn fields_become_the_contract() {
    check(json!({}), |_| {});
    check(json!({"prompt": ["Hello"]}), |_| {});
    check(json!({"max_tokens": 5}), |r| r.limits = Some(Limits { max_output_tokens: Some(5) }));
    check(json!({"n": 3, "best_of": 3}), |r| r.choice_count = Some(3));
    check(json!({"best_of": 1, "suffix": "", "echo": false, "suffix": null}), |_| {});
    check(json!({"logprobs": 0}), |r| r.logprobs = Some(Logprobs { top_count: 0 }));
    check(json!({"logprobs": 5}), |r| r.logprobs = Some(Logprobs { top_count: 5 }));
    check(json!({"stop": ["\n"], "seed": 7}), |r| (r.stop, r.seed) = (vec!["\n".to_owned()], Some(7)));
    check(json!({"user": "u-1", "metadata": {"team": "blue"}}), |r| {
        r.end_user = "u-1".to_owned();
        r.labels = [("team".to_owned(), "blue".to_owned())].into();
    });
    check(json!({"temperature": 0.5, "top_k": -1, "logit_bias": {"7": 1}}), |r| {
        let logit_bias = [(7, 1.0)].into();
        r.sampling = Some(Sampling { temperature: Some(0.5), logit_bias, ..Sampling::default() });
    });
    let streamed = parse(&json!({"stream": true, "stream_options": {"include_usage": true}, "echo": true}));
    assert_eq!((streamed.stream, streamed.include_usage, streamed.echo.as_str()), (true, true, "Hello"));
    assert_eq!(parse(&json!({})).echo, "");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    check_refused(json!({"prompt": ["a", "b"]}), UnsupportedField, &["prompt"]);
    check_refused(json!({"prompt": [1, 2]}), UnsupportedField, &["prompt"]);
    check_refused(json!({"prompt": [[1, 2]]}), UnsupportedField, &["prompt"]);
    check_refused(json!({"suffix": "}"}), UnsupportedField, &["suffix"]);
    check_refused(json!({"best_of": 2}), UnsupportedField, &["best_of"]);
    check_refused(json!({"best_of": 1, "n": 2}), UnsupportedField, &["best_of"]);
    check_refused(json!({"echo": true, "logprobs": 0}), UnsupportedField, &["echo"]);
}

#[test]
fn mistakes_are_named_in_the_words_of_this_api() {
    check_refused(json!({"prompt": null}), InvalidRequest, &["prompt"]);
    check_refused(json!({"prompt": ""}), InvalidRequest, &["prompt"]);
    check_refused(json!({"prompt": []}), InvalidRequest, &["prompt"]);
    check_refused(json!({"prompt": {"text": "a"}}), InvalidRequest, &["prompt"]);
    check_refused(json!({"prompt": [true]}), InvalidRequest, &["prompt[0]"]);
    check_refused(json!({"max_tokens": 0}), InvalidRequest, &["max_tokens"]);
    check_refused(json!({"logprobs": 21}), InvalidRequest, &["logprobs"]);
    check_refused(json!({"logprobs": true}), InvalidRequest, &["logprobs"]);
    check_refused(json!({"tools": []}), InvalidRequest, &["tools"]);
    check_refused(json!({"choice_count": 2}), InvalidRequest, &["n"]);
    check_refused(
        json!({"model": "", "temperature": 9, "suffix": "x", "n": 0}),
        InvalidRequest,
        &["suffix", "model", "temperature", "n"],
    );
}

fn stream(frames: &[Frame], include_usage: bool, echo: &str) -> Vec<Value> {
    let mut stream = TextStream::new(include_usage, echo.to_owned());
    let mut out = Vec::new();
    for frame in frames {
        stream.push(frame, &mut out);
    }
    let events = String::from_utf8(out).unwrap();
    let data = events.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
    data.map(|data| if data == "[DONE]" { json!(data) } else { serde_json::from_str(data).unwrap() }).collect()
}

fn whole(frames: Vec<Frame>, echo: &str) -> Value {
    let mut fold = Fold::default();
    frames.into_iter().for_each(|frame| fold.push(frame));
    serde_json::from_slice(&render_text(&fold.finish().unwrap(), echo)).unwrap()
}

fn two_answers() -> Vec<Frame> {
    frames(vec![
        started(),
        piece(0, 0, text("Good")),
        piece(1, 0, Content::Reasoning("hm".to_owned())),
        piece(1, 1, text("Bad")),
        piece(0, 0, text(" day")),
        ends(1, FinishReason::Length),
        ends(0, FinishReason::Stop),
        usage(),
        finished(),
    ])
}

#[test]
fn a_whole_answer_is_a_text_completion() {
    let want = json!({
        "id": "cmpl-r-1", "object": "text_completion", "created": 1_700_000_000, "model": "pip",
        "system_fingerprint": "sim-1",
        "choices": [
            {"index": 0, "text": "Good day", "logprobs": null, "finish_reason": "stop"},
            {"index": 1, "text": "Bad", "logprobs": null, "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    });
    assert_eq!(whole(two_answers(), ""), want);
    assert_eq!(whole(two_answers(), "A ")["choices"][1]["text"], "A Bad");
}

#[test]
fn a_stream_says_the_same_as_a_whole_answer() {
    for echo in ["", "Say: "] {
        let events = stream(&two_answers(), true, echo);
        assert_eq!(events.last(), Some(&json!("[DONE]")));
        let want = whole(two_answers(), echo);
        let mut texts = [String::new(), String::new()];
        let mut reasons = [Value::Null, Value::Null];
        let (usage, chunks) = events[..events.len() - 1].split_last().unwrap();
        assert_eq!((&usage["usage"], &usage["choices"]), (&want["usage"], &json!([])));
        for chunk in chunks {
            assert_eq!((&chunk["object"], &chunk["id"]), (&json!("text_completion"), &want["id"]));
            assert!(chunk["usage"].is_null() && chunk.as_object().unwrap().contains_key("usage"));
            let choice = &chunk["choices"][0];
            let index = choice["index"].as_u64().unwrap() as usize;
            assert!(reasons[index].is_null(), "a piece after the end");
            texts[index].push_str(choice["text"].as_str().unwrap());
            reasons[index] = choice["finish_reason"].clone();
        }
        for (index, choice) in want["choices"].as_array().unwrap().iter().enumerate() {
            assert_eq!((&json!(texts[index]), &reasons[index]), (&choice["text"], &choice["finish_reason"]));
        }
    }
}

#[test]
fn a_stream_without_usage_has_none_and_an_empty_answer_its_echo() {
    let events = stream(&frames(vec![started(), ends(0, FinishReason::Stop), usage(), finished()]), false, "Hi");
    let texts: Vec<&Value> = events.iter().filter_map(|event| event.get("choices")).map(|c| &c[0]["text"]).collect();
    assert_eq!(texts, [&json!("Hi"), &json!("")]);
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    // What has no place here is left out.
    let call = frames(vec![started(), piece(0, 0, call("1", "f", "{}")), ends(0, FinishReason::ToolCalls)]);
    assert_eq!(stream(&call, false, "").len(), 1);
}

#[test]
fn scores_are_lists() {
    let token = |token: &str, logprob: f64, alternatives: Vec<TokenLogprob>| TokenLogprob {
        token: token.to_owned(),
        token_bytes: token.as_bytes().to_vec().into(),
        logprob,
        alternatives,
    };
    let scored = |content: &str, logprobs: Vec<TokenLogprob>| {
        Body::Delta(Delta { choice: 0, part: 0, content: Some(text(content)), logprobs, token_count: None })
    };
    let other = token("ho", -0.25, vec![]);
    let all = frames(vec![
        started(),
        scored("h\u{e9}", vec![token("h\u{e9}", -1.5, vec![other.clone(), token("ho", -3.0, vec![])])]),
        scored(" a b", vec![token(" a", f64::NEG_INFINITY, vec![]), token(" b", -2.0, vec![other])]),
        ends(0, FinishReason::Stop),
        finished(),
    ]);
    let want = json!({
        "tokens": ["h\u{e9}", " a", " b"],
        "token_logprobs": [-1.5, -9999.0, -2.0],
        "top_logprobs": [{"ho": -0.25, "h\u{e9}": -1.5}, {" a": -9999.0}, {"ho": -0.25, " b": -2.0}],
        "text_offset": [0, 2, 4],
    });
    assert_eq!(whole(all.clone(), "")["choices"][0]["logprobs"], want);
    let events = stream(&all, false, "");
    let offsets: Vec<&Value> =
        events[..2].iter().map(|event| &event["choices"][0]["logprobs"]["text_offset"]).collect();
    assert_eq!(offsets, [&json!([0]), &json!([2, 4])]);
    assert!(events[2]["choices"][0]["logprobs"].is_null());
}
