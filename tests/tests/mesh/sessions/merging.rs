//! Messages that come together and are answered together.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{FutureExt, join_all, select_all};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::{Frame, GenerateRequest};
use pointsman_proto::sessions::v1::{CreateSessionRequest, SecondTurn, Session};
use tokio::task::JoinHandle;
use tonic::Status;

use super::{Sessions, get, revision, said, sessions, short_turn, tokens, turn, turns};
use crate::caller::{Client, connect, read_deltas, reason};
use crate::named::{ask, check_whole, refusal};
use crate::service::Service;

/// Longer than it takes to send some requests on a busy machine.
const WINDOW: Duration = Duration::from_secs(3);

type Asked = JoinHandle<Result<Vec<Frame>, Status>>;

/// A session that merges.
async fn merging(store: &mut Sessions, id: &str, window: Duration) -> Result<()> {
    let (second_turn, merge_window) = (SecondTurn::Merge.into(), Some(window.try_into()?));
    let session = Some(Session { second_turn, merge_window, ..Session::default() });
    store.create_session(CreateSessionRequest { session, session_id: id.to_owned() }).await?;
    Ok(())
}

/// Asks, and lets go on while it waits.
fn asked(client: &Client, request: GenerateRequest) -> Asked {
    let mut client = client.clone();
    tokio::spawn(async move {
        let mut answer = client.generate_stream(request).await?.into_inner();
        let mut frames = Vec::new();
        while let Some(frame) = answer.message().await? {
            frames.push(frame);
        }
        Ok(frames)
    })
}

/// Those that were answered, and what the others were told.
async fn ends(all: Vec<Asked>) -> Result<(Vec<Vec<Frame>>, Vec<Error>)> {
    let (mut answers, mut errors) = (Vec::new(), Vec::new());
    for one in all {
        match one.await? {
            Ok(frames) => answers.push(frames),
            Err(status) => errors.push(Error::ours(&status).with_context(|| format!("not ours: {status:?}"))?),
        }
    }
    Ok((answers, errors))
}

#[tokio::test]
async fn messages_that_come_together_are_one_turn_with_one_answer() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let (client, mut store) = (connect(&mesh.address).await?, sessions(&mesh.address).await?);
    merging(&mut store, "talk", WINDOW).await?;
    let request = |number: usize| short_turn("talk", &format!("message {number}"), &format!("id-{number}"));
    let (answers, errors) = ends((0..3).map(|number| asked(&client, request(number))).collect()).await?;
    ensure!(answers.len() == 1 && errors.len() == 2, "{} answers, and {errors:?}", answers.len());
    check_whole(&answers[0])?;
    assert_eq!(revision(&answers[0])?, 1);
    let kept = turns(&mut store, "talk").await?;
    assert_eq!(kept.len(), 1);
    let leader = &kept[0].request_id;
    for error in &errors {
        assert_eq!(error.reason(), Reason::TurnMerged);
        ensure!(error.message().contains(leader) && error.message().contains("turn 1"), "{error:?}");
    }
    // All of them, each once; and the model has read them all.
    let mut words: Vec<_> = kept[0].input.iter().map(|message| said(std::slice::from_ref(message))).collect();
    let read = tokens(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(kept[0].usage.and_then(|usage| usage.input_tokens), u32::try_from(read).ok());
    words.sort();
    assert_eq!(words, ["message 0", "message 1", "message 2"]);
    let mut ids = kept[0].merged_request_ids.clone();
    ids.push(leader.clone());
    ids.sort();
    assert_eq!(ids, ["id-0", "id-1", "id-2"]);
    // Sent again, none is a second turn.
    let mut client = client;
    for number in 0..3 {
        let (id, again) = (format!("id-{number}"), client.generate(request(number)).await);
        match id == *leader {
            true => drop(again?),
            false => assert_eq!(refusal(again)?, Reason::TurnMerged),
        }
        let other = short_turn("talk", "something else", &id);
        assert_eq!(refusal(client.generate(other).await)?, Reason::RequestIdReused);
    }
    assert_eq!(get(&mut store, "talk").await?.revision, 1);
    mesh.stop().await
}

#[tokio::test]
async fn messages_that_come_while_a_turn_runs_are_answered_by_the_next() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 60, timing: {step: 20ms}").await?;
    let (mut client, mut store) = (connect(&mesh.address).await?, sessions(&mesh.address).await?);
    merging(&mut store, "talk", WINDOW).await?;
    let mut running = client.generate_stream(turn("talk", "first")).await?.into_inner();
    read_deltas(&mut running, 1).await?;
    let all = ["a", "b", "c"].map(|id| asked(&client, short_turn("talk", id, id)));
    while running.message().await?.is_some() {}
    let (answers, errors) = ends(all.into()).await?;
    ensure!(answers.len() == 1 && errors.len() == 2, "{} answers, and {errors:?}", answers.len());
    assert!(errors.iter().all(|error| error.reason() == Reason::TurnMerged), "{errors:?}");
    assert_eq!(revision(&answers[0])?, 2);
    let kept = turns(&mut store, "talk").await?;
    assert_eq!(kept.iter().map(|turn| turn.input.len()).collect::<Vec<_>>(), [1, 3]);
    mesh.metric_is("pointsman_sessions_running_turns", 0).await?;
    mesh.stop().await
}

#[tokio::test]
async fn whose_turn_leaves_are_told_to_send_their_messages_again() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 400, timing: {step: 5ms}").await?;
    let (client, mut store) = (connect(&mesh.address).await?, sessions(&mesh.address).await?);
    merging(&mut store, "talk", WINDOW).await?;
    let request = |id: &str| GenerateRequest { request_id: id.to_owned(), ..turn("talk", id) };
    let (mut one, mut two) = (client.clone(), client.clone());
    let answers = [one.generate_stream(request("one")).boxed(), two.generate_stream(request("two")).boxed()];
    // One of them answers both; its caller leaves.
    let (led, leader, others) = select_all(answers).await;
    let mut led = led?.into_inner();
    read_deltas(&mut led, 1).await?;
    drop(led);
    let status = join_all(others).await.remove(0).err().context("answered")?;
    assert_eq!(reason(&status)?, Reason::TurnConflict);
    ensure!(status.message().contains("send them again"), "{status:?}");
    let other = ["two", "one"][leader];
    assert_eq!(revision(&ask(&mut client.clone(), request(other)).await?)?, 1);
    let kept = turns(&mut store, "talk").await?;
    assert_eq!(kept.iter().map(|turn| said(&turn.input)).collect::<Vec<_>>(), [other]);
    mesh.metric_is("pointsman_sessions_running_turns", 0).await?;
    mesh.stop().await
}
