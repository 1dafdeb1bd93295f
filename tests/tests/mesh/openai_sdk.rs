//! OpenAI's own libraries, for Python and for Node.

use anyhow::Result;
use pointsman_testkit::eventually;

use crate::program::{node, python};
use crate::service::{LIMIT, Pair, Service, simulated_config};

const RUNNING: &str = "pointsman_worker_running_requests";
const CANCELLED: &str = "pointsman_worker_requests_total{outcome=\"CANCELLED\"}";
const SCRIPT: &str = "tests/python/openai_chat.py";
const STRUCTURED: &str = "tests/python/openai_structured.py";

#[tokio::test]
async fn the_python_library_gets_answers() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["answers", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_gets_its_own_errors() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["errors", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_gets_json_of_many_schemas() -> Result<()> {
    let mesh = Service::demo().await?;
    python(STRUCTURED, &["forms", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_calls_tools_and_sends_their_results_back() -> Result<()> {
    let mesh = Service::demo().await?;
    python(STRUCTURED, &["tools", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_gets_scores_several_answers_and_changed_logits() -> Result<()> {
    let mesh = Service::demo().await?;
    python(STRUCTURED, &["numbers", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn what_is_promised_holds_in_every_mixture_of_options() -> Result<()> {
    let mesh = Service::demo().await?;
    python(STRUCTURED, &["mixture", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn seeds_repeat_everything_under_load_and_after_a_restart() -> Result<()> {
    let mut told = Vec::new();
    for _ in 0..2 {
        let mesh = Service::demo().await?;
        told.push(python(STRUCTURED, &["repeat", &mesh.address], None).await?);
        mesh.stop().await?;
    }
    assert!(told[0].len() > 1_000, "{}", told[0]);
    assert_eq!(told[0], told[1]);
    Ok(())
}

#[tokio::test]
async fn who_leaves_the_demo_model_stops_its_work() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["leave", &mesh.address, "pip"], None).await?;
    mesh.metric_is(RUNNING, 0).await?;
    // A story may be told before its caller is gone; not all of them.
    eventually!(LIMIT, mesh.metric(CANCELLED).await.is_ok_and(|cancelled| cancelled > 0))?;
    python(SCRIPT, &["answers", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn who_leaves_streams_and_whole_answers_stops_their_work() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 1000, timing: {step: 100ms}").await?;
    python(SCRIPT, &["leave", &mesh.address, "simulated"], None).await?;
    mesh.metric_is(RUNNING, 0).await?;
    mesh.metric_is(CANCELLED, 6).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_raises_where_a_stream_breaks() -> Result<()> {
    let mut mesh = Pair::start(&simulated_config("answer_tokens: 1000, timing: {step: 50ms}"), &[]).await?;
    let call = {
        let address = mesh.gateway.address.clone();
        tokio::spawn(async move { python(SCRIPT, &["broken", &address, "simulated"], None).await })
    };
    mesh.worker.metric_is(RUNNING, 1).await?;
    let written = "pointsman_worker_tokens_total{kind=\"output\"}";
    eventually!(LIMIT, mesh.worker.metric(written).await.is_ok_and(|tokens| tokens > 2))?;
    mesh.worker.process.kill9().await?;
    call.await??;
    mesh.gateway.stop_after(&["an instance could not be reached, or was lost"]).await
}

#[tokio::test]
async fn the_node_library_gets_answers() -> Result<()> {
    let mesh = Service::demo().await?;
    node("tests/node/openai_chat.mjs", &[&mesh.address]).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_node_library_calls_tools_and_gets_forms() -> Result<()> {
    let mesh = Service::demo().await?;
    node("tests/node/openai_structured.mjs", &[&mesh.address]).await?;
    mesh.stop().await
}
