//! Too much at once, and too large: answered at once, with what to do.

use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use serde_json::Value;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::caller::{chat_body, connect, post_chat, read, read_deltas, reason, retry_delay, say, say_at_most};
use crate::service::{Service, Start, simulated_config};

#[tokio::test]
async fn a_full_queue_refuses_with_a_retry_hint() -> Result<()> {
    let engine = simulated_config("answer_tokens: 1000, timing: {step: 50ms}");
    let mesh = Start::new("up", &format!("{engine}worker: {{slots: 1, queue: 1}}\n")).ready().await?;
    let mut client = connect(&mesh.address).await?;
    let mut running = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut running, 1).await?;
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.generate(say("simulated", "Hello")).await });
    mesh.metric_is("pointsman_worker_queued_requests", 1).await?;

    let refused = client.generate_stream(say("simulated", "Hello")).await.err().context("a third request got in")?;
    assert_eq!((reason(&refused)?, refused.code()), (Reason::QueueFull, tonic::Code::ResourceExhausted));
    assert!(retry_delay(&refused).is_some_and(|delay| delay > Duration::ZERO), "{refused:?}");

    for stream in [false, true] {
        let refused = post_chat(&mesh.address, &chat_body("simulated", "Hello", stream)).await?;
        assert_eq!(refused.status(), 429);
        let headers = refused.headers();
        assert_eq!(headers["x-pointsman-reason"], "QUEUE_FULL");
        assert!(headers["retry-after"].to_str()?.parse::<u64>()? > 0);
        let body: Value = refused.json().await?;
        assert_eq!(body["error"]["code"], "rate_limit_exceeded", "{body}");
    }
    waiting.abort();
    drop(running);
    mesh.stop().await
}

#[tokio::test]
async fn a_worker_says_at_once_whether_it_takes_a_request() -> Result<()> {
    let engine = simulated_config("answer_tokens: 1000, context_tokens: 64, timing: {step: 200ms}");
    let worker = Start::new("worker", &format!("{engine}worker: {{slots: 1, queue: 1}}\n")).ready().await?;
    let mut client = connect(&worker.address).await?;
    let mut running = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut running, 1).await?;
    // The answer's headers are there while the request waits.
    let waiting = client.generate_stream(say_at_most("simulated", "Hello", 2)).await?.into_inner();
    assert_eq!(worker.metric("pointsman_worker_queued_requests").await?, 1);

    // A refusal is a status of its own, and no broken stream: tonic has an error then, and no frames.
    let nameless = client.generate_stream(say("", "Hello")).await.err().context("it got in")?;
    let unknown = client.generate_stream(say("other", "Hello")).await.err().context("it got in")?;
    let full = client.generate_stream(say("simulated", "Hello")).await.err().context("it got in")?;
    assert_eq!(reason(&nameless)?, Reason::InvalidRequest);
    assert_eq!((reason(&unknown)?, reason(&full)?), (Reason::ModelNotFound, Reason::QueueFull));
    drop(running);
    assert_eq!(read(waiting).await?.whole()?, "You said:");
    let words = "word ".repeat(64);
    let long = client.generate_stream(say("simulated", &words)).await.err().context("it got in")?;
    assert_eq!(reason(&long)?, Reason::ContextTooLong);

    let mut told = Request::new(say("simulated", "Hello"));
    told.metadata_mut().insert_bin("x-pointsman-mesh-context-bin", MetadataValue::from_bytes(&[0xff]));
    let told = client.generate_stream(told).await.err().context("it got in")?;
    assert_eq!(reason(&told)?, Reason::InvalidRequest);
    for (outcome, count) in
        [("INVALID_REQUEST", 2), ("MODEL_NOT_FOUND", 1), ("QUEUE_FULL", 1), ("CONTEXT_TOO_LONG", 1), ("FINISHED", 1)]
    {
        let name = format!("pointsman_worker_requests_total{{outcome=\"{outcome}\"}}");
        assert_eq!(worker.metric(&name).await?, count, "{outcome}");
    }
    worker.stop().await
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() -> Result<()> {
    let config = format!("{}server: {{max_request_size: 64KiB}}\n", simulated_config(""));
    let mesh = Start::new("up", &config).ready().await?;
    let large = "x".repeat(70 << 10);
    let refused = post_chat(&mesh.address, &chat_body("simulated", &large, false)).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (413, &"REQUEST_TOO_LARGE".parse()?)
    );

    let refused = connect(&mesh.address).await?.generate(say("simulated", &large)).await.err();
    assert_eq!(reason(&refused.context("it got in")?)?, Reason::RequestTooLarge);

    let fits = post_chat(&mesh.address, &chat_body("simulated", &"x".repeat(60 << 10), false)).await?;
    assert_eq!(fits.status(), 200);
    mesh.stop().await
}

#[tokio::test]
async fn a_prompt_that_leaves_no_room_is_refused() -> Result<()> {
    let mesh = Service::simulated("context_tokens: 16").await?;
    let words = "word ".repeat(20);
    let refused = connect(&mesh.address).await?.generate(say("simulated", &words)).await.err();
    assert_eq!(reason(&refused.context("it got in")?)?, Reason::ContextTooLong);
    let body: Value = post_chat(&mesh.address, &chat_body("simulated", &words, false)).await?.json().await?;
    assert_eq!(body["error"]["code"], "context_length_exceeded");
    mesh.stop().await
}
