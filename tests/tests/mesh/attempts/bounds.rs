//! What bounds attempts: their number, their causes, and mistakes of the caller.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::AttemptKind::{Fallback, First, Retry};
use pointsman_proto::inference::v1::{GenerateRequest, Sampling};

use super::ANSWERS;
use crate::caller::{attempts_in, chat_body, connect, post_chat, reason, retry_delay, say, told};
use crate::fleet::{Fleet, Member, RUNNING, chat};

#[tokio::test]
async fn every_failure_before_the_first_piece_is_another_workers_chance() -> Result<()> {
    let failures = "[
        {when: {equals: truncated}, truncate: {}},
        {when: {equals: failed}, error: {reason: GENERATION_FAILED}},
        {when: {equals: lost}, error: {reason: ENGINE_LOST}},
        {when: {equals: leaving}, error: {reason: SHUTTING_DOWN}},
        {when: {equals: full}, error: {reason: QUEUE_FULL, retry_after: 1h}}]";
    let fleet = Fleet::start(&[Member::replies(failures), Member::replies(ANSWERS)], &chat("")).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    // The last is left alone from then on, as it asked for.
    for (text, outcome) in [
        ("truncated", "STREAM_TRUNCATED"),
        ("failed", "GENERATION_FAILED"),
        ("lost", "ENGINE_LOST"),
        ("leaving", "SHUTTING_DOWN"),
        ("full", "QUEUE_FULL"),
    ] {
        let answer = client.generate(say("chat", text)).await.with_context(|| text.to_owned())?.into_inner();
        let started = answer.started.context("no Started")?;
        assert_eq!(told(&started.attempts), [(First, "w1", outcome), (Retry, "w2", "ANSWERING")], "{text}");
    }
    let answer = client.generate(say("chat", "full")).await?.into_inner();
    assert_eq!(told(&answer.started.context("no Started")?.attempts), [(First, "w2", "ANSWERING")]);
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn where_all_queues_are_full_the_caller_is_told_when_to_come_back() -> Result<()> {
    let full = Member { worker: "slots: 1, queue: 0", ..Member::replies("[{hang: {}}]") };
    let fleet = Fleet::start(&[full, full], &chat("")).await?;
    let address = &fleet.gateway.address;
    let mut running = Vec::new();
    for count in 1..=2 {
        let mut client = connect(address).await?;
        running.push(tokio::spawn(async move { client.generate(say("chat", "Hello")).await }));
        fleet_runs(&fleet, count).await?;
    }
    let refused = connect(address).await?.generate(say("chat", "Hello")).await.err().context("it got in")?;
    assert_eq!(reason(&refused)?, Reason::QueueFull);
    assert!(retry_delay(&refused).is_some_and(|delay| !delay.is_zero()), "{refused:?}");
    let line = attempts_in(refused.metadata());
    assert_eq!(line.matches(" QUEUE_FULL ").count(), 2, "both were asked: {line}");
    let refused = post_chat(address, &chat_body("chat", "Hello", true)).await?;
    assert_eq!((refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]), (429, &"QUEUE_FULL".parse()?));
    assert!(refused.headers()["retry-after"].to_str()?.parse::<u64>()? > 0);
    running.iter().for_each(tokio::task::JoinHandle::abort);
    fleet_runs(&fleet, 0).await?;
    fleet.stop_after(&[]).await
}

async fn fleet_runs(fleet: &Fleet, count: u64) -> Result<()> {
    super::leaving::sum_is(fleet, &[crate::fleet::RUNNING], count).await
}

/// How often a worker was asked and failed.
const FAILED: &str = "pointsman_worker_requests_total{outcome=\"GENERATION_FAILED\"}";

#[tokio::test]
async fn there_are_never_more_attempts_than_allowed() -> Result<()> {
    let fails = Member::replies("[{error: {reason: GENERATION_FAILED}}]");
    for (rule, allowed) in
        [("max_attempts: 1", 1), ("max_attempts: 2", 2), ("max_attempts: 2, hedge: {after: 0.001s}", 2)]
    {
        let fleet = Fleet::start(&[fails, fails, fails], &chat(rule)).await?;
        let failed = connect(&fleet.gateway.address).await?.generate(say("chat", "Hello")).await;
        let failed = failed.err().context("it was answered")?;
        assert_eq!(reason(&failed)?, Reason::GenerationFailed);
        let line = attempts_in(failed.metadata());
        assert_eq!(line.split(", ").count(), allowed, "{rule}: {line}");
        assert!(fleet.sum(FAILED).await? <= allowed as u64, "{rule}: {line}");
        fleet.stop_after(&[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_long_prompt_goes_to_a_larger_context_if_the_policy_says_so() -> Result<()> {
    let rule = |name: &str, causes: &str| {
        let fallback = format!("{{target: large{causes}}}");
        format!("{{name: {name}, rules: [{{name: all, targets: [{{target: small}}], fallbacks: [{fallback}]}}]}}")
    };
    let (longer, plain) = (rule("longer", ", causes: [CAUSE_CONTEXT_TOO_LONG]"), rule("plain", ""));
    let small = Member::engine("target: models/small/versions/1, context_tokens: 32");
    let large = Member::engine("target: models/large/versions/1");
    let fleet = Fleet::start(&[small, large], &format!("virtual_models: [{longer}, {plain}]\n")).await?;
    let long = "word ".repeat(64);
    let mut client = connect(&fleet.gateway.address).await?;
    let answer = client.generate(say("longer", &long)).await?.into_inner().started.context("no Started")?;
    assert_eq!(answer.target, "models/large/versions/1");
    assert_eq!(told(&answer.attempts), [(First, "w1", "CONTEXT_TOO_LONG"), (Fallback, "w2", "ANSWERING")]);
    let short = client.generate(say("longer", "Hi")).await?.into_inner().started.context("no Started")?;
    assert_eq!(short.target, "models/small/versions/1");

    let refused = client.generate(say("plain", &long)).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::ContextTooLong);
    assert_eq!(attempts_in(refused.metadata()).split(", ").count(), 1);
    let refused = post_chat(&fleet.gateway.address, &chat_body("plain", &long, true)).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (400, &"CONTEXT_TOO_LONG".parse()?)
    );
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_mistake_of_the_caller_is_told_and_tried_no_further() -> Result<()> {
    let refuses = "[{when: {equals: worker}, error: {reason: INVALID_REQUEST}}, {answer: x}]";
    let fleet = Fleet::start(&[Member::replies(refuses), Member::replies(ANSWERS)], &chat("")).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let refused = client.generate(say("chat", "worker")).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::InvalidRequest);
    let line = attempts_in(refused.metadata());
    assert!(line.contains("@w1 INVALID_REQUEST ") && !line.contains("w2"), "{line}");
    // What the gateway itself sees goes to nobody.
    let sampling = Some(Sampling { temperature: Some(-1.0), ..Sampling::default() });
    let refused = client.generate(GenerateRequest { sampling, ..say("chat", "Hi") }).await.err().context("answered")?;
    assert_eq!((reason(&refused)?, attempts_in(refused.metadata()).as_str()), (Reason::InvalidRequest, ""));
    let lacking = GenerateRequest { choice_count: Some(3), ..say("chat", "Hi") };
    let refused = client.generate(lacking).await.err().context("answered")?;
    assert_eq!((reason(&refused)?, attempts_in(refused.metadata()).as_str()), (Reason::UnsupportedField, ""));
    fleet.stop_after(&[]).await
}

/// What the rule allows for all attempts is no deadline of the caller: its own answer comes then.
#[tokio::test]
async fn where_the_whole_takes_too_long_a_policy_may_answer_itself() -> Result<()> {
    let policy = chat("static_answer: {text: Back soon.}, timeouts: {total: 0.5s, connect: 0.4s, first_token: 0.5s}");
    let fleet = Fleet::start(&[Member::replies("[{hang: {}}]")], &policy).await?;
    let answer = post_chat(&fleet.gateway.address, &chat_body("chat", "Hello", false)).await?;
    assert_eq!(answer.headers()["x-pointsman-static-answer"], "true");
    assert!(answer.headers()["x-pointsman-attempts"].to_str()?.contains("@w1 ATTEMPT_TIMEOUT "), "{answer:?}");
    assert!(answer.text().await?.contains("Back soon."));
    fleet.workers[0].metric_is(RUNNING, 0).await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn an_extra_attempt_that_finds_nobody_is_none() -> Result<()> {
    let failing = Member::replies("[{error: {reason: GENERATION_FAILED}}]");
    let policy = chat("static_answer: {text: Back soon.}, hedge: {after: 0.001s}");
    let fleet = Fleet::start(&[failing], &policy).await?;
    for stream in [false, true] {
        let answer = post_chat(&fleet.gateway.address, &chat_body("chat", "Hello", stream)).await?;
        let line = answer.headers()["x-pointsman-attempts"].to_str()?;
        assert!(line.contains("@w1 GENERATION_FAILED ") && !line.contains("ANSWERING"), "{line}");
        assert_eq!(answer.headers()["x-pointsman-static-answer"], "true");
        assert!(answer.text().await?.contains("Back soon."));
    }
    let read = connect(&fleet.gateway.address).await?.generate(say("chat", "Hello")).await?.into_inner();
    let started = read.started.context("it says nothing of itself")?;
    assert_eq!(told(&started.attempts), [(First, "w1", "GENERATION_FAILED")]);
    fleet.stop_after(&[]).await
}
