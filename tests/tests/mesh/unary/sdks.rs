//! The same with the libraries that people use.

use anyhow::Result;

use crate::program::{node, python, python_stubs};
use crate::service::Service;

const SCRIPT: &str = "tests/python/openai_texts.py";

/// One part of the Python script, with a simulated engine of this configuration.
async fn simulated(part: &str, engine: &str) -> Result<()> {
    let mesh = Service::simulated(engine).await?;
    python(SCRIPT, &[part, &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_completes_texts() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["completions", &mesh.address], None).await?;
    python(SCRIPT, &["tokenize", &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_gets_embeddings() -> Result<()> {
    simulated("embeddings", "").await
}

#[tokio::test]
async fn the_python_library_is_told_what_only_embeds() -> Result<()> {
    simulated("only", "embeddings: {only: true, shortens: true}").await
}

#[tokio::test]
async fn the_node_library_completes_and_embeds() -> Result<()> {
    let mesh = Service::simulated("").await?;
    node("tests/node/openai_texts.mjs", &[&mesh.address]).await?;
    mesh.stop().await
}

#[tokio::test]
async fn stubs_count_and_embed() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let host = mesh.address.trim_start_matches("http://");
    python("tests/python/grpc_unary.py", &[host], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}
