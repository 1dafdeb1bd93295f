//! Runs: generations that outlive their calls.

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{Frame, GenerateRequest};
use pointsman_proto::sessions::v1::{
    CancelRunRequest, GetRunRequest, InterruptTurnRequest, ListRunsRequest, ResumeRunRequest, Run, RunState, TurnKind,
};
use pointsman_testkit::eventually;
use tonic::{Status, Streaming};

use super::stores::{Kept, Victim};
use super::{Sessions, get, mesh_in, revision, said, sessions, turn, turns};
use crate::caller::{chat_body, connect, reason};
use crate::named::{ENDLESS, SLOW, ask, check_whole, frames, post, refusal, text};
use crate::service::LIMIT;

/// A run in the session `tea`.
pub fn run(id: &str) -> GenerateRequest {
    GenerateRequest { request_id: id.to_owned(), detach: true, ..turn("tea", "Hello") }
}

async fn found(client: &mut Sessions, id: &str) -> Result<Run, Status> {
    let request = GetRunRequest { name: "sessions/tea".to_owned(), request_id: id.to_owned() };
    Ok(client.get_run(request).await?.into_inner())
}

async fn resumed(client: &mut Sessions, id: &str, after_sequence: u64) -> Result<Streaming<Frame>, Status> {
    let request = ResumeRunRequest { name: "tea".to_owned(), request_id: id.to_owned(), after_sequence };
    Ok(client.resume_run(request).await?.into_inner())
}

/// Reads to the end, which is an error.
async fn broken(stream: &mut Streaming<Frame>) -> Result<(Vec<Frame>, Status)> {
    let mut all = Vec::new();
    loop {
        match tokio::time::timeout(LIMIT, stream.message()).await? {
            Ok(Some(frame)) => all.push(frame),
            Ok(None) => anyhow::bail!("it ended well after {} frames", all.len()),
            Err(status) => return Ok((all, status)),
        }
    }
}

#[tokio::test]
async fn a_run_goes_on_when_its_caller_leaves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mesh = mesh_in(folder.path(), SLOW).await?;
    let mut client = connect(&mesh.address).await?;
    // Whatever the call's deadline says.
    let mut request = tonic::Request::new(run("a"));
    request.set_timeout(std::time::Duration::from_millis(700));
    let mut stream = client.generate_stream(request).await?.into_inner();
    let mut read = frames(&mut stream, 3).await?;
    drop(stream);
    let mut store = sessions(&mesh.address).await?;
    assert_eq!(found(&mut store, "a").await?.state(), RunState::Running);
    // Two readers, from a place each.
    let (mut whole, mut rest) = (resumed(&mut store, "a", 0).await?, resumed(&mut store, "a", 3).await?);
    read.extend(frames(&mut rest, usize::MAX).await?);
    check_whole(&read)?;
    assert_eq!(revision(&read)?, 1);
    assert_eq!(frames(&mut whole, usize::MAX).await?, read);
    let ended = found(&mut store, "a").await?;
    assert_eq!((ended.state(), ended.revision, ended.last_sequence), (RunState::Succeeded, 1, read.len() as u64 - 1));
    // After its end, too; and the request is answered with what there is.
    assert_eq!(frames(&mut resumed(&mut store, "a", 0).await?, usize::MAX).await?, read);
    let last = read.len() as u64;
    assert!(frames(&mut resumed(&mut store, "a", last).await?, usize::MAX).await?.is_empty());
    let refused = resumed(&mut store, "a", last + 1).await.err().context("it has no such frame")?;
    assert_eq!(reason(&refused)?, Reason::InvalidRequest);
    let repeated = ask(&mut client, run("a")).await?;
    assert_eq!(text(&repeated), text(&read));
    let kept = turns(&mut store, "tea").await?;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].output.as_ref().map(|output| said(std::slice::from_ref(output))), Some(text(&read)));
    let refused = found(&mut store, "b").await.err().context("there is none")?;
    assert_eq!(reason(&refused)?, Reason::RunNotFound);
    mesh.stop().await
}

#[tokio::test]
async fn over_http_a_header_makes_a_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mesh = mesh_in(folder.path(), SLOW).await?;
    let body = chat_body("simulated", "Hello", true);
    let headers = [("x-pointsman-session", "tea"), ("x-pointsman-detach", "true"), ("idempotency-key", "h")];
    let answer = post(&mesh.address, &body, &headers).await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    drop(answer);
    let mut store = sessions(&mesh.address).await?;
    eventually!(LIMIT, found(&mut store, "h").await.is_ok_and(|run| run.state() == RunState::Succeeded))?;
    let runs = store.list_runs(ListRunsRequest { name: "tea".to_owned(), ..ListRunsRequest::default() }).await?;
    assert_eq!(runs.into_inner().runs, [found(&mut store, "h").await?]);
    assert_eq!(get(&mut store, "tea").await?.revision, 1);
    for (headers, names) in [
        (vec![("x-pointsman-detach", "true")], "x-pointsman-session"),
        (vec![("x-pointsman-detach", "yes"), ("x-pointsman-session", "tea")], "must be `true` or `false`"),
    ] {
        let answer = post(&mesh.address, &body, &headers).await?;
        assert_eq!(answer.status(), 400);
        let told = answer.text().await?;
        ensure!(told.contains(names), "{told}");
    }
    mesh.stop().await
}

#[tokio::test]
async fn a_run_that_is_cancelled_stops_and_leaves_no_turn() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mesh = mesh_in(folder.path(), ENDLESS).await?;
    let mut client = connect(&mesh.address).await?;
    let mut stream = client.generate_stream(run("a")).await?.into_inner();
    frames(&mut stream, 3).await?;
    let mut store = sessions(&mesh.address).await?;
    let mut follower = resumed(&mut store, "a", 0).await?;
    let cancel = CancelRunRequest { name: "sessions/tea".to_owned(), request_id: "a".to_owned() };
    let cancelled = store.cancel_run(cancel.clone()).await?.into_inner();
    assert_eq!(cancelled.state(), RunState::Cancelled);
    let (_, told) = broken(&mut stream).await?;
    assert_eq!(reason(&told)?, Reason::RunCancelled);
    let (_, told) = broken(&mut follower).await?;
    assert_eq!(reason(&told)?, Reason::RunCancelled);
    // Once is enough, and nobody begins it again under its name.
    assert_eq!(store.cancel_run(cancel).await?.into_inner(), cancelled);
    assert_eq!(refusal(client.generate(run("a")).await)?, Reason::RunCancelled);
    assert!(turns(&mut store, "tea").await?.is_empty());
    mesh.stop().await
}

#[tokio::test]
async fn a_run_that_is_broken_off_is_a_turn_with_what_was_heard() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mesh = mesh_in(folder.path(), ENDLESS).await?;
    let mut stream = connect(&mesh.address).await?.generate_stream(run("a")).await?.into_inner();
    frames(&mut stream, 3).await?;
    let mut store = sessions(&mesh.address).await?;
    let heard = InterruptTurnRequest {
        name: "sessions/tea".to_owned(),
        request_id: "a".to_owned(),
        heard_text: "You".to_owned(),
    };
    let kept = store.interrupt_turn(heard).await?.into_inner();
    assert_eq!((kept.kind(), kept.revision), (TurnKind::Interrupted, 1));
    let ended = found(&mut store, "a").await?;
    assert_eq!((ended.state(), ended.revision), (RunState::Succeeded, 1));
    let read = frames(&mut resumed(&mut store, "a", 0).await?, usize::MAX).await?;
    assert_eq!(revision(&read)?, 1);
    let (_, told) = broken(&mut stream).await?;
    assert_eq!(reason(&told)?, Reason::TurnInterrupted);
    mesh.stop().await
}

#[tokio::test]
async fn a_run_whose_gateway_died_has_failed_and_is_not_begun_again() -> Result<()> {
    let mut kept = Kept::start(ENDLESS, true).await?;
    let mut stream = connect(&kept.gateway.address).await?.generate_stream(run("a")).await?.into_inner();
    frames(&mut stream, 3).await?;
    let mut store = sessions(&kept.store.address).await?;
    eventually!(LIMIT, found(&mut store, "a").await.is_ok_and(|run| run.last_sequence >= 3))?;
    kept.kill(Victim::Gateway).await?;
    eventually!(LIMIT, found(&mut store, "a").await.is_ok_and(|run| run.state() == RunState::Failed))?;
    assert_eq!(found(&mut store, "a").await?.failure_reason, Reason::StreamTruncated.name());
    kept.revive(Victim::Gateway).await?;
    // What it was answered so far is there, at any gateway.
    let mut store = sessions(&kept.gateway.address).await?;
    let (read, told) = broken(&mut resumed(&mut store, "a", 0).await?).await?;
    assert_eq!(reason(&told)?, Reason::RunFailed);
    assert!(read.len() >= 3 && read.iter().zip(1..).all(|(frame, sequence)| frame.sequence == sequence));
    let mut client = connect(&kept.gateway.address).await?;
    assert_eq!(refusal(client.generate(run("a")).await)?, Reason::RunFailed);
    assert!(turns(&mut store, "tea").await?.is_empty());
    kept.stop_after(&["WARN", "ERROR"]).await
}

#[tokio::test]
async fn a_run_outlives_the_store_that_it_began_with() -> Result<()> {
    let mut kept = Kept::start(SLOW, true).await?;
    let mut client = connect(&kept.gateway.address).await?;
    let mut stream = client.generate_stream(run("a")).await?.into_inner();
    let mut read = frames(&mut stream, 3).await?;
    kept.kill(Victim::Store).await?;
    kept.restart_store().await?;
    read.extend(frames(&mut stream, usize::MAX).await?);
    check_whole(&read)?;
    let mut store = sessions(&kept.gateway.address).await?;
    assert_eq!(found(&mut store, "a").await?.state(), RunState::Succeeded);
    assert_eq!(frames(&mut resumed(&mut store, "a", 0).await?, usize::MAX).await?, read);
    let kinds: Vec<TurnKind> = turns(&mut store, "tea").await?.iter().map(|turn| turn.kind()).collect();
    assert_eq!(kinds, [TurnKind::Generated]);
    kept.stop_after(&["WARN", "ERROR"]).await
}
