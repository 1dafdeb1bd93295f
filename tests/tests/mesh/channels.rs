//! `examples/channels`: a conversation in two messengers, a terminal and a page, against fakes of the messengers' vendors.

use std::path::Path;

use anyhow::{Context, Result};
use pointsman_testkit::{ports, tools};
use tempfile::TempDir;

use crate::examples::{copy, take_protos};
use crate::program::{python, python_stubs, run};
use crate::script::script;
use crate::service::{Service, Start, simulated_config};

const MESSENGERS: &str = "tests/python/channels.py";
const BROWSER: &str = "tests/python/channels_page.py";

/// Every answer is another one, so that none is taken for that of another message.
const REPLIES: &str = "\
replies:
  - {when: {equals: lost}, answer: found}
  - {when: {equals: late}, answer: better than never}
  - {when: {equals: full disk}, answer: room again}
  - {when: {equals: slow}, answer: but sure, delay: {first_piece: 1s}}
  - {when: {equals: slower}, answer: surer still, delay: {first_piece: 2s}}
  - {when: {equals: busy}, times: 1, error: {reason: QUEUE_FULL, retry_after: 10ms}}
  - {when: {equals: busy}, answer: free again}
  - {when: {equals: broken}, times: 1, answer: Half an answer, truncate: {after_pieces: 2}}
  - {when: {equals: broken}, answer: whole}
  - {when: {equals: post it}, answer: posted}
  - {when: {equals: next}, answer: and last}
  - {error: {reason: CONTENT_REFUSED}}
";

fn host(mesh: &Service) -> &str {
    mesh.address.trim_start_matches("http://")
}

#[tokio::test]
async fn one_conversation_goes_through_two_messengers_a_terminal_and_a_page() -> Result<()> {
    // The mesh is told who may call before the page is there.
    let port = ports::free_port()?.to_string();
    let origin = format!("server: {{cors: {{allowed_origins: [\"http://127.0.0.1:{port}\"]}}}}\n");
    let config = format!("{}{origin}", simulated_config("timing: {step: 30ms}"));
    let mesh = Start::new("up", &config).ready().await?;
    let (stubs, page) = (python_stubs().await?, build_page(&mesh).await?);
    let program = tools::binary()?;
    let program = program.to_str().context("the binary's path is no text")?;
    let printed = python(MESSENGERS, &["conversation", host(&mesh), program], Some(&stubs)).await?;
    let session = printed.lines().next_back().context("it named no session")?;
    let page = page.path().to_str().context("the temporary folder's name is no text")?;
    python(BROWSER, &[host(&mesh), page, &port, session], Some(&stubs)).await?;
    mesh.stop().await
}

#[tokio::test]
async fn messages_of_a_messenger_are_neither_lost_nor_answered_twice() -> Result<()> {
    let (_folder, engine) = script(REPLIES)?;
    let mesh = Service::simulated(&engine).await?;
    python(MESSENGERS, &["faults", host(&mesh), &mesh.operator], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}

#[tokio::test]
async fn a_mesh_that_dies_in_the_middle_of_a_turn_answers_once_when_it_is_back() -> Result<()> {
    let program = tools::binary()?;
    let program = program.to_str().context("the binary's path is no text")?;
    python("tests/python/channels_crash.py", &[program], Some(&python_stubs().await?)).await?;
    Ok(())
}

#[tokio::test]
async fn a_forged_delivery_leaves_nothing() -> Result<()> {
    let mesh = Service::simulated("").await?;
    python(MESSENGERS, &["forgeries", host(&mesh)], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}

/// Builds the page as the example says, with the packages of `tests/node`.
async fn build_page(mesh: &Service) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    copy("examples/channels/page", folder.path())?;
    std::os::unix::fs::symlink(tools::node_modules()?, folder.path().join("node_modules"))?;
    let protos = folder.path().join("protos");
    take_protos(mesh, &protos).await?;
    let interpreter = tools::python()?;
    let environment: [(&str, &Path); 1] = [("PYTHON", &interpreter)];
    run(&folder.path().join("build.sh"), &[protos], &environment, "").await?.success()?;
    Ok(folder)
}
