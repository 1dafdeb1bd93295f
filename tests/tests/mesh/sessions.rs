//! Conversations that the mesh keeps, in one process and over both surfaces.

mod erasing;
mod faults;
mod feed;
mod meddling;
mod merging;
mod partial;
mod routes;
mod runs;
mod settings;
mod stores;
mod tools;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, Message, SessionReference, part};
use pointsman_proto::sessions::v1::session_service_client::SessionServiceClient;
use pointsman_proto::sessions::v1::{GetSessionRequest, ListTurnsRequest, Session, Turn};
use pointsman_testkit::eventually;
use serde_json::Value;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::caller::{chat_body, connect, reason, say};
use crate::named::{ask, check_whole, post, refusal, text};
use crate::service::{LIMIT, Service, Start, simulated_config};

pub type Sessions = SessionServiceClient<Channel>;

/// Connects to what keeps sessions, or what stands before it.
pub async fn sessions(address: &str) -> Result<Sessions> {
    let channel = Endpoint::from_shared(address.to_owned())?.timeout(LIMIT).connect().await?;
    Ok(SessionServiceClient::new(channel))
}

/// A request with one message of a user, in a session.
pub fn turn(session: &str, text: &str) -> GenerateRequest {
    let session =
        SessionReference { session: session.to_owned(), expected_revision: None, ..SessionReference::default() };
    GenerateRequest { session: Some(session), ..say("simulated", text) }
}

/// One that says which revision it believes the session to have.
pub fn turn_after(session: &str, revision: u64, text: &str) -> GenerateRequest {
    let session = SessionReference {
        session: session.to_owned(),
        expected_revision: Some(revision),
        ..SessionReference::default()
    };
    GenerateRequest { session: Some(session), ..say("simulated", text) }
}

pub async fn get(client: &mut Sessions, name: &str) -> Result<Session, Status> {
    Ok(client.get_session(GetSessionRequest { name: format!("sessions/{name}") }).await?.into_inner())
}

/// All turns of a session, a page at a time.
pub async fn turns(client: &mut Sessions, name: &str) -> Result<Vec<Turn>> {
    let (mut turns, mut after_revision) = (Vec::new(), 0);
    loop {
        let name = format!("sessions/{name}");
        let page = client.list_turns(ListTurnsRequest { name, after_revision, page_size: 3 }).await?.into_inner();
        turns.extend(page.turns);
        match page.next_after_revision {
            0 => return Ok(turns),
            next => after_revision = next,
        }
    }
}

/// What is said in messages.
pub fn said(messages: &[Message]) -> String {
    let kinds = messages.iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref());
    let texts = kinds.map(|kind| match kind {
        part::Kind::Text(text) => text.clone(),
        part::Kind::ToolResult(result) => format!("[{}: {}]", result.tool_call_id, result.text),
        part::Kind::ToolCall(call) => format!("[{}({})]", call.name, call.arguments_json),
        other => format!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// The revision that the end of an answer tells.
pub fn revision(frames: &[Frame]) -> Result<u64> {
    match frames.last().and_then(|frame| frame.body.as_ref()) {
        Some(Body::Finished(finished)) => finished.session_revision.context("no revision"),
        other => anyhow::bail!("it ends with {other:?}"),
    }
}

/// A mesh in one process that keeps its conversations there.
async fn mesh_in(folder: &Path, engine: &str) -> Result<Service> {
    let config = format!("{}gateway: {{data_dir: \"{}\"}}\n", simulated_config(engine), folder.display());
    Start::new("up", &config).ready().await
}

#[tokio::test]
async fn a_conversation_goes_on_over_both_surfaces_and_after_a_crash() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut mesh = mesh_in(folder.path(), "").await?;
    let frames = ask(&mut connect(&mesh.address).await?, turn("tea", "first")).await?;
    check_whole(&frames)?;
    assert_eq!(revision(&frames)?, 1);
    let headers = [("x-pointsman-session", "tea"), ("x-pointsman-session-revision", "1")];
    let answer = post(&mesh.address, &chat_body("simulated", "second", false), &headers).await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    let answer: Value = answer.json().await?;
    // What the model read: both messages, and its own answer between them.
    let first = text(&frames);
    assert_eq!(answer["usage"]["prompt_tokens"], tokens(&["first", &first, "second"]));
    mesh.process.kill9().await?;
    let mesh = mesh_in(folder.path(), "").await?;
    let mut third = turn_after("sessions/tea", 2, "third");
    third.session.as_mut().context("no session")?.channel = "phone".to_owned();
    let frames = ask(&mut connect(&mesh.address).await?, third).await?;
    assert_eq!(revision(&frames)?, 3);
    let kept = turns(&mut sessions(&mesh.address).await?, "tea").await?;
    let exchanges: Vec<_> = kept.iter().map(|turn| (turn.revision, said(&turn.input))).collect();
    assert_eq!(exchanges, [(1, "first".to_owned()), (2, "second".to_owned()), (3, "third".to_owned())]);
    assert_eq!(kept[2].channel, "phone");
    assert_eq!(kept[0].output.as_ref().map(|message| said(std::slice::from_ref(message))), Some(first));
    let all = kept.iter().flat_map(|turn| turn.input.iter().chain(&turn.output));
    let texts: Vec<String> = all.map(|message| said(std::slice::from_ref(message))).collect();
    let read = tokens(&texts[..5].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(kept[2].usage.and_then(|usage| usage.input_tokens), u32::try_from(read).ok());
    mesh.stop().await
}

/// How many tokens the simulated engine counts in messages of these texts: one before each space, and four around each.
pub fn tokens(texts: &[&str]) -> usize {
    texts.iter().map(|text| 5 + text.chars().skip(1).filter(|letter| *letter == ' ').count()).sum()
}

#[tokio::test]
async fn a_turn_that_is_repeated_is_answered_with_what_was_stored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut mesh = mesh_in(folder.path(), "").await?;
    let request = GenerateRequest { request_id: "order-1".to_owned(), ..turn("shop", "buy") };
    let first = ask(&mut connect(&mesh.address).await?, request.clone()).await?;
    mesh.process.kill9().await?;
    let mesh = mesh_in(folder.path(), "").await?;
    let mut client = connect(&mesh.address).await?;
    let again = ask(&mut client, request.clone()).await?;
    check_whole(&again)?;
    assert_eq!((text(&again), revision(&again)?), (text(&first), 1));
    assert!(matches!(&again[0].body, Some(Body::Started(started))
        if started.session_turn.as_ref().is_some_and(|turn| turn.repeated_answer)));
    mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    // The same name with other words would be another request.
    let other = GenerateRequest { request_id: "order-1".to_owned(), ..turn("shop", "sell") };
    assert_eq!(refusal(mesh_client_generate(&mesh, other).await)?, Reason::RequestIdReused);
    let kept = turns(&mut sessions(&mesh.address).await?, "shop").await?;
    assert_eq!(kept.len(), 1);
    mesh.stop().await
}

async fn mesh_client_generate(mesh: &Service, request: GenerateRequest) -> Result<(), Status> {
    let mut client = connect(&mesh.address).await.map_err(|error| Status::internal(error.to_string()))?;
    client.generate(request).await.map(|_| ())
}

#[tokio::test]
async fn turns_of_one_session_run_one_after_the_other() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 8, timing: {step: 2ms}").await?;
    let client = connect(&mesh.address).await?;
    let asks = (0..12).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move { ask(&mut client, turn("queue", &format!("message {number}"))).await })
    });
    let mut revisions = Vec::new();
    for asked in asks.collect::<Vec<_>>() {
        revisions.push(revision(&asked.await??)?);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=12).collect::<Vec<_>>());
    let kept = turns(&mut sessions(&mesh.address).await?, "queue").await?;
    // Each has read what all before it said, and nothing else.
    let mut texts: Vec<String> = Vec::new();
    for turn in &kept {
        texts.push(said(&turn.input));
        let read = tokens(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(turn.usage.and_then(|usage| usage.input_tokens), u32::try_from(read).ok());
        texts.extend(turn.output.iter().map(|message| said(std::slice::from_ref(message))));
    }
    mesh.stop().await
}

#[tokio::test]
async fn who_leaves_a_turn_leaves_nothing_behind() -> Result<()> {
    let mesh = Service::simulated("answer_tokens: 8000, timing: {step: 5ms}").await?;
    let mut client = connect(&mesh.address).await?;
    let mut frames = client.generate_stream(turn("gone", "hello")).await?.into_inner();
    assert!(frames.message().await?.is_some());
    drop(frames);
    mesh.metric_is("pointsman_sessions_running_turns", 0).await?;
    let mut store = sessions(&mesh.address).await?;
    assert_eq!(get(&mut store, "gone").await?.revision, 0);
    // The next one does not wait for what is gone.
    let short = GenerateRequest {
        limits: Some(pointsman_proto::inference::v1::Limits { max_output_tokens: Some(2) }),
        ..turn("gone", "again")
    };
    assert_eq!(revision(&ask(&mut client, short).await?)?, 1);
    mesh.stop().await
}

#[tokio::test]
async fn a_session_that_is_elsewhere_than_believed_refuses_the_turn() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    assert_eq!(refusal(client.generate(turn_after("new", 4, "hello")).await)?, Reason::SessionNotFound);
    assert_eq!(revision(&ask(&mut client, turn_after("new", 0, "hello")).await?)?, 1);
    assert_eq!(refusal(client.generate(turn_after("new", 0, "hello")).await)?, Reason::TurnConflict);
    let two = GenerateRequest { choice_count: Some(2), ..turn("new", "hello") };
    let status = client.generate(two).await.err().context("two answers in a session")?;
    assert!(status.message().contains("choice_count"), "{status:?}");
    let headers = [("x-pointsman-session", "a b")];
    let answer = post(&mesh.address, &chat_body("simulated", "hello", false), &headers).await?;
    assert_eq!(answer.status(), 400);
    let body: Value = answer.json().await?;
    assert_eq!(body["error"]["param"], "x-pointsman-session");
    let headers = [("x-pointsman-session-revision", "1")];
    let answer = post(&mesh.address, &chat_body("simulated", "hello", false), &headers).await?;
    assert_eq!(answer.status(), 400);
    mesh.stop().await
}

#[tokio::test]
async fn a_second_turn_waits_is_refused_or_wins_as_the_session_says() -> Result<()> {
    use pointsman_proto::sessions::v1::{CreateSessionRequest, SecondTurn};
    let mesh = Service::simulated("answer_tokens: 8000, timing: {step: 5ms}").await?;
    let mut store = sessions(&mesh.address).await?;
    for (id, second_turn) in [("no", SecondTurn::Reject), ("last", SecondTurn::Supersede)] {
        let session = Some(Session { second_turn: second_turn.into(), ..Session::default() });
        store.create_session(CreateSessionRequest { session, session_id: id.to_owned() }).await?;
    }
    let mut client = connect(&mesh.address).await?;
    let mut running = client.generate_stream(turn("no", "first")).await?.into_inner();
    assert!(running.message().await?.is_some());
    let status = client.generate(turn("no", "second")).await.err().context("two at a time")?;
    assert_eq!(reason(&status)?, Reason::TurnInProgress);
    assert_eq!(Error::from_status(&status).retry_delay(), None, "no library is to send it again by itself");
    drop(running);
    mesh.metric_is("pointsman_sessions_running_turns", 0).await?;
    let before = short_turn("last", "before", "order-1");
    ask(&mut client, before.clone()).await?;
    let mut running = client.generate_stream(turn("last", "first")).await?.into_inner();
    assert!(running.message().await?.is_some());
    // What is no new turn ends no other: one that is repeated, and one that believes the session elsewhere.
    let mut second = connect(&mesh.address).await?;
    assert_eq!(revision(&ask(&mut second, before).await?)?, 1);
    assert_eq!(refusal(second.generate(turn_after("last", 7, "lost")).await)?, Reason::TurnConflict);
    crate::caller::read_deltas(&mut running, 2).await?;
    let short = |text: &str| GenerateRequest {
        limits: Some(pointsman_proto::inference::v1::Limits { max_output_tokens: Some(2) }),
        ..turn("last", text)
    };
    let frames = ask(&mut client, short("second")).await?;
    assert_eq!(revision(&frames)?, 2);
    let superseded = loop {
        match running.message().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the first turn ended well"),
            Err(status) => break reason(&status)?,
        }
    };
    assert_eq!(superseded, Reason::TurnSuperseded);
    let kept = turns(&mut store, "last").await?;
    assert_eq!(kept.iter().map(|turn| said(&turn.input)).collect::<Vec<_>>(), ["before", "second"]);
    mesh.metric_is("pointsman_sessions_running_turns", 0).await?;
    mesh.stop().await
}

fn short_turn(session: &str, text: &str, request_id: &str) -> GenerateRequest {
    let limits = Some(pointsman_proto::inference::v1::Limits { max_output_tokens: Some(2) });
    GenerateRequest { limits, request_id: request_id.to_owned(), ..turn(session, text) }
}

#[tokio::test]
async fn a_trace_shows_the_begin_and_the_commit_of_a_turn() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let headers = [("x-pointsman-session", "traced")];
    let answer = post(&mesh.address, &chat_body("simulated", "hello", false), &headers).await?;
    let id = answer.headers().get("x-request-id").context("no id")?.to_str()?.to_owned();
    let operator = mesh.operator.clone();
    let printed = eventually!(LIMIT, {
        let ended = crate::program::pointsman(&["trace", "--operator-address", &operator, &id]).await?;
        ended.success().ok().filter(|printed| printed.contains("turn commit")).context("not yet")
    })?;
    for name in ["turn begin", "lease.wait=", "turn commit", "store.round_trips="] {
        assert!(printed.contains(name), "no {name} in\n{printed}");
    }
    mesh.stop().await
}
