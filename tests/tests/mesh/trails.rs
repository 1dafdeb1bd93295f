//! Every response tells how it came about: decision, policy and attempts, also where nothing was generated for it.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, ResumeRequest, Started};
use pointsman_testkit::eventually;
use tonic::metadata::MetadataMap;

use crate::caller::{chat_body, connect, reason, say};
use crate::fleet::{Fleet, LOST, Member};
use crate::named::{frames, named, post, token};
use crate::peers::{IDS, Peers};
use crate::program::pointsman;
use crate::service::LIMIT;

const DECISION: &str = "x-pointsman-decision-id";
const POLICY: &str = "x-pointsman-policy-revision";
const ATTEMPTS: &str = "x-pointsman-attempts";

fn text(metadata: &MetadataMap, name: &str) -> Option<String> {
    Some(metadata.get(name)?.to_str().ok()?.to_owned())
}

fn started(frames: &[Frame]) -> Result<&Started> {
    match frames.first().and_then(|frame| frame.body.as_ref()) {
        Some(Body::Started(started)) => Ok(started),
        other => anyhow::bail!("the first frame is {other:?}"),
    }
}

#[tokio::test]
async fn a_repeat_tells_how_the_answer_was_made_at_whichever_gateway() -> Result<()> {
    let peers = Peers::start("").await?;
    let (mut a, mut b) = (connect(&peers.a.address).await?, connect(&peers.b.address).await?);
    for n in 0..IDS {
        let request = named(&format!("order-{n}"));
        let mut answers = Vec::new();
        for turn in 0..3 {
            let client = if turn == 1 { &mut b } else { &mut a };
            let answer = client.generate_stream(request.clone()).await?;
            let head = answer.metadata().clone();
            let mut stream = answer.into_inner();
            let frames = frames(&mut stream, usize::MAX).await?;
            let trailers = stream.trailers().await?.context("no trailers")?;
            assert_eq!(text(&head, DECISION), Some(started(&frames)?.decision_id.clone()), "{head:?}");
            assert!(text(&head, ATTEMPTS).is_some_and(|line| line.contains("@w ")), "{head:?}");
            let attempts = text(&trailers, ATTEMPTS).unwrap_or_default();
            assert!(attempts.contains("@w FINISHED "), "{trailers:?}");
            answers.push((started(&frames)?.decision_id.clone(), attempts, token(&frames)?));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        // Taken up, too.
        for client in [&mut a, &mut b] {
            let response =
                client.resume(ResumeRequest { resume_token: answers[0].2.clone(), after_sequence: 2 }).await?;
            let head = response.metadata();
            assert_eq!(text(head, "x-request-id").as_ref(), Some(&request.request_id), "{head:?}");
            assert_eq!(text(head, "x-pointsman-repeated").as_deref(), Some("true"), "{head:?}");
            let mut rest = response.into_inner();
            frames(&mut rest, usize::MAX).await?;
            let trailers = rest.trailers().await?.context("no trailers")?;
            assert_eq!(text(&trailers, ATTEMPTS).as_ref(), Some(&answers[0].1));
        }
        // And over HTTP, whole or not.
        for (gateway, stream) in [(&peers.a, true), (&peers.b, false)] {
            let key = ("idempotency-key", format!("http-{n}-{stream}"));
            let body = chat_body("simulated", "Hello", stream);
            let mut decisions = Vec::new();
            for _ in 0..2 {
                let answer = post(&gateway.address, &body, &[(key.0, &key.1)]).await?;
                let decision = answer.headers()[DECISION].clone();
                assert!(answer.headers()[ATTEMPTS].to_str()?.contains("@w "), "{:?}", answer.headers());
                answer.text().await?;
                decisions.push(decision);
            }
            assert_eq!(decisions[0], decisions[1]);
        }
    }
    peers.stop().await
}

#[tokio::test]
async fn a_refusal_is_a_decision_with_an_id() -> Result<()> {
    let policy = "{virtual_models: [{name: chat, rules: [{name: no, when: labels.team == \"search\", \
                  targets: [{target: simulated}]}]}]}\n";
    let fleet = Fleet::start(&[Member::engine("")], policy).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    for (model, want) in [("chat", Reason::NoRuleApplies), ("nobody", Reason::ModelNotFound)] {
        let refused = client.generate(say(model, "Hello")).await.err().context("it was answered")?;
        assert_eq!(reason(&refused)?, want);
        assert_eq!(text(refused.metadata(), DECISION).map(|id| id.len()), Some(16), "{refused:?}");
        assert_eq!(text(refused.metadata(), POLICY).map(|id| id.len()), Some(12), "{refused:?}");
        let trace = text(refused.metadata(), "x-pointsman-trace-id").context("no trace")?;
        let decision = text(refused.metadata(), DECISION).unwrap_or_default();
        let show = ["trace", &trace, "--operator-address", &fleet.gateway.operator];
        let drawn = eventually!(LIMIT, pointsman(&show).await.ok().and_then(|ended| ended.success().ok()))?;
        assert!(drawn.contains(&decision), "{drawn}");
        let refused = post(&fleet.gateway.address, &chat_body(model, "Hello", true), &[]).await?;
        assert_eq!((refused.headers()[DECISION].len(), refused.headers()[POLICY].len()), (16, 12));
        assert_eq!(refused.headers()["x-pointsman-reason"], want.name());
    }
    fleet.stop_after(&[]).await
}

/// A static answer tells which target could not be tried.
#[tokio::test]
async fn a_static_answer_for_want_of_a_target_names_it() -> Result<()> {
    let policy = "{virtual_models: [{name: chat, rules: [{name: all, targets: [{target: nothere}], \
                  static_answer: {text: Back soon.}}]}]}\n";
    let fleet = Fleet::start(&[Member::engine("")], policy).await?;
    let answer = post(&fleet.gateway.address, &chat_body("chat", "Hello", false), &[]).await?;
    assert_eq!(answer.headers()["x-pointsman-static-answer"], "true");
    assert_eq!(answer.headers()[ATTEMPTS], "nothere@ NO_INSTANCE_READY 0ms");
    fleet.stop_after(&["no instance serves"]).await
}

#[tokio::test]
async fn a_name_is_given_once_and_is_not_empty() -> Result<()> {
    let fleet = Fleet::start(&[Member::engine("")], "{}\n").await?;
    let key = "idempotency-key";
    let embed = serde_json::json!({"model": "simulated", "input": "Hello"});
    for (path, body) in [("chat/completions", &chat_body("simulated", "Hello", false)), ("embeddings", &embed)] {
        for names in [&[(key, "")][..], &[(key, "a"), (key, "b")][..]] {
            let post = reqwest::Client::new().post(format!("{}/v1/{path}", fleet.gateway.address)).json(body);
            let refused = names.iter().fold(post, |post, (name, value)| post.header(*name, *value)).send().await?;
            assert_eq!((refused.status().as_u16(), refused.headers()["x-request-id"].is_empty()), (400, false));
            let body = refused.text().await?;
            assert!(body.contains("Idempotency-Key: must "), "{body}");
        }
    }
    fleet.stop_after(&[]).await
}

/// What is not sent was not delivered.
#[tokio::test]
async fn the_error_of_a_whole_answer_says_that_nothing_was_sent_of_it() -> Result<()> {
    let broken = Member::replies("[{answer: one two three four, truncate: {after_pieces: 2}}]");
    let fleet = Fleet::start(&[broken], "{}\n").await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let refused = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::StreamTruncated);
    assert!(refused.message().ends_with("of text had come and are not sent)"), "{refused:?}");
    let refused = post(&fleet.gateway.address, &chat_body("simulated", "Hello", false), &[]).await?;
    let body = refused.text().await?;
    assert!(body.contains("of text had come and are not sent)"), "{body}");
    fleet.stop_after(&[LOST]).await
}
