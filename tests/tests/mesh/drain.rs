//! The end of a process: what runs is finished, what comes is refused, and a second signal ends everything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_testkit::eventually;
use tokio::net::TcpListener;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::caller::{chat_body, connect, next_health, post_chat, read, read_deltas, reason, say, watch_health};
use crate::service::{LIMIT, Service, Start, simulated_config};
use crate::slow_reader::narrow;

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
    let mut mesh = Start::new("up", &format!("{engine}server: {{shutdown_grace: 2s}}\n")).ready().await?;
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

/// An address that takes spans and never says that it has them.
async fn silent_collector() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    Ok((listener, address))
}

#[tokio::test]
async fn a_second_interrupt_ends_the_last_flush_too() -> Result<()> {
    let (_collector, endpoint) = silent_collector().await?;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let config = simulated_config("");
    let mut mesh = Start { environment: &environment, ..Start::new("up", &config) }.ready().await?;
    connect(&mesh.address).await?.generate(say("simulated", "Hello")).await?;
    mesh.process.interrupt().await?;
    mesh.process.line_with("drained", LIMIT).await?;
    mesh.process.interrupt().await?;
    assert_eq!(mesh.process.wait(Duration::from_secs(5)).await?.code(), Some(130));
    Ok(())
}

#[tokio::test]
async fn the_grace_is_the_whole_of_the_shutdown() -> Result<()> {
    let (_collector, endpoint) = silent_collector().await?;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let engine = simulated_config("answer_tokens: 80000, context_tokens: 1000000");
    let config = format!("{engine}server: {{shutdown_grace: 4s}}\n");
    let mut mesh = Start { environment: &environment, ..Start::new("up", &config) }.ready().await?;
    // Never read, and without a deadline of its own.
    let mut client = narrow(&mesh.address).await?;
    let _frames = client.generate_stream(say("simulated", "Hello")).await?;
    mesh.process.terminate().await?;
    let begun = Instant::now();
    let status = mesh.process.wait(LIMIT).await?;
    // 3 s of them are the streams'.
    let took = begun.elapsed();
    assert!(Duration::from_secs(3) <= took && took < Duration::from_secs(6), "{took:?}");
    let unsent = ["BatchSpanProcessor", "OTLP export failed"];
    mesh.check(status, &[&["streams were still running at the end of the grace"], &unsent[..]].concat())
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
