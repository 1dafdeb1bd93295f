//! The types of OpenAI's own library: what they have is taken or refused by name, and what is answered fits them.

use anyhow::Result;
use pointsman_testkit::tools;

use crate::program::python;
use crate::service::Service;

const SCRIPT: &str = "tests/python/openai_contract.py";

#[tokio::test]
async fn every_field_of_the_python_library_is_taken_or_refused_by_name() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["requests", &mesh.address, "pip", "chat/completions", "completions"], None).await?;
    mesh.stop().await?;
    let mesh = Service::simulated("").await?;
    python(SCRIPT, &["requests", &mesh.address, "simulated", "embeddings"], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn every_answer_is_one_of_the_python_library() -> Result<()> {
    let mesh = Service::demo().await?;
    python(SCRIPT, &["answers", &mesh.address, "pip"], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn every_error_is_one_of_the_python_library() -> Result<()> {
    let script = tools::workspace()?.join("examples/script/replies.yaml");
    let mesh = Service::simulated(&format!("script: \"{}\"", script.display())).await?;
    python(SCRIPT, &["errors", &mesh.address, "simulated"], None).await?;
    mesh.stop().await
}
