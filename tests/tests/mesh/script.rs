//! Replies that somebody wrote down, as callers meet them.

use anyhow::{Context, Result};
use pointsman_errors::{Error, Reason};
use pointsman_testkit::{Process, tools};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use crate::caller::{chat_body, connect, post_chat, read, read_deltas, reason, retry_delay, say};
use crate::program::{Ended, pointsman, python};
use crate::service::{LIMIT, Pair, Service, simulated_config};

const EXAMPLE: &str = "examples/script/replies.yaml";

/// A script in a folder of its own, and the configuration of an engine that follows it.
pub fn script(yaml: &str) -> Result<(TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("replies.yaml");
    std::fs::write(&file, yaml)?;
    let engine = format!("script: \"{}\"", file.display());
    Ok((folder, engine))
}

#[tokio::test]
async fn the_python_library_meets_what_the_example_says() -> Result<()> {
    let example = tools::workspace()?.join(EXAMPLE);
    let mesh = Service::simulated(&format!("script: \"{}\"", example.display())).await?;
    python("tests/python/openai_script.py", &[&mesh.address], None).await?;
    mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    // The worker was ready all the time: what a script says does not happen to the engine.
    assert_eq!(mesh.probe("readyz").await?, 200);
    mesh.stop().await
}

/// What goes wrong once or twice, and what a client that tries again by itself gets then.
const ONCE: &str = "\
replies:
  - {when: {equals: full}, times: 2, error: {reason: QUEUE_FULL, retry_after: 10ms}}
  - {when: {equals: full}, answer: after full}
  - {when: {equals: full whole}, times: 1, error: {reason: QUEUE_FULL}}
  - {when: {equals: full whole}, answer: after full whole}
  - {when: {equals: away}, times: 2, error: {reason: SHUTTING_DOWN}}
  - {when: {equals: away}, answer: after away}
  - {when: {equals: too large}, times: 1, error: {reason: REQUEST_TOO_LARGE}}
  - {when: {equals: refused}, times: 1, error: {reason: CONTENT_REFUSED}}
  - {when: {equals: begun}, times: 1, answer: a b, error: {reason: ENGINE_LOST, after_pieces: 1}}
  - answer: again
";

#[tokio::test]
async fn a_client_with_our_service_config_tries_again_what_is_worth_it() -> Result<()> {
    let (_folder, engine) = script(ONCE)?;
    let mesh = Service::simulated(&engine).await?;
    let host = mesh.address.trim_start_matches("http://");
    python("tests/python/grpc_retry.py", &[host, &mesh.address], None).await?;
    mesh.stop().await
}

#[tokio::test]
async fn up_takes_a_script_as_an_option() -> Result<()> {
    let example = tools::workspace()?.join(EXAMPLE);
    let example = example.to_str().context("the workspace's path is no text")?;
    let arguments = ["up", "--engine", "simulated", "--script", example, "--listen", "127.0.0.1:0"];
    let mut mesh = Process::start(&tools::binary()?, arguments, [("", ""); 0])?;
    let line = mesh.line_with("Pointsman is ready on http://127.0.0.1:", LIMIT).await?;
    let address = line.split_ascii_whitespace().find(|word| word.starts_with("http://")).context("no address")?;
    let answer = pointsman(&["chat", "--address", address, "Hello"]).await?.success()?;
    assert_eq!(answer, "Hello from the script.\n");
    mesh.interrupt().await?;
    assert_eq!(mesh.wait(LIMIT).await?.code(), Some(0));
    assert_eq!(mesh.unexpected_lines(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn an_error_comes_as_often_as_it_says() -> Result<()> {
    let yaml = "\
replies:
  - {times: 1, error: {reason: QUEUE_FULL, message: wait a little, retry_after: 3s}}
  - {times: 1, error: {reason: CONTEXT_TOO_LONG}}
  - answer: in the end
";
    for stream in [false, true] {
        let (_folder, engine) = script(yaml)?;
        let mesh = Service::simulated(&engine).await?;
        let full = post_chat(&mesh.address, &chat_body("simulated", "Hello", stream)).await?;
        assert_eq!((full.status().as_u16(), &full.headers()["retry-after"]), (429, &"3".parse()?));
        assert!(full.text().await?.contains("wait a little"));
        let mut client = connect(&mesh.address).await?;
        let refused = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::InvalidArgument, Reason::ContextTooLong));
        let answer = read(client.generate_stream(say("simulated", "Hello")).await?.into_inner()).await?.whole()?;
        assert_eq!(answer, "in the end");
        mesh.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_truncated_answer_is_an_error_to_every_caller() -> Result<()> {
    let (_folder, engine) = script("replies: [{answer: Half an ans, truncate: {after_pieces: 2}}]\n")?;
    let mesh = Pair::start(&simulated_config(&engine), &[]).await?;
    // Again and again: the only instance stays in use, whatever the gateway thinks of it. The worker says the same.
    for address in [&mesh.gateway.address, &mesh.gateway.address, &mesh.worker.address] {
        let mut client = connect(address).await?;
        let broken = read(client.generate_stream(say("simulated", "Hello")).await?.into_inner()).await?;
        assert_eq!((broken.text.as_str(), broken.reason()?), ("Half an", Reason::StreamTruncated));
        let whole = client.generate(say("simulated", "Hello")).await.err().context("a whole answer")?;
        assert_eq!(reason(&whole)?, Reason::StreamTruncated);
    }
    let events = post_chat(&mesh.gateway.address, &chat_body("simulated", "Hello", true)).await?.text().await?;
    assert!(events.contains("\" an\"") && events.contains("stream_truncated"), "{events}");
    assert!(!events.contains("[DONE]") && !events.contains("\"finish_reason\":\"stop\""), "{events}");
    let whole = post_chat(&mesh.gateway.address, &chat_body("simulated", "Hello", false)).await?;
    assert_eq!(whole.status(), 502);
    let body: Value = whole.json().await?;
    assert_eq!(body["error"]["code"], "stream_truncated");
    mesh.gateway.stop_after(&["an instance failed too often"]).await?;
    mesh.worker.stop().await
}

#[tokio::test]
async fn a_slow_reply_holds_nobody_up() -> Result<()> {
    let yaml = "\
replies:
  - {when: {equals: slow}, answer: one two three, delay: {per_piece: 1h}}
  - {when: {equals: silent}, hang: {}}
  - answer: at once
";
    let (_folder, engine) = script(yaml)?;
    let mesh = Service::simulated(&engine).await?;
    let mut client = connect(&mesh.address).await?;
    let mut slow = client.generate_stream(say("simulated", "slow")).await?.into_inner();
    read_deltas(&mut slow, 1).await?;
    let silent = {
        let mut client = client.clone();
        tokio::spawn(async move { client.generate_stream(say("simulated", "silent")).await.map(drop) })
    };
    mesh.metric_is("pointsman_worker_running_requests", 2).await?;
    let answer = read(client.generate_stream(say("simulated", "Hello")).await?.into_inner()).await?.whole()?;
    assert_eq!(answer, "at once");
    // Both end when their callers leave.
    drop(slow);
    silent.abort();
    mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    mesh.stop().await
}

#[tokio::test]
async fn a_request_that_no_reply_fits_is_told_so() -> Result<()> {
    let (_folder, engine) = script("replies: [{when: {equals: Hello}, answer: Hi}]\n")?;
    let mesh = Service::simulated(&engine).await?;
    let mut client = connect(&mesh.address).await?;
    let status = client.generate(say("simulated", "a secret")).await.err().context("it was answered")?;
    let error = Error::ours(&status).context("no error of ours")?;
    assert_eq!(error.reason(), Reason::GenerationFailed);
    assert!(error.message().contains("8 characters") && !error.message().contains("secret"), "{error}");
    assert_eq!(retry_delay(&status), None);
    mesh.stop().await
}

/// Checks a command with a script; everything that is wrong is told before it starts.
async fn checked(yaml: &str, options: &[&str]) -> Result<Ended> {
    let (folder, _) = script(yaml)?;
    let file = folder.path().join("replies.yaml");
    let file = file.to_str().context("the temporary folder's name is no text")?;
    pointsman(&[&["up", "--script", file, "--check-config"], options].concat()).await
}

#[tokio::test]
async fn a_bad_script_is_told_with_its_places() -> Result<()> {
    let simulated = ["--engine", "simulated"];
    let values = "replies:\n  - {times: 0, answer: x}\n  - error: {reason: NOTHING}\n  - answer: y\n";
    let ended = checked(values, &simulated).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for place in [
        "replies.yaml: line 2, column 13: replies[0].times: ",
        "replies.yaml: line 3, column 21: replies[1].error.reason: ",
    ] {
        assert!(ended.stderr.contains(place), "{place} is not in {}", ended.stderr);
    }
    let ended = checked("replies:\n  - anwser: x\n", &simulated).await?;
    assert!(ended.code == Some(64) && ended.stderr.contains("line 2, column 5: "), "{ended:?}");
    let ended = pointsman(&["up", "--engine", "simulated", "--script", "/no/such/file"]).await?;
    assert!(ended.code == Some(64) && ended.stderr.contains("/no/such/file: cannot be read"), "{ended:?}");
    checked("replies: [{answer: x}]\n", &simulated).await?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_script_is_for_the_simulated_engine() -> Result<()> {
    let good = "replies: [{answer: x}]\n";
    for options in [&[][..], &["--engine", "mistralrs"], &["--model", "/some/folder"]] {
        let ended = checked(good, options).await?;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.contains("--script: only the simulated engine"), "{ended:?}");
    }
    Ok(())
}
