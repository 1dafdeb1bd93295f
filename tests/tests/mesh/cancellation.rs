//! Who goes away frees what was theirs: measured at the worker, by its own counts.

use anyhow::Result;

use crate::caller::{chat_body, connect, post_chat, read, read_deltas, say, say_at_most};
use crate::service::{Pair, simulated_config};

const RUNNING: &str = "pointsman_worker_running_requests";
const CANCELLED: &str = "pointsman_worker_requests_total{outcome=\"CANCELLED\"}";
const WRITTEN: &str = "pointsman_worker_tokens_total{kind=\"output\"}";

/// One slot, and answers that would take minutes, a token each 200 ms.
async fn slow_pair() -> Result<Pair> {
    let engine = simulated_config("answer_tokens: 1000, timing: {step: 200ms}");
    Pair::start(&format!("{engine}worker: {{slots: 1}}\n"), &[]).await
}

#[tokio::test]
async fn a_cancelled_stream_frees_its_slot_within_one_token() -> Result<()> {
    let mesh = slow_pair().await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 2).await?;
    assert_eq!(mesh.worker.metric(RUNNING).await?, 1);

    let before = mesh.worker.metric(WRITTEN).await?;
    drop(frames);
    mesh.worker.metric_is(RUNNING, 0).await?;
    let after = mesh.worker.metric(WRITTEN).await?;
    assert!(after <= before + 1, "{before} tokens were written when the caller left, {after} when its slot was free");
    mesh.worker.metric_is(CANCELLED, 1).await?;

    // The only slot is free for the next, and nothing of the first is written any more.
    let next = read(client.generate_stream(say_at_most("simulated", "Hello", 3)).await?.into_inner()).await?;
    assert_eq!(next.whole()?, "You said: Hello");
    assert_eq!(mesh.worker.metric(WRITTEN).await?, after + 3);
    mesh.stop().await
}

#[tokio::test]
async fn a_cancelled_whole_answer_frees_its_slot() -> Result<()> {
    let mesh = slow_pair().await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let call = tokio::spawn(async move { client.generate(say("simulated", "Hello")).await });
    mesh.worker.metric_is(RUNNING, 1).await?;
    call.abort();
    mesh.worker.metric_is(RUNNING, 0).await?;
    mesh.worker.metric_is(CANCELLED, 1).await?;
    mesh.stop().await
}

#[tokio::test]
async fn a_closed_http_connection_frees_its_slot() -> Result<()> {
    let mesh = slow_pair().await?;
    for (stream, cancelled) in [(true, 1), (false, 2)] {
        let address = mesh.gateway.address.clone();
        let call = tokio::spawn(async move {
            let mut response = post_chat(&address, &chat_body("simulated", "Hello", stream)).await?;
            while response.chunk().await?.is_some() {}
            anyhow::Ok(())
        });
        mesh.worker.metric_is(RUNNING, 1).await?;
        call.abort();
        mesh.worker.metric_is(RUNNING, 0).await?;
        mesh.worker.metric_is(CANCELLED, cancelled).await?;
    }
    mesh.stop().await
}

#[tokio::test]
async fn who_leaves_the_queue_is_forgotten() -> Result<()> {
    let mesh = slow_pair().await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut first = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut first, 1).await?;
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.generate(say("simulated", "me too")).await });
    mesh.worker.metric_is("pointsman_worker_queued_requests", 1).await?;
    waiting.abort();
    mesh.worker.metric_is("pointsman_worker_queued_requests", 0).await?;
    drop(first);
    mesh.worker.metric_is(RUNNING, 0).await?;
    mesh.stop().await
}
