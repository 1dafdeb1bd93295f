use std::time::Duration;

use futures::StreamExt;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{Delta, FinishReason, GenerateRequest, Message, Part, Role, delta, part};

use super::{Config, Fault, FaultKind, SimulatedEngine, Timing};
use crate::{Engine, EngineError, Event, Generation, Job};

fn request(text: &str, stop: &[&str]) -> Valid<GenerateRequest> {
    let part = Part { kind: Some(part::Kind::Text(text.to_owned())) };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    let stop = stop.iter().map(|text| (*text).to_owned()).collect();
    Valid::new(GenerateRequest { model: "m".into(), messages: vec![message], stop, ..GenerateRequest::default() })
        .unwrap()
}

async fn start(engine: &SimulatedEngine, text: &str, stop: &[&str], max_output_tokens: u32) -> Generation {
    let request = request(text, stop);
    let prompt_tokens = engine.count_prompt_tokens(&request).await.unwrap();
    engine.generate(Job { request, prompt_tokens, max_output_tokens }).await.unwrap()
}

/// Reads to the end: the text, the tokens that the deltas report, and how it ended.
async fn read(mut generation: Generation) -> (String, u32, Option<Result<FinishReason, EngineError>>) {
    let (mut text, mut count) = (String::new(), 0);
    while let Some(event) = generation.next().await {
        match event {
            Ok(Event::Delta { delta, tokens }) => {
                count += tokens;
                if let Some(delta::Content::Text(piece)) = delta.content {
                    text.push_str(&piece);
                }
            }
            Ok(Event::Alive) => {}
            Ok(Event::ChoiceFinished { .. }) => panic!("one answer of several"),
            Ok(Event::Finished { reason, .. }) => return (text, count, Some(Ok(reason))),
            Err(error) => return (text, count, Some(Err(error))),
        }
    }
    (text, count, None)
}

fn timed() -> Config {
    let timing = Timing {
        prefill_per_token: Duration::from_millis(1),
        step: Duration::from_millis(10),
        step_per_sequence: Duration::from_millis(1),
    };
    Config { timing, ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn both_clocks_write_the_same_text() {
    for config in [Config::default(), timed()] {
        let engine = SimulatedEngine::new(config);
        for (stop, max, want, tokens, reason) in [
            (&[][..], 100, "You said: one two three", 5, FinishReason::Stop),
            (&[], 3, "You said: one", 3, FinishReason::Length),
            (&["two"], 100, "You said: one ", 4, FinishReason::Stop),
            (&["e t"], 100, "You said: on", 4, FinishReason::Stop),
            (&["never"], 100, "You said: one two three", 5, FinishReason::Stop),
        ] {
            let (text, count, end) = read(start(&engine, "one two three", stop, max).await).await;
            assert_eq!((text.as_str(), end), (want, Some(Ok(reason))), "{stop:?} {max}");
            assert!(count <= tokens, "{count} tokens for {want:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_that_completes_a_stop_text_is_the_last_that_counts() {
    let engine = SimulatedEngine::new(Config::default());
    for (stop, want) in [("one", "You said: "), (" one", "You said:"), ("n", "You said: o"), ("e t", "You said: on")] {
        let mut generation = start(&engine, "one two three", &[stop], 100).await;
        let (mut text, mut usage) = (String::new(), None);
        while let Some(event) = generation.next().await {
            match event.unwrap() {
                Event::Delta { delta: Delta { content: Some(delta::Content::Text(piece)), .. }, .. } => {
                    text.push_str(&piece);
                }
                Event::Finished { usage: counted, .. } => usage = counted.output_tokens,
                other => panic!("{other:?}"),
            }
        }
        let tokens = if stop == "e t" { 4 } else { 3 };
        assert_eq!((text.as_str(), usage), (want, Some(tokens)), "{stop:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_the_time_that_the_model_says() {
    let engine = SimulatedEngine::new(Config { answer_tokens: Some(10), ..timed() });
    let begin = tokio::time::Instant::now();
    read(start(&engine, "x", &[], 100).await).await;
    // 5 prompt tokens, then 10 steps with a token and one that finds the end.
    assert_eq!(begin.elapsed(), Duration::from_millis(5 + 11 * 10));
    let begin = tokio::time::Instant::now();
    let (one, two) = (start(&engine, "x", &[], 100).await, start(&engine, "x", &[], 100).await);
    futures::join!(read(one), read(two));
    assert_eq!(begin.elapsed(), Duration::from_millis(2 * 5 + 11 * 11));
}

#[tokio::test(start_paused = true)]
async fn faults_come_on_schedule() {
    let failed = Some(Err(EngineError::Failed { detail: "a fault on schedule".to_owned() }));
    for (kind, want) in [(FaultKind::Fail, failed), (FaultKind::Truncate, None)] {
        let faults = vec![Fault { every: 2, after_tokens: 2, kind }];
        for config in [Config { faults: faults.clone(), ..Config::default() }, Config { faults, ..timed() }] {
            let engine = SimulatedEngine::new(config);
            assert_eq!(read(start(&engine, "hi", &[], 9).await).await.2, Some(Ok(FinishReason::Stop)));
            assert_eq!(read(start(&engine, "hi", &[], 9).await).await, ("You said:".to_owned(), 2, want.clone()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_engine_takes_its_neighbours_and_comes_back() {
    let faults = vec![Fault { every: 2, after_tokens: 1, kind: FaultKind::Lose }];
    let engine = SimulatedEngine::new(Config { faults, ..timed() });
    let (neighbour, loser) = (start(&engine, "a b c", &[], 9).await, start(&engine, "a", &[], 9).await);
    let (neighbour, loser) = futures::join!(read(neighbour), read(loser));
    assert_eq!((neighbour.2, loser.2), (None, None));
    assert_eq!(read(start(&engine, "hi", &[], 9).await).await.2, Some(Ok(FinishReason::Stop)));
}

/// Every second request falls over after two tokens.
fn falling(kind: FaultKind) -> [Config; 2] {
    let faults = vec![Fault { every: 2, after_tokens: 2, kind }];
    [Config { faults: faults.clone(), ..Config::default() }, Config { faults, answer_tokens: Some(50), ..timed() }]
}

#[tokio::test(start_paused = true)]
async fn a_broken_device_fails_everybody_from_then_on() {
    let failed = Some(Err(super::state::broken()));
    for config in falling(FaultKind::Break) {
        let engine = SimulatedEngine::new(config);
        let (neighbour, breaker) = (start(&engine, "a", &[], 99).await, start(&engine, "b", &[], 99).await);
        let (breaker, neighbour) = futures::join!(read(breaker), read(neighbour));
        assert_eq!(breaker, ("You said:".to_owned(), 2, failed.clone()));
        assert!(neighbour.2 == failed || neighbour.2 == Some(Ok(FinishReason::Stop)), "{neighbour:?}");
        let later = engine.count_prompt_tokens(&request("c", &[])).await;
        assert_eq!(later.err(), failed.clone().and_then(Result::err));
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_says_nothing_to_anybody() {
    for config in falling(FaultKind::Hang) {
        let engine = SimulatedEngine::new(config);
        let mut neighbour = start(&engine, "a", &[], 99).await;
        neighbour.next().await;
        let hanging = start(&engine, "b", &[], 99).await;
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(tokio::time::timeout(day, read(hanging)).await.is_err());
        assert!(tokio::time::timeout(day, read(neighbour)).await.is_err());
        assert!(tokio::time::timeout(day, engine.count_prompt_tokens(&request("c", &[]))).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_a_script_has_chosen_is_told_as_such() {
    let script = super::Script::parse("replies: [{answer: late, delay: {first_piece: 3500ms}}]").unwrap();
    let engine = SimulatedEngine::new(Config::default()).scripted(script);
    let events: Vec<_> = start(&engine, "a", &[], 9).await.collect().await;
    assert_eq!(events.iter().filter(|event| **event == Ok(Event::Alive)).count(), 3, "{events:?}");
    assert!(matches!(events.last(), Some(Ok(Event::Finished { .. }))));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_frees_its_place_within_a_step() {
    let engine = SimulatedEngine::new(Config { batch: 1, answer_tokens: Some(1000), ..timed() });
    let mut first = start(&engine, "x", &[], 1000).await;
    first.next().await;
    let waiting = start(&engine, "x", &[], 1).await;
    drop(first);
    let begin = tokio::time::Instant::now();
    read(waiting).await;
    // At most the step that ran, then five prompt tokens, one token and the end.
    assert!(begin.elapsed() <= Duration::from_millis(10 + 5 + 2 * 10), "{:?}", begin.elapsed());
}
