use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use mistralrs::core::{CompletionChunkChoice, CompletionChunkResponse};
use mistralrs::{ChatCompletionChunkResponse, ChunkChoice, Delta as ChunkDelta, Response};
use pointsman_engine::{EngineError, Event};
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::{FinishReason, Usage, UsageSource};
use tokio::sync::mpsc;

use super::contents::Contents;
use super::written::Written;
use super::{Answer, Bounds, Source, Tokens};
use crate::sampling::Taken;
use crate::sampling::logprobs::Scored;
use crate::sampling::progress::Progress;
use crate::tools::parse::CallParser;
use crate::vocabulary::tests::vocabulary;

/// What the answer makes of responses, when `chosen` tokens were chosen of the 10 that it may have, and
/// whether it still listens before the channel is closed.
fn answer(responses: Vec<Response>, stop: &[&str], chosen: u32) -> (Vec<Result<Event, EngineError>>, bool) {
    of(Source::Chat, responses, stop, chosen)
}

fn of(source: Source, responses: Vec<Response>, stop: &[&str], chosen: u32) -> (Vec<Result<Event, EngineError>>, bool) {
    let progress = Progress::default();
    (0..chosen).for_each(|_| _ = progress.count());
    at(progress, source, responses, stop)
}

fn at(
    progress: Progress,
    source: Source,
    responses: Vec<Response>,
    stop: &[&str],
) -> (Vec<Result<Event, EngineError>>, bool) {
    let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
    let bounds = Bounds { stop: &stop, prompt_tokens: 7, max_output_tokens: 10 };
    let (sender, chunks) = mpsc::channel(12);
    let mut stream = Answer::new(chunks, source, Arc::new(progress), &bounds).into_stream();
    for response in responses {
        sender.try_send(response).unwrap_or_else(|_| panic!("no room"));
    }
    let mut events = Vec::new();
    while let Some(Some(event)) = stream.next().now_or_never() {
        events.push(event);
    }
    let listens = !sender.is_closed();
    drop(sender);
    while let Some(event) = stream.next().now_or_never().unwrap() {
        events.push(event);
    }
    (events, listens)
}

fn chunk(text: &str) -> Response {
    response(Some(text), None, None)
}

fn last(text: &str, reason: &str, completion_tokens: usize) -> Response {
    response(Some(text), None, Some((reason, completion_tokens)))
}

fn response(content: Option<&str>, reasoning: Option<&str>, end: Option<(&str, usize)>) -> Response {
    let delta = ChunkDelta {
        content: content.map(str::to_owned),
        role: "assistant".to_owned(),
        tool_calls: None,
        reasoning_content: reasoning.map(str::to_owned),
    };
    let usage = end.map(|(_, completion_tokens)| mistralrs::Usage {
        completion_tokens,
        prompt_tokens: 8,
        total_tokens: 8 + completion_tokens,
        avg_tok_per_sec: 0.0,
        avg_prompt_tok_per_sec: 0.0,
        avg_compl_tok_per_sec: 0.0,
        total_time_sec: 0.0,
        total_prompt_time_sec: 0.0,
        total_completion_time_sec: 0.0,
    });
    let finish_reason = end.map(|(reason, _)| reason.to_owned());
    Response::Chunk(ChatCompletionChunkResponse {
        id: String::new(),
        choices: vec![ChunkChoice { finish_reason, index: 0, delta, logprobs: None }],
        created: 0,
        model: String::new(),
        system_fingerprint: String::new(),
        object: String::new(),
        usage,
    })
}

type End = Result<(FinishReason, Usage), EngineError>;

/// Texts and their tokens, and what came last.
fn told(events: Vec<Result<Event, EngineError>>) -> (Vec<(String, u32)>, End) {
    let mut texts = Vec::new();
    let mut end = None;
    for event in events {
        assert!(end.is_none(), "something after the end");
        match event {
            Ok(Event::Delta { delta, tokens }) => match delta.content {
                Some(Content::Text(text)) => texts.push((text, tokens)),
                Some(Content::Reasoning(text)) => texts.push((format!("<{text}>"), tokens)),
                other => panic!("{other:?}"),
            },
            Ok(Event::Alive | Event::ChoiceFinished { .. }) => panic!("one of several"),
            Ok(Event::Finished { reason, usage }) => end = Some(Ok((reason, usage))),
            Err(error) => end = Some(Err(error)),
        }
    }
    (texts, end.unwrap())
}

fn usage(input_tokens: u32, output_tokens: u32, source: UsageSource) -> Usage {
    Usage {
        input_tokens: Some(input_tokens),
        output_tokens: Some(output_tokens),
        source: source.into(),
        ..Usage::default()
    }
}

#[test]
fn an_answer_is_told_to_its_end() {
    for (reason, want) in [("stop", FinishReason::Stop), ("length", FinishReason::Length)] {
        // "é" took two tokens, which the last chunk tells.
        let (events, listens) = answer(vec![chunk("a"), chunk("é"), last("", reason, 4)], &[], 4);
        let (texts, end) = told(events);
        assert_eq!(texts, [("a".to_owned(), 1), ("é".to_owned(), 1), (String::new(), 2)]);
        assert_eq!(end, Ok((want, usage(8, 4, UsageSource::Reported))));
        assert!(!listens);
    }
}

#[test]
fn a_stop_text_ends_the_listening() {
    let (events, listens) = answer(vec![chunk("1, 2"), chunk(","), chunk(" 3, 4"), chunk("never")], &[", 3"], 9);
    let (texts, end) = told(events);
    assert_eq!(texts, [("1, 2".to_owned(), 1), (String::new(), 1), (String::new(), 1)]);
    assert_eq!(end, Ok((FinishReason::Stop, usage(7, 3, UsageSource::Counted))));
    assert!(!listens);
}

#[test]
fn what_was_held_back_is_delivered_at_the_end() {
    let (texts, _) = told(answer(vec![chunk("1,"), last(" ", "stop", 2)], &[", 3"], 2).0);
    assert_eq!(texts, [("1".to_owned(), 1), (", ".to_owned(), 1)]);
}

#[test]
fn a_closed_channel_is_a_loss_unless_all_tokens_were_chosen() {
    let (texts, end) = told(answer(vec![chunk("a"), chunk("b,")], &[", 3"], 10).0);
    assert_eq!(texts, [("a".to_owned(), 1), ("b".to_owned(), 1), (",".to_owned(), 8)]);
    assert_eq!(end, Ok((FinishReason::Length, usage(7, 10, UsageSource::Counted))));

    let (events, listened) = answer(vec![chunk("a")], &[], 9);
    assert!(listened);
    assert!(matches!(told(events).1, Err(EngineError::Lost { .. })));
    assert!(matches!(told(answer(vec![], &[], 0).0).1, Err(EngineError::Lost { .. })));

    // Or an end, after half a character.
    let progress = Progress::default();
    (0..3).for_each(|_| _ = progress.count());
    progress.end();
    let (texts, end) = told(at(progress, Source::Chat, vec![chunk("a")], &[]).0);
    assert_eq!(texts, [("a".to_owned(), 1), (String::new(), 2)]);
    assert_eq!(end, Ok((FinishReason::Stop, usage(7, 3, UsageSource::Counted))));
}

#[test]
fn failures_are_told_apart() {
    let failed = |response| told(answer(vec![chunk("a"), response], &[], 2).0).1.unwrap_err();
    let error = failed(Response::ValidationError("too long\n  0: a backtrace".into()));
    assert_eq!(error, EngineError::InvalidRequest { message: "too long".to_owned() });
    for response in [
        Response::InternalError("broken".into()),
        Response::Raw { logits_chunks: vec![], tokens: vec![] },
        last("", "canceled", 2),
    ] {
        assert!(matches!(failed(response), EngineError::Failed { .. }));
    }
}

#[test]
fn reasoning_is_a_part_of_its_own() {
    let responses =
        vec![response(None, Some("hm"), None), response(Some("Hi"), Some("!"), None), last(" there", "stop", 3)];
    let (events, _) = answer(responses, &[], 3);
    let parts: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            Ok(Event::Delta { delta, .. }) => Some(delta.part),
            _ => None,
        })
        .collect();
    let (texts, _) = told(events);
    let texts: Vec<(&str, u32)> = texts.iter().map(|(text, tokens)| (text.as_str(), *tokens)).collect();
    assert_eq!(texts, [("<hm>", 1), ("<!>", 1), ("Hi", 0), (" there", 1)]);
    assert_eq!(parts, [0, 0, 1, 1]);
}

/// What an answer that is read token by token is made of: tokens of these texts, each with a score, after which
/// mistral.rs says so, and why it ended.
fn by_tokens(texts: &[&str], stop: &[&str], end: &str) -> Vec<Result<Event, EngineError>> {
    let (sender, taken) = tokio::sync::mpsc::unbounded_channel();
    let tokens: Vec<u32> = texts.iter().flat_map(|text| vocabulary().tokens(text.as_bytes())).collect();
    let mut responses: Vec<Response> = tokens.iter().map(|_| completion(None)).collect();
    for (place, token) in (0_u32..).zip(tokens.into_iter().chain([1021])) {
        let scored = Some(Scored { logprob: -f64::from(place), alternatives: Vec::new() });
        sender.send(Ok(Taken { token, scored })).unwrap();
    }
    // The channel has room for no more; all tokens are there with the first.
    responses.truncate(9);
    responses.push(completion(Some(end)));
    let contents = Contents { thoughts: None, calls: Some(CallParser::new(vec!["a".to_owned(), "b".to_owned()])) };
    let written = Written::new(taken, vocabulary(), true);
    of(Source::Tokens(Box::new(Tokens { written, contents })), responses, stop, 10).0
}

fn completion(end: Option<&str>) -> Response {
    let choice = CompletionChunkChoice {
        text: "not read".to_owned(),
        index: 0,
        logprobs: None,
        finish_reason: end.map(str::to_owned),
    };
    Response::CompletionChunk(CompletionChunkResponse {
        id: String::new(),
        choices: vec![choice],
        created: 0,
        model: String::new(),
        system_fingerprint: String::new(),
        object: String::new(),
    })
}

/// The text of an answer, the bytes that have scores, and how it ended.
fn scored(events: Vec<Result<Event, EngineError>>) -> (String, String, FinishReason, u32) {
    let (mut text, mut scored, mut tokens) = (String::new(), Vec::new(), 0);
    for event in events {
        match event.unwrap() {
            Event::Delta { delta, tokens: more } => {
                tokens += more;
                scored.extend(delta.logprobs.iter().flat_map(|score| score.token_bytes.to_vec()));
                match delta.content {
                    Some(Content::Text(more)) => text.push_str(&more),
                    Some(Content::ToolCall(call)) => {
                        text.push_str(&format!("[{}:{}:{}]", delta.part, call.name, call.arguments_json));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Event::Alive | Event::ChoiceFinished { .. } => panic!("one of several"),
            Event::Finished { reason, usage } => {
                assert_eq!(usage.output_tokens, Some(tokens));
                return (text, String::from_utf8(scored).unwrap(), reason, tokens);
            }
        }
    }
    panic!("no end")
}

#[test]
fn tokens_are_told_with_their_scores() {
    let (text, bytes, reason, _) = scored(by_tokens(&["Hello", " the", "re"], &[], "stop"));
    assert_eq!((text.as_str(), bytes.as_str(), reason), ("Hello there", "Hello there", FinishReason::Stop));
}

#[test]
fn what_a_stop_text_cuts_has_no_scores() {
    let (text, bytes, reason, _) = scored(by_tokens(&["Hello", " the", "re"], &[" the"], "stop"));
    assert_eq!((text.as_str(), bytes.as_str(), reason), ("Hello", "Hello", FinishReason::Stop));
    // A token of which a part is delivered has its score.
    let (text, bytes, ..) = scored(by_tokens(&["Hello", " the", "re"], &["llo"], "stop"));
    assert!(text == "He" && bytes.starts_with("He") && !bytes.contains(" the"), "{bytes}");
}

#[test]
fn calls_are_parts_of_their_own_and_the_reason_of_the_end() {
    let calls = "Hi <tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"b\"}</tool_call>";
    let (text, bytes, reason, _) = scored(by_tokens(&[calls], &[], "stop"));
    assert_eq!((text.as_str(), reason), ("Hi[1:a:{}][2:b:{}]", FinishReason::ToolCalls));
    assert_eq!(bytes, calls, "the tags have scores, too");
    let (_, _, reason, _) = scored(by_tokens(&[calls], &[], "length"));
    assert_eq!(reason, FinishReason::Length);
}

#[test]
fn an_answer_that_cannot_go_on_failed() {
    let (sender, taken) = tokio::sync::mpsc::unbounded_channel();
    sender.send(Err(EngineError::Failed { detail: "no token is allowed".to_owned() })).unwrap();
    let written = Written::new(taken, vocabulary(), true);
    let source = Source::Tokens(Box::new(Tokens { written, contents: Contents::default() }));
    let (events, listens) = of(source, vec![completion(Some("stop"))], &[], 1);
    assert!(matches!(told(events).1, Err(EngineError::Failed { detail }) if detail == "no token is allowed"));
    assert!(!listens);
    // A channel that is closed after all tokens is the end of their number.
    let (sender, taken) = tokio::sync::mpsc::unbounded_channel();
    sender.send(Ok(Taken { token: 40, scored: None })).unwrap();
    let written = Written::new(taken, vocabulary(), true);
    let source = Source::Tokens(Box::new(Tokens { written, contents: Contents::default() }));
    assert!(matches!(told(of(source, vec![], &[], 10).0).1, Ok((FinishReason::Length, _))));
}
