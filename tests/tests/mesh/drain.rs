//! The end of a process: what runs is finished, what comes is refused, and a second signal ends everything.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_testkit::eventually;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::caller::{chat_body, connect, next_health, post_chat, read, read_deltas, reason, say, watch_health};
use crate::service::{LIMIT, Service, Start, simulated_config};

const RUNNING: &str = "pointsman_gateway_running_requests";

#[tokio::test]
async fn an_interrupt_lets_streams_finish() -> Result<()> {
    let mut mesh = Service::simulated("answer_tokens: 60, timing: {step: 50ms}").await?;
    let mut client = connect(&mesh.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    let events = post_chat(&mesh.address, &chat_body("simulated", "Hello", true)).await?;
    read_deltas(&mut frames, 1).await?;
    assert_eq!((mesh.probe("readyz").await?, mesh.metric(RUNNING).await?), (200, 2));

    mesh.process.interrupt().await?;
    eventually!(LIMIT, mesh.probe("readyz").await.is_ok_and(|status| status == 503))?;
    assert_eq!(mesh.probe("livez").await?, 200);
    assert_eq!(mesh.metric(RUNNING).await?, 2, "the drain has begun and both streams run");
    assert!(reqwest::get(format!("{}/v1/models", mesh.address)).await.is_err(), "a new connection was taken");

    assert_eq!(read(frames).await?.pieces, 59);
    assert!(events.text().await?.ends_with("data: [DONE]\n\n"));
    let status = mesh.process.wait(LIMIT).await?;
    mesh.check(status, &[])
}

#[tokio::test]
async fn after_the_grace_streams_end_with_an_error() -> Result<()> {
    let engine = simulated_config("answer_tokens: 8000, timing: {step: 50ms}");
    let mut mesh = Start::new("up", &format!("{engine}server: {{shutdown_grace: 300ms}}\n")).ready().await?;
    let mut client = connect(&mesh.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    let mut other = client.clone();
    let whole = tokio::spawn(async move { other.generate(say("simulated", "Hello")).await });
    let events = post_chat(&mesh.address, &chat_body("simulated", "Hello", true)).await?;
    read_deltas(&mut frames, 1).await?;
    mesh.metric_is(RUNNING, 3).await?;

    mesh.process.terminate().await?;
    assert_eq!(read(frames).await?.reason()?, Reason::ShuttingDown);
    assert_eq!(reason(&whole.await?.err().context("a whole answer")?)?, Reason::ShuttingDown);
    let events = events.text().await?;
    assert!(events.contains("data: {\"error\":") && events.contains("shutting_down"), "{events}");
    assert!(!events.contains("[DONE]"), "{events}");
    let status = mesh.process.wait(LIMIT).await?;
    mesh.check(status, &["streams were still running at the end of the grace"])
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() -> Result<()> {
    let mut mesh = Service::simulated("answer_tokens: 8000, timing: {step: 50ms}").await?;
    let mut client = connect(&mesh.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 1).await?;
    mesh.process.interrupt().await?;
    eventually!(LIMIT, mesh.probe("readyz").await.is_ok_and(|status| status == 503))?;
    mesh.process.interrupt().await?;
    assert_eq!(mesh.process.wait(LIMIT).await?.code(), Some(130));
    assert!(read(frames).await?.error.is_some(), "a clean end");
    Ok(())
}

#[tokio::test]
async fn a_health_watch_sees_the_drain_and_ends() -> Result<()> {
    let mut mesh = Service::simulated("answer_tokens: 60, timing: {step: 50ms}").await?;
    let mut health = watch_health(&mesh.address).await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);
    let mut client = connect(&mesh.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 1).await?;
    mesh.process.interrupt().await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::NotServing);
    assert!(health.message().await?.is_none(), "the watch goes on");
    read(frames).await?.whole()?;
    let status = mesh.process.wait(LIMIT).await?;
    mesh.check(status, &[])
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    client.generate(say("simulated", "Hello")).await?;
    let http = reqwest::Client::new();
    assert_eq!(http.get(format!("{}/v1/models", mesh.address)).send().await?.status(), 200);
    // Open, and nothing was ever said on it.
    let _silent = tokio::net::TcpStream::connect(mesh.address.trim_start_matches("http://")).await?;
    mesh.stop().await
}
