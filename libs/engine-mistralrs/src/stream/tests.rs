use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{FutureExt, StreamExt};
use mistralrs::{ChatCompletionChunkResponse, ChunkChoice, Delta as ChunkDelta, Response};
use pointsman_engine::{EngineError, Event, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::{FinishReason, GenerateRequest, Message, Part, Role, Usage, UsageSource, part};
use tokio::sync::mpsc;

use super::Answer;

/// What the answer makes of responses, when `chosen` tokens were chosen of the 10 that it may have, and
/// whether it still listens before the channel is closed.
fn answer(responses: Vec<Response>, stop: &[&str], chosen: u32) -> (Vec<Result<Event, EngineError>>, bool) {
    let text = Part { kind: Some(part::Kind::Text("Hello".to_owned())) };
    let request = GenerateRequest {
        model: "pip".to_owned(),
        messages: vec![Message { role: Role::User.into(), parts: vec![text], ..Message::default() }],
        stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
        ..GenerateRequest::default()
    };
    let job = Job { request: Valid::new(request).unwrap(), prompt_tokens: 7, max_output_tokens: 10 };
    let (sender, chunks) = mpsc::channel(12);
    let counter = Arc::new(AtomicU32::new(0));
    let mut stream = Answer::new(chunks, Arc::clone(&counter), &job, 10).into_stream();
    for response in responses {
        sender.try_send(response).unwrap_or_else(|_| panic!("no room"));
    }
    counter.store(chosen, Ordering::Relaxed);
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
    for (reason, want) in
        [("stop", FinishReason::Stop), ("length", FinishReason::Length), ("tool_calls", FinishReason::ToolCalls)]
    {
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
