//! Turns that end in calls of tools, with the demo model.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::{
    GenerateRequest, Message, Part, Role, SessionReference, Tool, ToolChoice, ToolResult, part,
};
use pointsman_proto::sessions::v1::{CreateSessionRequest, ForkSessionRequest, Session, SessionState};

use super::{get, said, sessions, turns};
use crate::caller::{connect, say, say_at_most};
use crate::named::refusal;
use crate::service::Service;

fn in_session(request: GenerateRequest) -> GenerateRequest {
    let session =
        SessionReference { session: "shop".to_owned(), expected_revision: None, ..SessionReference::default() };
    GenerateRequest { session: Some(session), ..request }
}

fn calling() -> GenerateRequest {
    let schema = r#"{"type":"object","properties":{"city":{"enum":["Oslo"]}},"required":["city"]}"#;
    let tool = Tool {
        name: "weather".to_owned(),
        description: "Tells the weather.".to_owned(),
        parameters_json_schema: schema.to_owned(),
        strict: true,
    };
    let choice = ToolChoice { choice: Some(Choice::Mode(Mode::Required.into())), ..ToolChoice::default() };
    GenerateRequest { tools: vec![tool], tool_choice: Some(choice), ..in_session(say_at_most("pip", "Weather?", 200)) }
}

fn answering(id: &str) -> GenerateRequest {
    let result = ToolResult { tool_call_id: id.to_owned(), text: "sunny".to_owned(), failed: false };
    let part = Part { kind: Some(part::Kind::ToolResult(result)) };
    let message = Message { role: Role::Tool.into(), parts: vec![part], ..Message::default() };
    GenerateRequest { messages: vec![message], ..in_session(say_at_most("pip", "", 20)) }
}

#[tokio::test]
async fn the_next_turn_answers_the_calls_or_cancels_them() -> Result<()> {
    let mesh = Service::demo().await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    client.generate(calling()).await?;
    let waiting = get(&mut store, "shop").await?;
    assert_eq!((waiting.state(), waiting.revision), (SessionState::AwaitingTools, 1));
    let id = waiting.awaited_tool_call_ids.first().context("no call is awaited")?.clone();
    assert!(waiting.tool_expire_time.is_some());
    // A fork awaits them, too.
    let fork = ForkSessionRequest { name: "sessions/shop".to_owned(), session_id: "fork".to_owned(), revision: None };
    let forked = store.fork_session(fork).await?.into_inner();
    assert_eq!(
        (forked.state(), &forked.awaited_tool_call_ids),
        (SessionState::AwaitingTools, &waiting.awaited_tool_call_ids)
    );
    assert_eq!(get(&mut store, "fork").await?.awaited_tool_call_ids, waiting.awaited_tool_call_ids);
    // A result of another call answers nothing, and costs nothing.
    assert_eq!(refusal(client.generate(answering("call_of_nobody")).await)?, Reason::InvalidRequest);
    client.generate(answering(&id)).await?;
    let idle = get(&mut store, "shop").await?;
    assert_eq!((idle.state(), idle.revision, idle.awaited_tool_call_ids.len()), (SessionState::Idle, 2, 0));
    // Who says something else has cancelled the calls, and the model reads that.
    client.generate(calling()).await?;
    let id = get(&mut store, "shop").await?.awaited_tool_call_ids.first().context("no call is awaited")?.clone();
    client.generate(in_session(say("pip", "Never mind"))).await?;
    let kept = turns(&mut store, "shop").await?;
    let last = kept.last().context("no turn")?;
    assert_eq!(said(&last.input), format!("[{id}: the call was cancelled] Never mind"));
    assert_eq!(get(&mut store, "shop").await?.state(), SessionState::Idle);
    mesh.stop().await
}

#[tokio::test]
async fn calls_that_are_not_answered_in_time_have_expired() -> Result<()> {
    let mesh = Service::demo().await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    let session = Session { tool_timeout: Some(Duration::from_secs(1).try_into()?), ..Session::default() };
    let create = CreateSessionRequest { session: Some(session), session_id: "shop".to_owned() };
    store.create_session(create).await?;
    client.generate(calling()).await?;
    let waiting = get(&mut store, "shop").await?;
    let id = waiting.awaited_tool_call_ids.first().context("no call is awaited")?.clone();
    let expires = SystemTime::try_from(waiting.tool_expire_time.context("they never expire")?)?;
    tokio::time::sleep(expires.duration_since(SystemTime::now()).unwrap_or_default()).await;
    client.generate(in_session(say("pip", "Well?"))).await?;
    let kept = turns(&mut store, "shop").await?;
    assert_eq!(said(&kept.last().context("no turn")?.input), format!("[{id}: the call has expired] Well?"));
    mesh.stop().await
}
