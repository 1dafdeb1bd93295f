//! Several answers to one request.

use std::collections::BTreeMap;

use futures::StreamExt;
use pointsman_engine::{Engine, Event};
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::{FinishReason, GenerateRequest, Usage};

use crate::{PATIENCE, answer, ask, engine, job, run, sampled, start};

/// The texts by choice, why each ended, and what was consumed.
async fn read(request: GenerateRequest, most: u32) -> (Vec<String>, Vec<FinishReason>, Usage) {
    let count = request.choice_count;
    let mut events = start(GenerateRequest { choice_count: count, ..request }, most).await;
    let (mut texts, mut reasons) = (BTreeMap::new(), BTreeMap::new());
    while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.expect("no event") {
        match event.unwrap() {
            Event::Delta { delta, .. } => {
                assert!(!reasons.contains_key(&delta.choice), "a piece after the end");
                let Some(Content::Text(text)) = delta.content else { panic!("no text") };
                texts.entry(delta.choice).or_insert_with(String::new).push_str(&text);
            }
            Event::Alive => {}
            Event::ChoiceFinished { choice, reason } => assert!(reasons.insert(choice, reason).is_none()),
            Event::Finished { usage, .. } => {
                assert!(events.next().await.is_none());
                assert!(reasons.keys().copied().eq(0..count.unwrap()));
                return (texts.into_values().collect(), reasons.into_values().collect(), usage);
            }
        }
    }
    panic!("no end");
}

fn several(request: GenerateRequest, count: u32) -> GenerateRequest {
    GenerateRequest { choice_count: Some(count), ..request }
}

#[test]
fn each_answer_is_the_one_of_its_own_seed() {
    run(async {
        let (texts, reasons, usage) = read(several(sampled(ask("What is the router?"), Some(40)), 5), 30).await;
        let mut tokens = 0;
        let mut input = None;
        for (seed, text) in (40..).zip(&texts) {
            let alone = answer(sampled(ask("What is the router?"), Some(seed)), 30).await;
            assert_eq!(alone.text, *text);
            tokens += alone.tokens;
            input = alone.usage.input_tokens;
        }
        assert!(texts.iter().any(|text| *text != texts[0]));
        assert_eq!(reasons.len(), 5);
        assert_eq!((usage.output_tokens, usage.input_tokens), (Some(tokens), input));
    });
}

#[test]
fn several_greedy_answers_are_equal_and_one_is_one() {
    run(async {
        let (texts, ..) = read(several(ask("Hello"), 3), 50).await;
        let alone = answer(ask("Hello"), 50).await;
        assert_eq!(texts, vec![alone.text.clone(); 3]);
        assert_eq!(answer(several(ask("Hello"), 1), 50).await, alone);
    });
}

#[test]
fn requests_for_many_answers_at_once_hold_nobody_up_and_change_nothing() {
    run(async {
        let alone = answer(ask("Count to 12."), 40).await;
        let many = (0..4).map(|seed| read(several(sampled(ask("Hello"), Some(seed * 100)), 6), 10));
        let (many, plain) = futures::future::join(
            futures::future::join_all(many),
            futures::future::join_all((0..3).map(|_| answer(ask("Count to 12."), 40))),
        )
        .await;
        assert!(plain.iter().all(|answer| *answer == alone));
        for (seed, (texts, ..)) in (0..).zip(many) {
            assert_eq!(texts, read(several(sampled(ask("Hello"), Some(seed * 100)), 6), 10).await.0);
        }
    });
}

#[test]
fn who_comes_while_many_answers_run_begins_within_one_answer() {
    run(async {
        let mut many = start(several(ask("Hello"), 128), 20).await;
        many.next().await.unwrap().unwrap();
        let other = job(ask("Count to 12."), 40).await;
        let mut other = engine().await.generate(other);
        let mut finished = 0;
        let begun = loop {
            tokio::select! {
                biased;
                begun = &mut other => break begun,
                event = many.next() => {
                    finished += u32::from(matches!(event, Some(Ok(Event::ChoiceFinished { .. }))));
                    assert!(finished <= 1, "another answer of the same request came first");
                }
            }
        };
        let begun = crate::read(begun.unwrap()).await.unwrap();
        // Its next answer is given its turn, which it would keep from the others here while nobody reads it.
        drop(many);
        assert_eq!(begun, answer(ask("Count to 12."), 40).await);
    });
}

#[test]
fn who_leaves_many_answers_leaves_the_engine_well() {
    run(async {
        let mut events = start(several(ask("Tell me a story."), 8), 200).await;
        events.next().await.unwrap().unwrap();
        drop(events);
        assert!(answer(ask("Hello"), 50).await.text.starts_with("Hello! I am Pip"));
    });
}
