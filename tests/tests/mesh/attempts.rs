//! Workers die, hang and are slow before the first piece of an answer and after it: another answers, or the caller is
//! told what it has got.

mod bounds;
pub mod leaving;
mod liars;

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::AttemptKind::{First, Hedge, Retry};
use pointsman_proto::inference::v1::Frame;
use pointsman_testkit::eventually;
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::caller::{
    Client, Read, attempts_in, chat_body, connect, post_chat, read, read_deltas, reason, retry_delay, say, told,
};
use crate::fleet::{FINISHED, Fleet, LOST, Member, RUNNING, chat, freeze, thaw};
use crate::service::LIMIT;

const HANGS: &str = "[{hang: {}}]";
const ANSWERS: &str = "[{answer: from the other}]";
const SLOW: &str = "answer_tokens: 1000, timing: {step: 50ms}";
const HEADER: &str = "x-pointsman-attempts";
const STATIC: &str = "x-pointsman-static-answer";

/// Asks over gRPC and reads to the end, beside the test.
fn ask(client: &Client) -> JoinHandle<Result<Read>> {
    let mut client = client.clone();
    tokio::spawn(async move { read(client.generate_stream(say("chat", "Hello")).await?.into_inner()).await })
}

/// The text of an answer that came as events to their good end.
fn text_of(events: &str) -> Result<String> {
    let events = events.strip_suffix("data: [DONE]\n\n").with_context(|| format!("no end: {events}"))?;
    pieces_of(events)
}

/// The text of events that are no error.
fn pieces_of(events: &str) -> Result<String> {
    let mut text = String::new();
    for event in events.split("\n\n").filter_map(|event| event.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(event)?;
        text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    Ok(text)
}

#[tokio::test]
async fn a_worker_killed_before_the_first_token_is_not_noticed() -> Result<()> {
    let mut fleet = Fleet::start(&[Member::replies(HANGS), Member::replies(ANSWERS)], &chat("")).await?;
    let client = connect(&fleet.gateway.address).await?;
    let stream = ask(&client);
    let mut other = client.clone();
    let whole = tokio::spawn(async move { other.generate(say("chat", "Hello")).await });
    let address = fleet.gateway.address.clone();
    let events = tokio::spawn(async move { post_chat(&address, &chat_body("chat", "Hello", true)).await });
    fleet.workers[0].metric_is(RUNNING, 3).await?;

    fleet.workers[0].process.kill9().await?;

    let read = stream.await??;
    let [started] = &read.started[..] else { anyhow::bail!("not one beginning: {read:?}") };
    let attempts = told(&started.attempts);
    assert!(["INSTANCE_UNREACHABLE", "STREAM_TRUNCATED"].contains(&attempts[0].2), "{attempts:?}");
    assert_eq!(attempts, [(First, "w1", attempts[0].2), (Retry, "w2", "ANSWERING")]);
    assert_eq!((&*started.target, &*started.model), ("models/simulated/versions/1", "chat"));
    assert!(read.attempts.contains("@w1 ") && read.attempts.contains("@w2 FINISHED "), "{}", read.attempts);
    assert_eq!(read.whole()?, "from the other");

    let whole = whole.await??;
    let line = attempts_in(whole.metadata());
    assert!(line.contains("@w1 ") && line.contains("@w2 FINISHED "), "{line}");
    assert_eq!(whole.into_inner().started.context("no Started")?.attempts.len(), 2);

    let events = events.await??;
    let line = events.headers()[HEADER].to_str()?.to_owned();
    assert!(events.status() == 200 && line.contains("@w1 ") && line.contains("@w2 "), "{line}");
    assert_eq!(text_of(&events.text().await?)?, "from the other");
    fleet.stop_after(&[LOST]).await
}

#[tokio::test]
async fn a_worker_that_stands_still_is_left_for_another() -> Result<()> {
    let policy = chat("timeouts: {connect: 0.5s}");
    let fleet = Fleet::start(&[Member::replies(ANSWERS), Member::replies(ANSWERS)], &policy).await?;
    freeze(&fleet.workers[0]).await?;
    let client = connect(&fleet.gateway.address).await?;
    let read = ask(&client).await??;
    let attempts = told(&read.started[0].attempts);
    assert_eq!(attempts, [(First, "w1", "ATTEMPT_TIMEOUT"), (Retry, "w2", "ANSWERING")]);
    assert_eq!(read.whole()?, "from the other");
    let whole = post_chat(&fleet.gateway.address, &chat_body("chat", "Hello", false)).await?;
    assert_eq!(whole.status(), 200);
    assert!(whole.headers()[HEADER].to_str()?.contains("@w1 ATTEMPT_TIMEOUT "), "{whole:?}");
    thaw(&fleet.workers[0]).await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_worker_that_takes_a_request_and_is_silent_is_left_for_another() -> Result<()> {
    let policy = chat("timeouts: {first_token: 0.5s}");
    let fleet = Fleet::start(&[Member::replies(HANGS), Member::replies(ANSWERS)], &policy).await?;
    let read = ask(&connect(&fleet.gateway.address).await?).await??;
    let attempts = told(&read.started[0].attempts);
    assert_eq!(attempts, [(First, "w1", "ATTEMPT_TIMEOUT"), (Retry, "w2", "ANSWERING")]);
    fleet.workers[0].metric_is(RUNNING, 0).await?;
    fleet.stop_after(&[]).await
}

/// A stream over gRPC and one over HTTP, of which some pieces were read.
struct Streams {
    frames: Streaming<Frame>,
    events: reqwest::Response,
    begun: String,
}

/// Opens both at the first worker.
async fn two_streams(fleet: &Fleet) -> Result<Streams> {
    let mut client = connect(&fleet.gateway.address).await?;
    let mut frames = client.generate_stream(say("chat", "Hello")).await?.into_inner();
    read_deltas(&mut frames, READ).await?;
    let mut events = post_chat(&fleet.gateway.address, &chat_body("chat", "Hello", true)).await?;
    let mut begun = String::new();
    while begun.matches("\"content\":").count() < 3 {
        begun.push_str(std::str::from_utf8(&events.chunk().await?.context("the events end")?)?);
    }
    assert_eq!(fleet.workers[0].metric(RUNNING).await?, 2);
    Ok(Streams { frames, events, begun })
}

/// How many pieces over gRPC are read before something happens: `You said:`.
const READ: usize = 2;

/// Fails unless both streams end with this error, which says how much came before it.
async fn both_broken(streams: Streams, want: Reason) -> Result<()> {
    let read = read(streams.frames).await?;
    let message = read.error.as_ref().context("a clean end")?.message().to_owned();
    let (pieces, bytes) = (READ + read.pieces, "You said:".len() + read.text.len());
    assert_eq!((read.reason()?, read.started.len()), (want, 0));
    assert!(message.contains(&format!("{pieces} pieces with {bytes} bytes of text were delivered")), "{message}");
    assert!(read.attempts.contains(&format!("@w1 {} ", want.name())), "{}", read.attempts);

    let events = streams.begun + &streams.events.text().await?;
    let (pieces, last) = events.trim_end().rsplit_once("\n\n").context("one event")?;
    let error = last.strip_prefix("data: ").context("no event")?;
    let error: Value = serde_json::from_str(error)?;
    assert_eq!(error["error"]["code"], want.name().to_lowercase(), "{error}");
    let bytes = pieces_of(pieces)?.len();
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("with {bytes} bytes of text were delivered")), "{bytes}: {message}");
    assert!(!events.contains("[DONE]") && events.matches("\"role\"").count() == 1, "{events}");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_worker_has_delivered_is_named() -> Result<()> {
    let mut fleet = Fleet::start(&[Member::engine(SLOW), Member::engine(SLOW)], &chat("")).await?;
    let streams = two_streams(&fleet).await?;
    fleet.workers[0].process.kill9().await?;
    both_broken(streams, Reason::StreamTruncated).await?;
    assert_eq!(fleet.workers[1].metric(RUNNING).await?, 0, "nobody began again");
    fleet.stop_after(&[LOST]).await
}

#[tokio::test]
async fn a_worker_that_falls_silent_in_the_middle_is_named() -> Result<()> {
    let policy = chat("timeouts: {idle_gap: 0.5s}");
    let fleet = Fleet::start(&[Member::engine(SLOW), Member::engine(SLOW)], &policy).await?;
    let streams = two_streams(&fleet).await?;
    freeze(&fleet.workers[0]).await?;
    both_broken(streams, Reason::AttemptTimeout).await?;
    assert_eq!(fleet.workers[1].metric(RUNNING).await?, 0, "nobody began again");
    thaw(&fleet.workers[0]).await?;
    fleet.workers[0].metric_is(RUNNING, 0).await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn where_all_workers_are_gone_a_policy_may_answer_itself() -> Result<()> {
    let rule = |name: &str, more: &str| {
        format!("{{name: {name}, rules: [{{name: all, targets: [{{target: simulated}}], {more}}}]}}")
    };
    let calm = rule("calm", "static_answer: {text: Back soon.}");
    let policy = format!("virtual_models: [{}, {calm}]\n", rule("chat", ""));
    let mut fleet = Fleet::start(&[Member::engine(""), Member::engine("")], &policy).await?;
    for worker in &mut fleet.workers {
        worker.process.kill9().await?;
    }
    let gone = [Reason::NoInstanceReady, Reason::InstanceUnreachable];
    let mut client = connect(&fleet.gateway.address).await?;
    // At once, while the gateway may not know it yet, and when it does.
    for _ in 0..2 {
        let refused = client.generate_stream(say("chat", "Hello")).await.err().context("it was answered")?;
        assert!(gone.contains(&reason(&refused)?) && retry_delay(&refused).is_some(), "{refused:?}");
        let refused = post_chat(&fleet.gateway.address, &chat_body("chat", "Hello", true)).await?;
        assert!(refused.status() == 503 && refused.headers().contains_key("retry-after"), "{refused:?}");
        let named = refused.headers()["x-pointsman-reason"].to_str()?;
        assert!(gone.iter().any(|reason| reason.name() == named), "{named}");

        let read = read(client.generate_stream(say("calm", "Hello")).await?.into_inner()).await?;
        assert!(read.started[0].static_answer && read.started[0].instance.is_empty(), "{read:?}");
        assert_eq!(read.whole()?, "Back soon.");
        let whole = client.generate(say("calm", "Hello")).await?;
        assert_eq!(whole.metadata().get(STATIC).context("it is not marked")?, "true");
        for stream in [false, true] {
            let answer = post_chat(&fleet.gateway.address, &chat_body("calm", "Hello", stream)).await?;
            assert_eq!((answer.status().as_u16(), &answer.headers()[STATIC]), (200, &"true".parse()?));
            assert!(answer.text().await?.contains("Back soon."));
        }
        eventually!(LIMIT, fleet.gateway.probe("readyz").await.is_ok_and(|status| status == 503))?;
    }
    fleet.stop_after(&[LOST, "its breaker is open"]).await
}

#[tokio::test]
async fn a_hedge_answers_for_a_slow_worker_which_then_stops() -> Result<()> {
    let policy = chat("hedge: {after: 0.2s}");
    let fleet = Fleet::start(&[Member::replies(HANGS), Member::replies(ANSWERS)], &policy).await?;
    let read = ask(&connect(&fleet.gateway.address).await?).await??;
    let attempts = told(&read.started[0].attempts);
    assert_eq!(attempts, [(First, "w1", "LOST_RACE"), (Hedge, "w2", "ANSWERING")]);
    assert_eq!(read.whole()?, "from the other");
    let whole = post_chat(&fleet.gateway.address, &chat_body("chat", "Hello", false)).await?;
    let line = whole.headers()[HEADER].to_str()?;
    assert!(line.contains("@w1 LOST_RACE ") && line.contains("@w2 FINISHED "), "{line}");
    fleet.workers[0].metric_is(RUNNING, 0).await?;
    fleet.workers[0].metric_is("pointsman_worker_requests_total{outcome=\"CANCELLED\"}", 2).await?;
    assert_eq!(fleet.workers[1].metric(FINISHED).await?, 2);
    fleet.stop_after(&[]).await
}
