//! Server-sent events go on after the last one that their reader got (`last-event-id`).

use anyhow::{Context, Result};
use serde_json::Value;

use super::Scripted;
use crate::caller::chat_body;
use crate::named::{CANCELLED, ENDLESS, RUNNING, SLOW, Wire, generations, post};
use crate::service::{Pair, simulated_config};

/// The id of an event, if it has one, and its data.
fn events(body: &str) -> Vec<(Option<&str>, &str)> {
    let parse = |event| {
        let mut id = None;
        let mut data = "";
        for line in str::lines(event) {
            if line.starts_with("id: ") {
                id = line.strip_prefix("id: ");
            } else if let Some(rest) = line.strip_prefix("data: ") {
                data = rest;
            }
        }
        (id, data)
    };
    body.split_terminator("\n\n").map(parse).collect()
}

/// The text of events; `[DONE]` as it is.
fn content(events: &[(Option<&str>, &str)]) -> Result<String> {
    let mut content = String::new();
    for (_, data) in events {
        if *data == "[DONE]" {
            content.push_str(data);
        } else {
            let chunk: Value = serde_json::from_str(data).with_context(|| (*data).to_owned())?;
            content.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
    }
    Ok(content)
}

/// The id of the last event that has one: a number, and which answer it is.
pub fn last_id(body: &str) -> Result<(u64, String)> {
    let id = events(body).iter().rev().find_map(|(id, _)| *id).context("no id")?;
    let (number, generation) = id.split_once('-').context("no generation")?;
    Ok((number.parse()?, generation.to_owned()))
}

#[tokio::test]
async fn events_go_on_after_the_last_one_that_came() -> Result<()> {
    let mesh = Pair::start(&simulated_config("answer_tokens: 6"), &[]).await?;
    let mut body = chat_body("simulated", "Hello", true);
    body["stream_options"] = serde_json::json!({"include_usage": true});
    let key = ("idempotency-key", "order-1");
    let whole = post(&mesh.gateway.address, &body, &[key]).await?.text().await?;
    let whole_events = events(&whole);
    let whole_content = content(&whole_events)?;
    assert!(whole_content.starts_with("You said: Hello") && whole_content.ends_with("[DONE]"), "{whole}");
    assert_eq!(whole.matches("[DONE]").count(), 1);
    assert!(whole_events.iter().filter(|(id, _)| id.is_some()).count() > 6, "{whole}");

    // Lost after each of the events, also between two that are one frame's.
    for lost_after in 0..whole_events.len() {
        let (got, _) = whole_events.split_at(lost_after);
        let last = got.iter().rev().find_map(|(id, _)| *id);
        let headers: Vec<(&str, &str)> = std::iter::once(key).chain(last.map(|id| ("last-event-id", id))).collect();
        let rest = post(&mesh.gateway.address, &body, &headers).await?;
        assert_eq!((rest.status().as_u16(), &rest.headers()["x-pointsman-repeated"]), (200, &"true".parse()?));
        let rest = rest.text().await?;
        let both = content(got)? + &content(&events(&rest))?;
        assert_eq!(both, whole_content, "lost after {lost_after} events, {last:?}: {rest}");
        if last.is_some() {
            assert!(whole.ends_with(&rest), "the same bytes: {rest}");
        }
    }
    // Whoever has them all is told the end again: a stream without one would be a broken one.
    let (last, _) = *whole_events.last().context("no event")?;
    let last = last.context("no number")?;
    let rest = post(&mesh.gateway.address, &body, &[key, ("last-event-id", last)]).await?;
    assert_eq!((rest.status().as_u16(), rest.text().await?), (200, format!("id: {last}\ndata: [DONE]\n\n")));
    assert_eq!(generations(&mesh.worker).await?, 1);
    mesh.stop().await
}

#[tokio::test]
async fn events_of_two_answers_are_never_joined() -> Result<()> {
    let yaml = "\
replies:
  - {times: 1, answer: Half an ans, truncate: {after_pieces: 2}}
  - answer: Something else altogether
";
    let Scripted { mesh, _folder } = Scripted::start(yaml).await?;
    let body = chat_body("simulated", "Hello", true);
    let key = ("idempotency-key", "order-1");
    let broken = post(&mesh.gateway.address, &body, &[key]).await?.text().await?;
    let last = events(&broken).iter().rev().find_map(|(id, _)| *id).context("no number")?.to_string();
    assert!(broken.contains("stream_truncated"), "{broken}");
    let refused = post(&mesh.gateway.address, &body, &[key, ("last-event-id", &last)]).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (409, &"FRAME_LOG_LOST".parse()?)
    );
    assert_eq!(generations(&mesh.worker).await?, 1);
    // From the beginning it may be tried again.
    let again = post(&mesh.gateway.address, &body, &[key, ("last-event-id", "0")]).await?.text().await?;
    assert_eq!(content(&events(&again))?, "Something else altogether[DONE]");
    // Now there is an answer of that name, and it is not the one of which the reader has the beginning.
    let refused = post(&mesh.gateway.address, &body, &[key, ("last-event-id", &last)]).await?;
    assert_eq!(&refused.headers()["x-pointsman-reason"], "FRAME_LOG_LOST");

    // An id that is none, or of a request that has no name, is a mistake, and no beginning.
    for headers in
        [&[key, ("last-event-id", "last")][..], &[key, ("last-event-id", "3")], &[("last-event-id", "3-00000001")]]
    {
        let refused = post(&mesh.gateway.address, &body, headers).await?;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
            (400, &"INVALID_REQUEST".parse()?),
            "{headers:?}"
        );
    }
    assert_eq!(generations(&mesh.worker).await?, 2);
    mesh.stop().await
}

/// Nobody can have got what was not written.
#[tokio::test]
async fn events_do_not_go_on_after_one_that_is_not_there() -> Result<()> {
    let mesh = Pair::start(&simulated_config(ENDLESS), &[]).await?;
    let mut short = chat_body("simulated", "Hello", true);
    short["max_completion_tokens"] = 3.into();
    let whole = post(&mesh.gateway.address, &short, &[("idempotency-key", "short")]).await?.text().await?;
    let (last, short_generation) = last_id(&whole)?;
    let endless = chat_body("simulated", "Hello", true);
    let mut running = post(&mesh.gateway.address, &endless, &[("idempotency-key", "endless")]).await?;
    let begin = running.chunk().await?.context("the stream ended")?;
    let (_, generation) = last_id(std::str::from_utf8(&begin)?)?;

    // What runs would come to it some day, but nobody is kept waiting for that.
    for (key, body, after, generation, told) in [
        (
            "short",
            &short,
            last + 1,
            &short_generation,
            format!("is after the last event of this answer; must be at most {last}"),
        ),
        (
            "short",
            &short,
            u64::MAX,
            &short_generation,
            format!("is after the last event of this answer; must be at most {last}"),
        ),
        ("endless", &endless, 1_000_000, &generation, "is after the last event of this answer so far; ".to_owned()),
    ] {
        let headers = [("idempotency-key", key), ("last-event-id", &format!("{after}-{generation}"))];
        let refused = post(&mesh.gateway.address, body, &headers).await?;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
            (400, &"INVALID_REQUEST".parse()?)
        );
        assert_eq!(refused.headers()["x-should-retry"], "false");
        let refused: Value = refused.json().await?;
        assert_eq!(refused["error"]["param"], "last-event-id");
        let message = refused["error"]["message"].as_str().context("no message")?;
        assert!(message.starts_with(&format!("last-event-id: {told}")), "{message}");
    }
    assert_eq!(mesh.worker.metric(RUNNING).await?, 1, "what runs goes on");
    let refusals = "pointsman_gateway_requests_total{surface=\"openai\",outcome=\"INVALID_REQUEST\"}";
    mesh.gateway.metric_is(refusals, 3).await?;
    drop(running);
    mesh.worker.metric_is(CANCELLED, 1).await?;
    mesh.stop().await
}

#[tokio::test]
async fn events_go_on_while_their_answer_is_made() -> Result<()> {
    let mesh = Pair::start(&simulated_config(SLOW), &[]).await?;
    let body = chat_body("simulated", "Hello", true);
    let headers = [("idempotency-key", "order-1"), ("x-pointsman-resume-window", "30")];
    let wire = Wire::to(&mesh.gateway).await?;
    let mut lost = post(&wire.address, &body, &headers).await?;
    let mut got = String::new();
    while got.matches("\n\n").count() < 5 {
        got.push_str(std::str::from_utf8(&lost.chunk().await?.context("the stream ended")?)?);
    }
    wire.cut();
    assert!(lost.chunk().await.is_err(), "the connection is still there");
    let (got, _) = got.rsplit_once("\n\n").context("no event")?;
    let got = events(got);
    let last = got.iter().rev().find_map(|(id, _)| *id).context("no number")?.to_string();
    let again = [headers[0], headers[1], ("last-event-id", &last)];
    let rest = post(&mesh.gateway.address, &body, &again).await?.text().await?;
    let whole = post(&mesh.gateway.address, &body, &headers).await?.text().await?;
    assert_eq!(content(&got)? + &content(&events(&rest))?, content(&events(&whole))?);
    assert_eq!(rest.matches("[DONE]").count(), 1);
    assert_eq!(generations(&mesh.worker).await?, 1);
    mesh.stop().await
}
