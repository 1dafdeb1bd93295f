//! Who goes away frees what was theirs: measured at the worker, by its own counts.

use anyhow::Result;
use pointsman_errors::Reason;
use pointsman_testkit::OtlpReceiver;
use pointsman_testkit::otlp::Span;
use tonic::Request;

use crate::caller::{chat_body, connect, post_chat, read, read_deltas, say, say_at_most};
use crate::service::{LIMIT, Pair, Start};

const RUNNING: &str = "pointsman_worker_running_requests";
const QUEUED: &str = "pointsman_worker_queued_requests";
const CANCELLED: &str = "pointsman_worker_requests_total{outcome=\"CANCELLED\"}";
const WRITTEN: &str = "pointsman_worker_tokens_total{kind=\"output\"}";

/// Answers that would take minutes, a token each 200 ms.
const SLOW: &str = "engine: {simulated: {answer_tokens: 1000, timing: {step: 200ms}}}\n";

/// One slot for them.
async fn slow_pair() -> Result<Pair> {
    Pair::start(&format!("{SLOW}worker: {{slots: 1}}\n"), &[]).await
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
    mesh.worker.metric_is(QUEUED, 1).await?;
    waiting.abort();
    mesh.worker.metric_is(QUEUED, 0).await?;
    mesh.worker.metric_is(CANCELLED, 1).await?;
    assert_eq!(mesh.worker.metric(RUNNING).await?, 1, "the one that runs is another's");
    drop(first);
    mesh.worker.metric_is(RUNNING, 0).await?;
    mesh.worker.metric_is(CANCELLED, 2).await?;
    mesh.stop().await
}

#[tokio::test]
async fn who_leaves_the_queue_is_told_in_a_span() -> Result<()> {
    let receiver = OtlpReceiver::start().await?;
    let endpoint = receiver.endpoint();
    let config = format!("{SLOW}worker: {{slots: 1}}\n");
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let worker = Start { environment: &environment, ..Start::new("worker", &config) }.ready().await?;
    let mut client = connect(&worker.address).await?;
    let mut first = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut first, 1).await?;
    let mut request = Request::new(say("simulated", "me too"));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    request.metadata_mut().insert("traceparent", format!("00-{trace}-b7ad6b7169203331-01").parse()?);
    let waiting = client.generate_stream(request).await?;
    drop(waiting);
    worker.metric_is(CANCELLED, 1).await?;
    drop(first);
    worker.metric_is(CANCELLED, 2).await?;
    worker.stop().await?;
    let ours = |span: &&Span| span.trace_id == trace;
    let spans = receiver.wait_for(LIMIT, |spans| spans.iter().filter(ours).count() >= 2).await?;
    let mut told: Vec<_> =
        spans.iter().filter(ours).map(|span| (span.name.as_str(), span.attribute("error.type"))).collect();
    told.sort_unstable();
    assert_eq!(told, [("generate", "CANCELLED"), ("queue", "")], "it was never prefilled");
    Ok(())
}

#[tokio::test]
async fn a_deadline_that_passes_is_counted_as_such() -> Result<()> {
    let mesh = slow_pair().await?;
    let mut client = connect(&mesh.worker.address).await?;
    let timed = |text| -> Result<_> {
        let mut request = Request::new(say("simulated", text));
        request.metadata_mut().insert("grpc-timeout", "1500m".parse()?);
        Ok(request)
    };
    // One runs into it, and one waits into it.
    let running = client.generate_stream(timed("Hello")?).await?.into_inner();
    mesh.worker.metric_is(RUNNING, 1).await?;
    let waiting = client.generate_stream(timed("me too")?).await?.into_inner();
    assert_eq!(mesh.worker.metric(QUEUED).await?, 1, "it is taken, and told so at once");
    assert_eq!(read(running).await?.reason()?, Reason::DeadlineExceeded);
    assert_eq!(read(waiting).await?.reason()?, Reason::DeadlineExceeded);
    mesh.worker.metric_is(RUNNING, 0).await?;
    mesh.worker.metric_is(QUEUED, 0).await?;
    mesh.worker.metric_is("pointsman_worker_requests_total{outcome=\"DEADLINE_EXCEEDED\"}", 2).await?;
    assert_eq!(mesh.worker.metric(CANCELLED).await?, 0);
    mesh.stop().await
}
