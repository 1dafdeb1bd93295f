//! What operators see of requests in flight, and how they end one.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_testkit::eventually;

use crate::caller::{chat_body, connect, read, read_deltas, reason, say};
use crate::fleet::{Fleet, Member, RUNNING, chat};
use crate::program::pointsman;
use crate::service::LIMIT;

const REPLIES: &str = "[{when: {equals: hang}, hang: {}}, {answer: one two three, delay: {per_piece: 1h}}]";

/// The line of a request in what `pointsman requests` prints, cut into words; empty: it is not there.
async fn listed(fleet: &Fleet, id: &str) -> Result<Vec<String>> {
    let told = pointsman(&["requests", "--operator-address", &fleet.gateway.operator]).await?.success()?;
    let line = told.lines().find(|line| line.ends_with(&format!(" {id}")));
    Ok(line.unwrap_or_default().split_ascii_whitespace().skip(1).map(str::to_owned).collect())
}

async fn cancel(fleet: &Fleet, id: &str) -> Result<String> {
    pointsman(&["cancel", id, "--operator-address", &fleet.gateway.operator]).await?.success()
}

#[tokio::test]
async fn requests_in_flight_are_listed_and_ended() -> Result<()> {
    let fleet = Fleet::start(&[Member::replies(REPLIES), Member::replies(REPLIES)], &chat("")).await?;
    let named = |id: &str, text: &str| GenerateRequest { request_id: id.to_owned(), ..say("chat", text) };
    let mut client = connect(&fleet.gateway.address).await?;
    let mut other = client.clone();
    let waiting = named("waiting-1", "hang");
    let waiting = tokio::spawn(async move { other.generate_stream(waiting).await });
    let mut frames = client.generate_stream(named("answering-1", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 1).await?;
    let http = reqwest::Client::new().post(format!("{}/v1/chat/completions", fleet.gateway.address));
    let mut events = http.header("idempotency-key", "events-1").json(&chat_body("chat", "Hello", true)).send().await?;
    assert_eq!(events.headers()["x-request-id"], "events-1");
    assert!(events.chunk().await?.is_some());

    let target = "models/simulated/versions/1";
    eventually!(LIMIT, listed(&fleet, "waiting-1").await.is_ok_and(|line| !line.is_empty()))?;
    for (id, phase, tokens) in
        [("waiting-1", "waiting", "0"), ("answering-1", "answering", "1"), ("events-1", "answering", "1")]
    {
        let line = listed(&fleet, id).await?;
        // Which of the two it is, depends on what they said of their load meanwhile.
        let instance = line.get(4).context("there is no such column")?.as_str();
        assert!(["w1", "w2"].contains(&instance), "{line:?}");
        assert_eq!(line, [phase, "local", "chat", target, instance, tokens, id]);
    }
    let workers = fleet.sum(RUNNING).await?;
    assert_eq!(workers, 3);

    // By request id, or by trace id.
    assert!(cancel(&fleet, "waiting-1").await?.contains("waiting-1 was told to end"));
    let ended = waiting.await?.err().context("it was answered")?;
    assert_eq!(reason(&ended)?, Reason::CancelledByOperator);
    crate::attempts::leaving::sum_is(&fleet, &[RUNNING], 2).await?;
    cancel(&fleet, "answering-1").await?;
    assert_eq!(read(frames).await?.reason()?, Reason::CancelledByOperator);
    crate::attempts::leaving::sum_is(&fleet, &[RUNNING], 1).await?;
    let trace = events.headers()["x-pointsman-trace-id"].to_str()?.to_owned();
    cancel(&fleet, &trace).await?;
    let rest = events.text().await?;
    assert!(rest.contains("cancelled_by_operator") && !rest.contains("[DONE]"), "{rest}");
    crate::attempts::leaving::sum_is(&fleet, &[RUNNING], 0).await?;

    for id in ["waiting-1", "answering-1", "events-1"] {
        assert!(listed(&fleet, id).await?.is_empty(), "{id}");
        let ended = pointsman(&["cancel", id, "--operator-address", &fleet.gateway.operator]).await?;
        assert!(ended.code != Some(0) && ended.stderr.contains("REQUEST_NOT_FOUND"), "{ended:?}");
        assert!(ended.stderr.contains("`pointsman requests` lists those in flight"), "{ended:?}");
        // What a program that calls the operator port reads too.
        assert!(ended.stderr.contains("it has ended, or another process answers it"), "{ended:?}");
    }
    fleet.stop_after(&[]).await
}
