//! What came of turns that failed, in sessions that keep it.

use anyhow::Result;
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_proto::sessions::v1::{CreateSessionRequest, Session, Turn, TurnKind};
use pointsman_testkit::eventually;

use super::stores::{Kept, Victim};
use super::{Sessions, mesh_in, said, sessions, turn, turns};
use crate::caller::connect;
use crate::named::{ENDLESS, SLOW, ask, check_whole, frames, text};
use crate::service::LIMIT;

async fn keeping(store: &mut Sessions, name: &str) -> Result<()> {
    let session = Some(Session { keep_partial_output: true, ..Session::default() });
    store.create_session(CreateSessionRequest { session, session_id: name.to_owned() }).await?;
    Ok(())
}

fn output(turn: &Turn) -> String {
    turn.output.as_ref().map(|output| said(std::slice::from_ref(output))).unwrap_or_default()
}

#[tokio::test]
async fn what_a_caller_left_is_kept_as_such_and_repeats_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mesh = mesh_in(folder.path(), SLOW).await?;
    let mut store = sessions(&mesh.address).await?;
    keeping(&mut store, "tea").await?;
    let mut client = connect(&mesh.address).await?;
    let request = || GenerateRequest { request_id: "a".to_owned(), ..turn("tea", "Hello") };
    let mut stream = client.generate_stream(request()).await?.into_inner();
    let read = text(&frames(&mut stream, 4).await?);
    drop(stream);
    eventually!(LIMIT, turns(&mut store, "tea").await.is_ok_and(|turns| turns.len() == 1))?;
    let kept = turns(&mut store, "tea").await?.remove(0);
    assert_eq!((kept.kind(), kept.failure_reason.as_str()), (TurnKind::Partial, Reason::Cancelled.name()));
    assert_eq!((said(&kept.input), kept.request_id.as_str()), ("Hello".to_owned(), "a"));
    // All that the caller saw, and perhaps what was on its way.
    assert!(output(&kept).starts_with(&read) && !read.is_empty(), "{kept:?}");
    // Sent again the request is answered, after what is there.
    let again = ask(&mut client, request()).await?;
    check_whole(&again)?;
    let all = turns(&mut store, "tea").await?;
    assert_eq!(all[0], kept);
    assert_eq!((all.len(), all[1].kind(), output(&all[1])), (2, TurnKind::Generated, text(&again)));
    mesh.stop().await
}

#[tokio::test]
async fn what_a_gateway_said_before_it_died_is_kept() -> Result<()> {
    let mut kept = Kept::start(ENDLESS, true).await?;
    let mut store = sessions(&kept.store.address).await?;
    keeping(&mut store, "tea").await?;
    let mut stream = connect(&kept.gateway.address).await?.generate_stream(turn("tea", "Hello")).await?.into_inner();
    // Some of it has been sent to the store by then: it is, five times a second.
    let read = text(&frames(&mut stream, 20).await?);
    kept.kill(Victim::Gateway).await?;
    eventually!(LIMIT, turns(&mut store, "tea").await.is_ok_and(|turns| turns.len() == 1))?;
    let partial = turns(&mut store, "tea").await?.remove(0);
    assert_eq!((partial.kind(), partial.failure_reason.as_str()), (TurnKind::Partial, Reason::StreamTruncated.name()));
    let said = output(&partial);
    assert!(!said.is_empty() && (said.starts_with(&read) || read.starts_with(&said)), "{said}\n{read}");
    kept.revive(Victim::Gateway).await?;
    kept.stop_after(&["WARN", "ERROR"]).await
}

#[tokio::test]
async fn an_answer_that_failed_is_kept_up_to_its_failure() -> Result<()> {
    let mut kept = Kept::start(ENDLESS, false).await?;
    let mut store = sessions(&kept.store.address).await?;
    keeping(&mut store, "tea").await?;
    let mut stream = connect(&kept.gateway.address).await?.generate_stream(turn("tea", "Hello")).await?.into_inner();
    frames(&mut stream, 4).await?;
    kept.kill(Victim::Worker).await?;
    let failed = loop {
        match stream.message().await {
            Ok(frame) => assert!(frame.is_some(), "it ended well"),
            Err(status) => break crate::caller::reason(&status)?,
        }
    };
    eventually!(LIMIT, turns(&mut store, "tea").await.is_ok_and(|turns| turns.len() == 1))?;
    let partial = turns(&mut store, "tea").await?.remove(0);
    assert_eq!((partial.kind(), partial.failure_reason.as_str()), (TurnKind::Partial, failed.name()));
    kept.revive(Victim::Worker).await?;
    kept.stop_after(&["WARN", "ERROR"]).await
}
