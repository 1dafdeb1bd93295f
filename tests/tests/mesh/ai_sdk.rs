//! Vercel's AI SDK, with both of its packages for OpenAI's format.

use anyhow::Result;

use crate::program::node;
use crate::script::script;
use crate::service::Service;

const SCRIPT: &str = "tests/node/ai_sdk.mjs";

/// A part of the script, with the demo model.
async fn with_the_demo_model(part: &str) -> Result<()> {
    let mesh = Service::demo().await?;
    node(SCRIPT, &[part, &mesh.address]).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_ai_sdk_gets_answers() -> Result<()> {
    with_the_demo_model("answers").await?;
    with_the_demo_model("only").await
}

#[tokio::test]
async fn the_ai_sdk_goes_several_steps_with_tools() -> Result<()> {
    with_the_demo_model("tools").await
}

#[tokio::test]
async fn the_ai_sdk_gets_objects_of_a_schema() -> Result<()> {
    with_the_demo_model("forms").await
}

#[tokio::test]
async fn the_ai_sdk_gets_its_own_errors() -> Result<()> {
    with_the_demo_model("errors").await
}

#[tokio::test]
async fn the_ai_sdk_embeds_and_completes() -> Result<()> {
    let mesh = Service::simulated("").await?;
    node(SCRIPT, &["texts", &mesh.address]).await?;
    mesh.stop().await
}

/// What goes wrong so often that a client which tries again must have done so; and an answer without an end.
const REPLIES: &str = "\
replies:
  - {when: {equals: break}, answer: Half an ans, truncate: {after_pieces: 2}}
  - {when: {equals: full}, times: 3, error: {reason: QUEUE_FULL, message: nothing free, retry_after: 10ms}}
  - {when: {equals: full once}, times: 1, error: {reason: QUEUE_FULL, message: nothing free, retry_after: 10ms}}
  - {when: {equals: endless}, answer: one two three, delay: {per_piece: 1h}}
  - answer: after full
";

#[tokio::test]
async fn the_ai_sdk_tries_again_notices_broken_streams_and_leaves() -> Result<()> {
    let (_folder, engine) = script(REPLIES)?;
    let mesh = Service::simulated(&engine).await?;
    node(SCRIPT, &["script", &mesh.address]).await?;
    // Who leaves stops the work.
    mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    mesh.metric_is("pointsman_worker_requests_total{outcome=\"CANCELLED\"}", 1).await?;
    mesh.stop().await
}
