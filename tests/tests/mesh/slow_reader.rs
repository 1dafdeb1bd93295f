//! A caller that does not read holds up nobody else.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_testkit::eventually;
use tonic::transport::Endpoint;

use crate::caller::{Client, connect, read, read_deltas, reason, say, say_at_most};
use crate::service::{LIMIT, Pair, Start, gateway_config, simulated_config};

/// Together more than a connection between two processes may hold, were it not for windows of their own.
const SLOW_READERS: usize = 6;
/// More than all windows on its way hold.
const TOKENS: u32 = 80_000;

const RUNNING: &str = "pointsman_worker_running_requests";
const FINISHED: &str = "pointsman_worker_requests_total{outcome=\"FINISHED\"}";

/// A client with the smallest windows, so that what it does not read stays with the mesh.
pub async fn narrow(address: &str) -> Result<Client> {
    let endpoint = Endpoint::from_shared(address.to_owned())?.timeout(LIMIT).initial_stream_window_size(1024);
    Ok(InferenceServiceClient::new(endpoint.connect().await?))
}

#[tokio::test]
async fn slow_readers_hold_up_nobody_else() -> Result<()> {
    let engine = format!("answer_tokens: {TOKENS}, context_tokens: 1000000");
    let mesh = Pair::start(&simulated_config(&engine), &[]).await?;
    let mut slow = Vec::new();
    for _ in 0..SLOW_READERS {
        let mut client = narrow(&mesh.gateway.address).await?;
        let mut frames = client.generate_stream(say("simulated", "slow")).await?.into_inner();
        read_deltas(&mut frames, 1).await?;
        slow.push((client, frames));
    }
    // The slow ones' answers pile up at the worker, before the fast one begins; their slots are free by then.
    mesh.worker.metric_is(FINISHED, SLOW_READERS as u64).await?;
    mesh.worker.metric_is(RUNNING, 0).await?;
    let mut fast = connect(&mesh.gateway.address).await?;
    for _ in 0..3 {
        let answer = read(fast.generate_stream(say_at_most("simulated", "fast", 2000)).await?.into_inner()).await?;
        assert_eq!(answer.pieces, 2000);
        assert!(answer.whole()?.starts_with("You said: fast"));
    }
    // What waited for its reader is whole.
    let (_client, frames) = slow.remove(0);
    let answer = read(frames).await?;
    assert_eq!(answer.pieces, TOKENS as usize - 1);
    answer.whole()?;
    drop(slow);
    mesh.stop().await
}

#[tokio::test]
async fn a_reader_that_stalls_loses_what_is_kept_no_longer() -> Result<()> {
    let engine = format!("answer_tokens: {TOKENS}, context_tokens: 1000000");
    let worker = Start::new("worker", &simulated_config(&engine)).ready().await?;
    let frame_log = "gateway: {frame_log: {max_bytes: 1MiB, stall_timeout: 1s}, ";
    let config = gateway_config(&worker.address).replace("gateway: {", frame_log);
    let gateway = Start::new("gateway", &config).ready().await?;
    let named = |id: &str| GenerateRequest { request_id: id.to_owned(), ..say_at_most("simulated", "Hello", TOKENS) };
    let mut frames = narrow(&gateway.address).await?.generate_stream(named("slow")).await?.into_inner();
    read_deltas(&mut frames, 1).await?;
    worker.metric_is(FINISHED, 1).await?;
    let mut client = connect(&gateway.address).await?;
    let few = |id: &str| GenerateRequest { request_id: id.to_owned(), ..say_at_most("simulated", "Hello", 1) };
    let refused = client.generate(few("next")).await.err().context("there was room")?;
    assert_eq!(reason(&refused)?, Reason::Overloaded);
    eventually!(LIMIT, client.generate(few("next")).await.is_ok())?;
    assert_eq!(read(frames).await?.reason()?, Reason::FrameLogLost);
    gateway.stop().await?;
    worker.stop().await
}

/// An engine that writes as fast as it can, and one that takes its time.
#[tokio::test]
async fn a_reader_that_stalls_holds_no_slot() -> Result<()> {
    for (timing, tokens) in [("", TOKENS), ("step: 1ms", 500)] {
        let engine = format!("answer_tokens: {tokens}, context_tokens: 1000000, timing: {{{timing}}}");
        let worker = format!("{}worker: {{slots: 1}}\n", simulated_config(&engine));
        let mesh = Pair::start(&worker, &[]).await?;
        // Straight to the worker, and nothing of it is read, not even its beginning.
        let mut stalled = narrow(&mesh.worker.address).await?;
        let frames = stalled.generate_stream(say("simulated", "slow")).await?.into_inner();
        let mut other = connect(&mesh.gateway.address).await?;
        let answer = read(other.generate_stream(say_at_most("simulated", "fast", 3)).await?.into_inner()).await?;
        assert_eq!(answer.whole()?, "You said: fast");
        mesh.worker.metric_is(FINISHED, 2).await?;
        mesh.worker.metric_is(RUNNING, 0).await?;
        // What waited for its reader is whole.
        let answer = read(frames).await?;
        assert_eq!(answer.pieces, tokens as usize);
        answer.whole()?;
        mesh.stop().await?;
    }
    Ok(())
}
