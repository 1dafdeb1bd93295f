//! A worker dies, stays away and comes back. Nobody gets a clean end of a broken stream.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_testkit::eventually;
use reqwest::Response;

use crate::caller::{chat_body, connect, post_chat, read, read_deltas, reason, say};
use crate::service::{LIMIT, Pair, Start, simulated_config};

const SLOW: &str = "answer_tokens: 1000, timing: {step: 50ms}";
/// What the gateway's log says of a worker that went away.
const WARNINGS: [&str; 2] = ["an instance could not be reached, or was lost", "an instance could not be reached"];

/// Reads events until the text has come so often.
async fn read_until(response: &mut Response, text: &str, count: usize) -> Result<String> {
    let mut events = String::new();
    while events.matches(text).count() < count {
        let bytes = response.chunk().await?.with_context(|| format!("the events end: {events}"))?;
        events.push_str(std::str::from_utf8(&bytes)?);
    }
    Ok(events)
}

#[tokio::test]
async fn a_killed_worker_is_an_error_to_every_caller_and_no_end() -> Result<()> {
    let mut mesh = Pair::start(&simulated_config(SLOW), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    let mut other = client.clone();
    let whole = tokio::spawn(async move { other.generate(say("simulated", "Hello")).await });
    let mut events = post_chat(&mesh.gateway.address, &chat_body("simulated", "Hello", true)).await?;
    assert_eq!(events.status(), 200);
    read_deltas(&mut frames, 2).await?;
    read_until(&mut events, "data: ", 3).await?;
    mesh.worker.metric_is("pointsman_worker_running_requests", 3).await?;

    mesh.worker.process.kill9().await?;

    let broken = read(frames).await?;
    let status = broken.error.as_ref().context("a clean end")?;
    assert_eq!((status.code(), broken.reason()?), (tonic::Code::Unavailable, Reason::StreamTruncated));
    assert_eq!(reason(&whole.await?.err().context("a whole answer")?)?, Reason::StreamTruncated);
    let rest = events.text().await?;
    let last = rest.trim_end().rsplit("\n\n").next().unwrap_or_default();
    assert!(last.starts_with("data: {\"error\":") && last.contains("stream_truncated"), "{rest}");
    assert!(!rest.contains("[DONE]"), "{rest}");
    mesh.gateway.stop_after(&WARNINGS).await
}

#[tokio::test]
async fn a_worker_that_is_away_is_told_and_found_again() -> Result<()> {
    let mut mesh = Pair::start(&simulated_config(""), &[]).await?;
    let (gateway, address) = (mesh.gateway, mesh.worker.address.clone());
    mesh.worker.process.kill9().await?;
    eventually!(LIMIT, gateway.probe("readyz").await.is_ok_and(|status| status == 503))?;

    let refused = post_chat(&gateway.address, &chat_body("simulated", "Hello", true)).await?;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
    let named = refused.headers()["x-pointsman-reason"].to_str()?;
    assert!(["NO_INSTANCE_READY", "INSTANCE_UNREACHABLE"].contains(&named), "{named}");
    let mut client = connect(&gateway.address).await?;
    let refused = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    assert!([Reason::NoInstanceReady, Reason::InstanceUnreachable].contains(&reason(&refused)?), "{refused:?}");

    // At its old address, with something else to serve: the gateway asks again.
    let listen = address.trim_start_matches("http://");
    let engine = simulated_config("target: models/other/versions/2");
    let worker = Start { listen, ..Start::new("worker", &engine) }.ready().await?;
    let answer = eventually!(LIMIT, client.generate(say("other", "Hello")).await)?.into_inner();
    assert_eq!(answer.started.context("no Started")?.target, "models/other/versions/2");
    gateway.stop_after(&WARNINGS).await?;
    worker.stop().await
}

#[tokio::test]
async fn a_worker_that_drains_is_left_alone() -> Result<()> {
    let mesh = Pair::start(&simulated_config("answer_tokens: 60, timing: {step: 50ms}"), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 1).await?;
    mesh.worker.process.interrupt().await?;
    eventually!(LIMIT, mesh.gateway.probe("readyz").await.is_ok_and(|status| status == 503))?;
    let refused = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::NoInstanceReady);
    assert_eq!(read(frames).await?.pieces, 59, "what ran was finished");
    let (mut worker, gateway) = (mesh.worker, mesh.gateway);
    let status = worker.process.wait(LIMIT).await?;
    worker.check(status, &[])?;
    gateway.stop().await
}
