//! gRPC as other languages see it: Python's library, with stubs made from `proto/`, and with reflection alone.

use anyhow::Result;

use crate::program::{python, python_stubs};
use crate::service::{Service, Start, simulated_config};

const SCRIPT: &str = "tests/python/grpc_stubs.py";

fn host(mesh: &Service) -> &str {
    mesh.address.trim_start_matches("http://")
}

#[tokio::test]
async fn stubs_get_whole_answers_and_frames() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["answers", host(&mesh)], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}

#[tokio::test]
async fn stubs_get_rich_errors() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["errors", host(&mesh)], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}

#[tokio::test]
async fn stubs_end_at_their_deadline_and_when_cancelled() -> Result<()> {
    let engine = simulated_config("answer_tokens: 1000, timing: {step: 100ms}");
    let mesh = Start::new("up", &format!("{engine}worker: {{slots: 1}}\n")).ready().await?;
    python(SCRIPT, &["ends", host(&mesh)], Some(&python_stubs().await?)).await?;
    mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    assert_eq!(mesh.metric("pointsman_worker_queued_requests").await?, 0);
    mesh.stop().await
}

#[tokio::test]
async fn stubs_keep_conversations() -> Result<()> {
    let mesh = Service::demo().await?;
    python("tests/python/grpc_sessions.py", &[host(&mesh)], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}

#[tokio::test]
async fn reflection_is_enough_to_call() -> Result<()> {
    let mesh = Service::demo().await?;
    python("tests/python/grpc_reflection_only.py", &[host(&mesh)], None).await?;
    mesh.stop().await
}
