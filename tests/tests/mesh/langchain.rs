//! LangChain, as its users call OpenAI with it.

use anyhow::Result;

use crate::program::langchain;
use crate::script::script;
use crate::service::Service;

const SCRIPT: &str = "tests/python/langchain_chat.py";

/// A part of the script, with the demo model.
async fn with_the_demo_model(part: &str) -> Result<()> {
    let mesh = Service::demo().await?;
    langchain(SCRIPT, &[part, &mesh.address]).await?;
    mesh.stop().await
}

#[tokio::test]
async fn langchain_gets_answers() -> Result<()> {
    with_the_demo_model("answers").await
}

#[tokio::test]
async fn langchain_calls_tools_and_sends_their_results_back() -> Result<()> {
    with_the_demo_model("tools").await
}

#[tokio::test]
async fn langchain_gets_structured_output_by_each_of_its_methods() -> Result<()> {
    with_the_demo_model("forms").await
}

#[tokio::test]
async fn langchain_raises_its_own_errors_with_our_words() -> Result<()> {
    with_the_demo_model("errors").await
}

#[tokio::test]
async fn langchain_embeds_texts_and_is_told_about_token_ids() -> Result<()> {
    let mesh = Service::simulated("").await?;
    langchain(SCRIPT, &["embeddings", &mesh.address]).await?;
    mesh.stop().await
}

/// A stream that breaks off, and a queue that is full: once for who gives up, once for who tries again.
const REPLIES: &str = "\
replies:
  - {when: {equals: break}, answer: Half an ans, truncate: {after_pieces: 2}}
  - {when: {equals: full}, times: 2, error: {reason: QUEUE_FULL, message: nothing free, retry_after: 1s}}
  - answer: after full
";

#[tokio::test]
async fn langchain_notices_broken_streams_and_waits_for_full_queues() -> Result<()> {
    let (_folder, engine) = script(REPLIES)?;
    let mesh = Service::simulated(&engine).await?;
    langchain(SCRIPT, &["script", &mesh.address]).await?;
    mesh.stop().await
}
