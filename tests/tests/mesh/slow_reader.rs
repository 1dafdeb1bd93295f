//! A caller that does not read holds up nobody else.

use anyhow::Result;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_testkit::eventually;
use tonic::transport::Endpoint;

use crate::caller::{Client, connect, read, read_deltas, say, say_at_most};
use crate::service::{LIMIT, Pair, simulated_config};

/// Together more than a connection between two processes may hold, were it not for windows of their own.
const SLOW_READERS: usize = 6;
const TOKENS: u32 = 80_000;

/// A client with the smallest windows, so that what it does not read stays with the mesh.
async fn narrow(address: &str) -> Result<Client> {
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
    // The slow ones' answers pile up to where they must stop, before the fast one begins.
    let (mut written, mut readings) = (0, 0);
    eventually!(LIMIT, {
        let now = mesh.worker.metric("pointsman_worker_tokens_total{kind=\"output\"}").await?;
        readings = if now == written { readings + 1 } else { 0 };
        written = now;
        anyhow::ensure!(readings == 20, "{now} tokens, and more to come");
        anyhow::Ok(())
    })?;
    mesh.worker.metric_is("pointsman_worker_running_requests", SLOW_READERS as u64).await?;
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
    mesh.worker.metric_is("pointsman_worker_running_requests", 0).await?;
    mesh.stop().await
}
