//! The deadline of a call holds for whoever does not read its answer too.

use std::time::Duration;

use anyhow::Result;
use pointsman_errors::Reason;
use tonic::Request;

use crate::caller::{read, say};
use crate::service::{Pair, simulated_config};
use crate::slow_reader::narrow;

#[tokio::test]
async fn a_stalled_reader_frees_its_slot_at_the_deadline() -> Result<()> {
    // Tokens for minutes, and soon more of them than the windows between the engine and the reader take.
    let engine = simulated_config("answer_tokens: 500000, context_tokens: 1000000, timing: {step: 1ms}");
    let mesh = Pair::start(&engine, &[]).await?;
    let mut client = narrow(&mesh.gateway.address).await?;
    let mut request = Request::new(say("simulated", "Hello"));
    request.set_timeout(Duration::from_secs(2));
    let frames = client.generate_stream(request).await?.into_inner();
    assert_eq!(mesh.worker.metric("pointsman_worker_running_requests").await?, 1);
    // Nobody reads here.
    mesh.worker.metric_is("pointsman_worker_running_requests", 0).await?;
    mesh.gateway.metric_is("pointsman_gateway_running_requests", 0).await?;
    // What had been sent can be read, and then why there is no more.
    assert_eq!(read(frames).await?.reason()?, Reason::DeadlineExceeded);
    mesh.stop().await
}
