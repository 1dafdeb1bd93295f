//! Turns as consumers are told them, and turns that are broken off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{DataClass, GenerateRequest, ResumeRequest};
use pointsman_proto::sessions::v1::{
    AcknowledgeTurnsRequest, BindChannelRequest, ChannelBinding, DeleteTurnGroupRequest, InterruptTurnRequest,
    TurnKind, WatchTurnsRequest, WatchTurnsResponse,
};
use pointsman_testkit::eventually;
use tokio::time::timeout;
use tonic::Streaming;

use super::meddling::with;
use super::{Sessions, get, revision, said, sessions, turn, turns};
use crate::caller::{connect, read_deltas, reason};
use crate::named::{ask, new_key, refusal};
use crate::service::{LIMIT, Service, Start, simulated_config};

fn watching(group: &str) -> WatchTurnsRequest {
    WatchTurnsRequest { group: group.to_owned(), from_the_beginning: true, ..WatchTurnsRequest::default() }
}

async fn next(stream: &mut Streaming<WatchTurnsResponse>) -> Result<WatchTurnsResponse> {
    timeout(LIMIT, stream.message()).await.context("nothing is told")??.context("the stream ended")
}

async fn acknowledge(store: &mut Sessions, tokens: &[&str]) -> Result<u32> {
    let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
    Ok(store.acknowledge_turns(AcknowledgeTurnsRequest { tokens }).await?.into_inner().late_count)
}

#[tokio::test]
async fn each_turn_is_told_to_one_of_a_group_and_in_order() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    // What is there already, and what comes while two consumers watch.
    ask(&mut client, turn("s0", "before")).await?;
    let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut consumers = Vec::new();
    for _ in 0..2 {
        consumers.push(store.watch_turns(watching("crm")).await?.into_inner());
    }
    let asking = tokio::spawn(async move {
        for number in 0..24 {
            ask(&mut client, turn(&format!("s{}", number % 4), &format!("message {number}"))).await?;
        }
        anyhow::Ok(())
    });
    let [first, second] = &mut consumers[..] else { anyhow::bail!("two consumers") };
    while told.values().map(Vec::len).sum::<usize>() < 25 {
        let batch = tokio::select! {
            batch = next(first) => batch?,
            batch = next(second) => batch?,
        };
        told.entry(batch.session.clone()).or_default().extend(batch.turns.iter().map(|turn| turn.revision));
        assert_eq!(acknowledge(&mut store, &[&batch.token]).await?, 0);
    }
    asking.await??;
    for (session, revisions) in &told {
        let want: Vec<u64> = (1..=revisions.len() as u64).collect();
        assert_eq!(revisions, &want, "{session}");
    }
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>().len(), 4);
    drop(consumers);
    mesh.stop().await
}

#[tokio::test]
async fn what_is_not_acknowledged_is_told_again() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    let slow = WatchTurnsRequest { acknowledge_within: Duration::from_secs(1).try_into().ok(), ..watching("crm") };
    let mut first = store.watch_turns(slow.clone()).await?.into_inner();
    ask(&mut client, turn("s", "one")).await?;
    let told = next(&mut first).await?;
    ask(&mut client, turn("s", "two")).await?;
    // Its time passes, and the second turn comes with the first: an acknowledgement of the old is too late then.
    let again = next(&mut first).await?;
    assert_eq!(again.turns.iter().map(|turn| turn.revision).collect::<Vec<_>>(), [1, 2]);
    // Who leaves leaves its turns to others, at once.
    drop(first);
    let mut second = store.watch_turns(watching("crm")).await?.into_inner();
    let left = next(&mut second).await?;
    assert_eq!(left.turns.len(), 2);
    assert_eq!(acknowledge(&mut store, &[&told.token]).await?, 1);
    assert_eq!(acknowledge(&mut store, &[&left.token]).await?, 0);
    assert_eq!(
        refusal(store.acknowledge_turns(AcknowledgeTurnsRequest { tokens: vec!["x".to_owned()] }).await)?,
        Reason::InvalidRequest
    );
    let group = || DeleteTurnGroupRequest { group: "crm".to_owned() };
    assert!(store.delete_turn_group(group()).await?.into_inner().existed);
    assert!(!store.delete_turn_group(group()).await?.into_inner().existed);
    drop(second);
    mesh.stop().await
}

#[tokio::test]
async fn a_channel_is_told_its_own_sessions() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    ask(&mut client, turn("other", "before")).await?;
    ask(&mut client, turn("own", "before")).await?;
    let binding = ChannelBinding {
        channel: "slack".to_owned(),
        external_user: "U1".to_owned(),
        session: "sessions/own".to_owned(),
        ..ChannelBinding::default()
    };
    store.bind_channel(BindChannelRequest { binding: Some(binding) }).await?;
    let wanted = WatchTurnsRequest { channel: "slack".to_owned(), ..watching("bot") };
    let mut stream = store.watch_turns(wanted).await?.into_inner();
    ask(&mut client, turn("other", "after")).await?;
    for number in 1..=2 {
        let told = next(&mut stream).await?;
        assert_eq!((told.session.as_str(), told.turns[0].revision), ("sessions/own", number));
        acknowledge(&mut store, &[&told.token]).await?;
        if number == 1 {
            ask(&mut client, turn("own", "after")).await?;
        }
    }
    // A group keeps the channel that it was made with.
    assert_eq!(refusal(store.watch_turns(watching("bot")).await)?, Reason::InvalidRequest);
    drop(stream);
    mesh.stop().await
}

fn heard(request_id: &str, text: &str) -> InterruptTurnRequest {
    InterruptTurnRequest {
        name: "sessions/phone".to_owned(),
        request_id: request_id.to_owned(),
        heard_text: text.to_owned(),
    }
}

#[tokio::test]
async fn of_a_turn_that_is_broken_off_exactly_what_was_heard_is_kept() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 8000, timing: {step: 5ms}").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    let mut call = GenerateRequest { request_id: "call-1".to_owned(), ..turn("phone", "tell me all") };
    call.set_data_class(DataClass::Restricted);
    call.session.as_mut().context("no session")?.channel = "tel".to_owned();
    let mut running = client.generate_stream(call).await?.into_inner();
    read_deltas(&mut running, 3).await?;
    let kept = store.interrupt_turn(heard("call-1", "You said")).await?.into_inner();
    assert_eq!((kept.kind(), kept.revision), (TurnKind::Interrupted, 1));
    // It is as sensitive as it was, and came from where it came.
    assert_eq!((kept.data_class, &*kept.channel), (DataClass::Restricted.into(), "tel"));
    let ended = loop {
        match running.message().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("it ended well"),
            Err(status) => break reason(&status)?,
        }
    };
    assert_eq!(ended, Reason::TurnInterrupted);
    let all = turns(&mut store, "phone").await?;
    let exchange = |index: usize| {
        let turn = &all[index];
        (said(&turn.input), turn.output.as_ref().map(|message| said(std::slice::from_ref(message))))
    };
    assert_eq!(exchange(0), ("tell me all".to_owned(), Some("You said".to_owned())));
    mesh.metric_is("pointsman_sessions_running_turns", 0).await?;
    // Whoever breaks off what runs nowhere, and is not the last, is told so.
    assert_eq!(refusal(store.interrupt_turn(heard("call-9", "x")).await)?, Reason::TurnNotFound);
    mesh.stop().await
}

#[tokio::test]
async fn who_watches_does_not_hold_up_the_end_of_a_gateway() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut stream = sessions(&mesh.address).await?.watch_turns(watching("crm")).await?.into_inner();
    ask(&mut connect(&mesh.address).await?, turn("tea", "hello")).await?;
    next(&mut stream).await?;
    let end = tokio::spawn(async move { stream.message().await });
    // It says so where streams ran to the end of the grace.
    mesh.stop().await?;
    assert_eq!(end.await??, None, "it ends well");
    Ok(())
}

#[tokio::test]
async fn a_stream_counts_for_its_key_until_it_ends() -> Result<()> {
    let (key, entry) = new_key("acme").await?;
    let config = format!("{}gateway:\n  keys:{entry}\n        limits: {{concurrent: 1}}\n", simulated_config(""));
    let mesh = Start::new("up", &config).ready().await?;
    let mut store = sessions(&mesh.address).await?;
    let first = store.watch_turns(with(&key, watching("crm"))).await?.into_inner();
    let second = store.watch_turns(with(&key, watching("crm"))).await;
    assert_eq!(refusal(second)?, Reason::RateLimited);
    drop(first);
    eventually!(LIMIT, store.watch_turns(with(&key, watching("crm"))).await)?;
    mesh.stop().await
}

#[tokio::test]
async fn a_turn_that_was_committed_already_is_shortened_to_what_was_heard() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    let named = |id: &str, text: &str| GenerateRequest { request_id: id.to_owned(), ..turn("phone", text) };
    ask(&mut client, named("call-1", "one")).await?;
    let second = ask(&mut client, named("call-2", "two")).await?;
    // It was read out only this far.
    store.interrupt_turn(heard("call-2", "You")).await?;
    // Whoever lost the stream is not told more than was heard.
    let Some(Body::Started(started)) = &second[0].body else { anyhow::bail!("no start") };
    let take_up = ResumeRequest { resume_token: started.resume_token.clone(), after_sequence: 0 };
    assert_eq!(refusal(client.resume(take_up).await)?, Reason::FrameLogLost);
    // What came before it is as it was.
    assert_eq!(refusal(store.interrupt_turn(heard("call-1", "You")).await)?, Reason::TurnNotFound);
    let third = ask(&mut client, named("call-3", "three")).await?;
    assert_eq!(revision(&third)?, 3);
    let all = turns(&mut store, "phone").await?;
    let texts: Vec<String> = all
        .iter()
        .flat_map(|turn| turn.input.iter().chain(&turn.output))
        .map(|message| said(std::slice::from_ref(message)))
        .collect();
    assert_eq!(texts[3], "You");
    // The model has read no more of it, wherever it was remembered.
    let read = super::tokens(&texts[..5].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(all[2].usage.and_then(|usage| usage.input_tokens), u32::try_from(read).ok());
    let session = get(&mut store, "phone").await?;
    ensure!(session.epoch == 1, "{session:?}");
    mesh.stop().await
}
