//! Sessions that are erased.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{GenerateRequest, ResumeRequest};
use pointsman_proto::sessions::v1::{
    DeleteSessionRequest, ErasureCause, GetSessionRequest, ListErasuresRequest, ListTurnsRequest,
};

use super::{get, revision, said, sessions, turn, turns};
use crate::caller::{connect, read_deltas, reason};
use crate::named::{ask, refusal, text};
use crate::service::Service;

const NAME: &str = "sessions/vault";

fn erase() -> DeleteSessionRequest {
    DeleteSessionRequest { name: NAME.to_owned(), allow_missing: false }
}

#[tokio::test]
async fn an_erased_session_answers_nothing_any_more() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    let secret = || GenerateRequest { request_id: "one".to_owned(), ..turn("vault", "the vault opens at nine") };
    let answer = ask(&mut client, secret()).await?;
    let Some(Body::Started(started)) = &answer[0].body else { anyhow::bail!("no start") };
    let resume_token = started.resume_token.clone();
    let take_up = || ResumeRequest { resume_token: resume_token.clone(), after_sequence: 0 };
    let again: Vec<_> = client.resume(take_up()).await?.into_inner().try_collect().await?;
    assert_eq!(text(&again), text(&answer), "while it is there");
    let erased = get(&mut store, "vault").await?;
    let record = store.delete_session(erase()).await?.into_inner().erasure.context("no record")?;
    assert_eq!((&*record.session, &record.uid, record.turn_count), (NAME, &erased.uid, 1));
    assert_eq!(record.cause(), ErasureCause::Requested);
    let listed = store.list_erasures(ListErasuresRequest::default()).await?.into_inner().erasures;
    assert_eq!(listed, [record]);
    // Nothing of it is there, under any of its names.
    let name = || NAME.to_owned();
    assert_eq!(refusal(store.get_session(GetSessionRequest { name: name() }).await)?, Reason::SessionNotFound);
    let list = ListTurnsRequest { name: name(), ..ListTurnsRequest::default() };
    assert_eq!(refusal(store.list_turns(list).await)?, Reason::SessionNotFound);
    assert_eq!(refusal(store.delete_session(erase()).await)?, Reason::SessionNotFound);
    // Its gateway has its frames still, and tells nobody.
    assert_eq!(refusal(client.resume(take_up()).await)?, Reason::FrameLogLost);
    // The same request is another turn, of another session.
    let again = ask(&mut client, secret()).await?;
    assert_eq!(revision(&again)?, 1);
    let (begun, kept) = (get(&mut store, "vault").await?, turns(&mut store, "vault").await?);
    assert_ne!(begun.uid, erased.uid);
    assert_eq!(kept.iter().map(|turn| said(&turn.input)).collect::<Vec<_>>(), ["the vault opens at nine"]);
    mesh.stop().await
}

#[tokio::test]
async fn a_turn_that_runs_in_a_session_that_is_erased_ends_and_is_not_kept() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 8000, timing: {step: 5ms}").await?;
    let mut store = sessions(&mesh.address).await?;
    let mut running = connect(&mesh.address).await?.generate_stream(turn("vault", "tell me all")).await?.into_inner();
    read_deltas(&mut running, 3).await?;
    store.delete_session(erase()).await?;
    let ended = loop {
        match running.message().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("it ended well"),
            Err(status) => break reason(&status)?,
        }
    };
    assert_eq!(ended, Reason::SessionNotFound);
    let found = store.get_session(GetSessionRequest { name: NAME.to_owned() }).await;
    assert_eq!(refusal(found)?, Reason::SessionNotFound);
    mesh.stop().await
}
