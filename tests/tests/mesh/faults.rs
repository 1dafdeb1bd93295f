//! The engine fails on schedule. The probe at the start is the engine's first request.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_testkit::eventually;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::caller::{chat_body, connect, next_health, post_chat, read, reason, say, watch_health};
use crate::service::{LIMIT, Service};

#[tokio::test]
async fn a_lost_engine_is_told_and_comes_back() -> Result<()> {
    // The third request takes the engine down. A probe takes two seconds, so that its absence can be seen.
    let engine = "answer_tokens: 100, timing: {step: 20ms, prefill_per_token: 400ms}, \
                  faults: [{every: 3, after_tokens: 2, kind: lose}]";
    let mesh = Service::simulated(engine).await?;
    let mut health = watch_health(&mesh.address).await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);

    let mut client = connect(&mesh.address).await?;
    let neighbour = client.generate_stream(say("simulated", "neighbour")).await?.into_inner();
    let loser = client.generate_stream(say("simulated", "loser")).await?.into_inner();
    let (neighbour, loser) = tokio::join!(read(neighbour), read(loser));
    assert_eq!((neighbour?.reason()?, loser?.reason()?), (Reason::EngineLost, Reason::EngineLost));

    assert_eq!(next_health(&mut health).await?, ServingStatus::NotServing);
    let refused = post_chat(&mesh.address, &chat_body("simulated", "Hello", false)).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (503, &"NO_INSTANCE_READY".parse()?)
    );
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);

    let answer = eventually!(LIMIT, client.generate(say("simulated", "Hello")).await)?;
    assert_eq!(answer.into_inner().choices.len(), 1);
    mesh.stop_after(&["the engine was lost"]).await
}

/// The engine's second request goes wrong after two tokens, with and without a batch.
async fn fault(kind: &str, want: Reason, log: &str) -> Result<()> {
    for timing in ["", "step: 1ms"] {
        let faults = format!("faults: [{{every: 2, after_tokens: 2, kind: {kind}}}], timing: {{{timing}}}");
        let mesh = Service::simulated(&faults).await?;
        let mut client = connect(&mesh.address).await?;
        let broken = read(client.generate_stream(say("simulated", "one two")).await?.into_inner()).await?;
        assert_eq!((broken.text.as_str(), broken.reason()?), ("You said:", want));
        mesh.metric_is("pointsman_worker_running_requests", 0).await?;
        mesh.stop_after(&[log]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_generation_is_told() -> Result<()> {
    fault("fail", Reason::GenerationFailed, "the engine failed a request").await
}

#[tokio::test]
async fn a_truncated_generation_is_told() -> Result<()> {
    fault("truncate", Reason::EngineLost, "the engine was lost").await
}

#[tokio::test]
async fn a_failed_whole_answer_is_an_error_of_the_dialect() -> Result<()> {
    let mesh = Service::simulated("faults: [{every: 2, after_tokens: 2, kind: fail}]").await?;
    let failed = post_chat(&mesh.address, &chat_body("simulated", "Hello", false)).await?;
    assert_eq!(
        (failed.status().as_u16(), &failed.headers()["x-pointsman-reason"]),
        (500, &"GENERATION_FAILED".parse()?)
    );
    mesh.stop_after(&["the engine failed a request"]).await
}

#[tokio::test]
async fn a_stalled_generation_ends_at_the_deadline() -> Result<()> {
    for timing in ["", "step: 1ms"] {
        let faults = format!("faults: [{{every: 2, after_tokens: 2, kind: stall}}], timing: {{{timing}}}");
        let mesh = Service::simulated(&faults).await?;
        let mut client = connect(&mesh.address).await?;
        let mut request = Request::new(say("simulated", "one two"));
        request.metadata_mut().insert("grpc-timeout", "700m".parse()?);
        let stalled = read(client.generate_stream(request).await?.into_inner()).await?;
        assert_eq!(stalled.text, "You said:");
        let status = stalled.error.context("a clean end")?;
        assert_eq!((status.code(), reason(&status)?), (Code::DeadlineExceeded, Reason::DeadlineExceeded));
        mesh.metric_is("pointsman_worker_running_requests", 0).await?;
        mesh.stop().await?;
    }
    Ok(())
}
