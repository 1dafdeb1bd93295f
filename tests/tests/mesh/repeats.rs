//! A request with a name of its caller's is generated once: repeated, joined while it runs, and taken up after its
//! connection was lost.

pub mod events;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, ResumeRequest};
use serde_json::Value;
use tempfile::TempDir;
use tonic::{Code, Request, Response, Status};

use crate::caller::{chat_body, connect, reason, say, say_at_most};
use crate::named::{
    CANCELLED, ENDLESS, FINISHED, RUNNING, SLOW, Wire, ask, check_whole, frames, generations, lasting, named, new_key,
    post, refusal, resume, text, token,
};
use crate::program::python;
use crate::service::{Pair, Start, gateway_config, simulated_config};

/// Whether a response says that it was asked for before.
fn is_repeated<T>(response: &Response<T>) -> bool {
    response.metadata().get("x-pointsman-repeated").is_some_and(|value| value == "true")
}

/// A worker that follows a script.
struct Scripted {
    mesh: Pair,
    _folder: TempDir,
}

impl Scripted {
    async fn start(yaml: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("replies.yaml");
        std::fs::write(&file, yaml)?;
        let worker = simulated_config(&format!("script: \"{}\"", file.display()));
        Ok(Self { mesh: Pair::start(&worker, &[]).await?, _folder: folder })
    }
}

#[tokio::test]
async fn what_has_ended_is_answered_again_and_not_generated_again() -> Result<()> {
    let mesh = Pair::start(&simulated_config(""), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let first = client.generate(named("order-1")).await?;
    assert!(!is_repeated(&first));
    let again = client.generate(named("order-1")).await?;
    assert!(is_repeated(&again));
    assert_eq!(again.into_inner(), first.into_inner());
    let streamed = client.generate_stream(named("order-1")).await?;
    assert!(is_repeated(&streamed));
    let streamed = frames(&mut streamed.into_inner(), usize::MAX).await?;
    check_whole(&streamed)?;
    assert_eq!((text(&streamed).as_str(), generations(&mesh.worker).await?), ("You said: Hello", 1));

    // Labels, so that their order is not a difference.
    let mut body = chat_body("simulated", "Hello", false);
    body["metadata"] =
        (0..32).map(|n| (format!("label-{n}"), Value::from("x"))).collect::<serde_json::Map<_, _>>().into();
    let key = [("idempotency-key", "order-2")];
    let first = post(&mesh.gateway.address, &body, &key).await?;
    assert_eq!((first.status().as_u16(), first.headers().get("x-pointsman-repeated")), (200, None));
    let again = post(&mesh.gateway.address, &body, &key).await?;
    assert_eq!((again.status().as_u16(), &again.headers()["x-pointsman-repeated"]), (200, &"true".parse()?));
    assert_eq!(again.headers()["x-request-id"], "order-2");
    assert_eq!(again.text().await?, first.text().await?);
    body["stream"] = true.into();
    let streamed = post(&mesh.gateway.address, &body, &key).await?;
    assert_eq!(streamed.headers()["x-pointsman-repeated"], "true");
    assert!(streamed.text().await?.ends_with("data: [DONE]\n\n"));
    assert_eq!(generations(&mesh.worker).await?, 2);
    mesh.stop().await
}

#[tokio::test]
async fn a_repeat_joins_what_runs_from_its_beginning() -> Result<()> {
    let mesh = Pair::start(&simulated_config(SLOW), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut first = client.generate_stream(named("order-1")).await?.into_inner();
    let mut first_frames = frames(&mut first, 5).await?;
    let joined = client.generate_stream(named("order-1")).await?;
    assert!(is_repeated(&joined));
    let mut joined = joined.into_inner();
    let mut joined_frames = frames(&mut joined, 5).await?;
    assert_eq!((mesh.worker.metric(RUNNING).await?, generations(&mesh.worker).await?), (1, 1));

    // Who leaves, or whose time is over, takes nothing from who stays.
    let leaves = client.generate_stream(named("order-1")).await?;
    drop(leaves);
    let mut hurried = Request::new(named("order-1"));
    hurried.set_timeout(Duration::from_millis(200));
    let hurried = ask(&mut client, hurried).await.err().context("it was answered in time")?;
    let hurried = hurried.downcast::<Status>()?;
    assert_eq!(hurried.code(), Code::DeadlineExceeded);
    first_frames.extend(frames(&mut first, 5).await?);
    drop(first);
    joined_frames.extend(frames(&mut joined, usize::MAX).await?);
    check_whole(&joined_frames)?;
    assert_eq!(joined_frames[..10], first_frames);
    mesh.worker.metric_is(FINISHED, 1).await?;
    assert_eq!(generations(&mesh.worker).await?, 1);
    mesh.stop().await
}

#[tokio::test]
async fn an_id_is_good_for_one_request() -> Result<()> {
    let mesh = Pair::start(&simulated_config(ENDLESS), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let other = || GenerateRequest { request_id: "order-1".to_owned(), ..say("simulated", "Goodbye") };
    let mut running = client.generate_stream(named("order-1")).await?.into_inner();
    frames(&mut running, 2).await?;
    let refused = client.generate(other()).await.err().context("it was answered")?;
    assert_eq!((refused.code(), reason(&refused)?), (Code::AlreadyExists, Reason::RequestIdReused));
    let refused =
        post(&mesh.gateway.address, &chat_body("simulated", "Hi", true), &[("idempotency-key", "order-1")]).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (409, &"REQUEST_ID_REUSED".parse()?)
    );
    // It did the other no harm; and once that is over without an end, its name is free.
    frames(&mut running, 2).await?;
    drop(running);
    mesh.worker.metric_is(CANCELLED, 1).await?;
    let mut next = client.generate_stream(other()).await?.into_inner();
    frames(&mut next, 2).await?;
    assert_eq!(generations(&mesh.worker).await?, 2);
    drop(next);
    mesh.stop().await
}

#[tokio::test]
async fn ids_and_tokens_belong_to_their_tenant() -> Result<()> {
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let [(one, one_config), (two, two_config)] = [new_key("one").await?, new_key("two").await?];
    let keys = format!(
        "gateway:\n  instances: [{{name: w, endpoint: \"{}\"}}]\n  keys:{one_config}{two_config}\n",
        worker.address
    );
    let gateway = Start::new("gateway", &keys).ready().await?;
    let mut client = connect(&gateway.address).await?;
    let by = |key: &str, text: &str| {
        let mut request = Request::new(GenerateRequest { request_id: "order-1".to_owned(), ..say("simulated", text) });
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
        anyhow::Ok(request)
    };
    let own = ask(&mut client, by(&one, "Hello")?).await?;
    let other = ask(&mut client, by(&two, "Goodbye")?).await?;
    assert_eq!((text(&own).as_str(), text(&other).as_str()), ("You said: Hello", "You said: Goodbye"));
    assert_eq!(generations(&worker).await?, 2);

    // A token opens what is one's own.
    let take_up = |key: &str, of: &[Frame]| {
        let mut request = Request::new(ResumeRequest { resume_token: token(of)?, after_sequence: 1 });
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
        anyhow::Ok(request)
    };
    let rest = frames(&mut client.resume(take_up(&one, &own)?).await?.into_inner(), usize::MAX).await?;
    assert_eq!(rest, own[1..]);
    let theirs = frames(&mut client.resume(take_up(&two, &other)?).await?.into_inner(), usize::MAX).await?;
    assert_eq!(theirs, other[1..]);
    // The same id of another tenant is another request.
    assert_eq!(refusal(client.resume(take_up(&two, &own)?).await)?, Reason::FrameLogLost);
    assert_eq!(refusal(client.resume(take_up("none", &own)?).await)?, Reason::KeyInvalid);
    gateway.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn what_failed_can_be_asked_again() -> Result<()> {
    let yaml = "\
replies:
  - {times: 1, error: {reason: CONTEXT_TOO_LONG}}
  - {times: 1, answer: Half an ans, truncate: {after_pieces: 2}}
  - answer: in the end
";
    let Scripted { mesh, _folder } = Scripted::start(yaml).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    assert_eq!(refusal(client.generate(named("order-1")).await)?, Reason::ContextTooLong);
    let mut broken = client.generate_stream(named("order-1")).await?.into_inner();
    let half = frames(&mut broken, 3).await?;
    assert_eq!(text(&half), "Half an");
    assert_eq!(reason(&broken.message().await.err().context("a good end")?)?, Reason::StreamTruncated);
    assert_eq!(refusal(resume(&mut client, &token(&half)?, 3).await)?, Reason::FrameLogLost);
    let whole = ask(&mut client, named("order-1")).await?;
    assert_eq!(text(&whole), "in the end");
    assert_eq!(text(&ask(&mut client, named("order-1")).await?), "in the end");
    assert_eq!(generations(&mesh.worker).await?, 3);
    mesh.stop().await
}

#[tokio::test]
async fn nothing_is_kept_of_a_request_without_a_name() -> Result<()> {
    let mesh = Pair::start(&simulated_config(""), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    for _ in 0..2 {
        let response = client.generate_stream(say("simulated", "Hello")).await?;
        assert!(!is_repeated(&response));
        let answer = frames(&mut response.into_inner(), usize::MAX).await?;
        assert_eq!(token(&answer)?, "");
        let events = post(&mesh.gateway.address, &chat_body("simulated", "Hello", true), &[]).await?;
        assert!(!events.headers().contains_key("x-pointsman-repeated"));
        assert!(!events.text().await?.contains("id: "));
    }
    assert_eq!(generations(&mesh.worker).await?, 4);
    mesh.stop().await
}

#[tokio::test]
async fn a_lost_stream_goes_on_where_it_was_lost() -> Result<()> {
    for id in ["order-1", ""] {
        let mesh = Pair::start(&simulated_config(SLOW), &[]).await?;
        let wire = Wire::to(&mesh.gateway).await?;
        let mut lost = connect(&wire.address).await?;
        let mut stream = lost.generate_stream(lasting(id, 30)).await?.into_inner();
        let mut got = frames(&mut stream, 5).await?;
        wire.cut();
        assert!(stream.message().await.is_err(), "the connection is still there");
        let token = token(&got)?;

        // While it runs; that caller leaves too, and says so.
        let mut client = connect(&mesh.gateway.address).await?;
        let mut second = resume(&mut client, &token, 5).await?;
        got.extend(frames(&mut second, 5).await?);
        drop(second);
        // The work goes on though nobody reads, and its end is there for whoever comes.
        mesh.worker.metric_is(FINISHED, 1).await?;
        got.extend(frames(&mut resume(&mut client, &token, 10).await?, usize::MAX).await?);
        check_whole(&got)?;
        assert_eq!(frames(&mut resume(&mut client, &token, 0).await?, usize::MAX).await?, got);
        assert_eq!(generations(&mesh.worker).await?, 1);
        mesh.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_a_window_leaving_stops_the_work_at_once() -> Result<()> {
    let worker = format!("{}worker: {{slots: 1, queue: 0}}\n", simulated_config(ENDLESS));
    let mesh = Pair::start(&worker, &[]).await?;
    for (round, request) in [named("order-1"), named("order-2"), lasting("order-3", 0)].into_iter().enumerate() {
        let wire = Wire::to(&mesh.gateway).await?;
        let mut lost = connect(&wire.address).await?;
        let mut stream = lost.generate_stream(request).await?.into_inner();
        let got = frames(&mut stream, 3).await?;
        wire.cut();
        // The one slot is free again: the next round needs it.
        mesh.worker.metric_is(CANCELLED, round as u64 + 1).await?;
        mesh.worker.metric_is(RUNNING, 0).await?;
        let mut client = connect(&mesh.gateway.address).await?;
        assert_eq!(refusal(resume(&mut client, &token(&got)?, 3).await)?, Reason::FrameLogLost);
    }
    mesh.stop().await
}

#[tokio::test]
async fn when_the_window_is_over_the_work_ends() -> Result<()> {
    let mesh = Pair::start(&simulated_config(ENDLESS), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut stream = client.generate_stream(lasting("order-1", 1)).await?.into_inner();
    let got = frames(&mut stream, 3).await?;
    let begun = Instant::now();
    drop(stream);
    mesh.worker.metric_is(CANCELLED, 1).await?;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(refusal(resume(&mut client, &token(&got)?, 3).await)?, Reason::FrameLogLost);
    // As if it had never been.
    let mut again = client.generate_stream(lasting("order-1", 1)).await?;
    assert!(!is_repeated(&again));
    frames(again.get_mut(), 2).await?;
    assert_eq!(generations(&mesh.worker).await?, 2);
    drop(again);
    mesh.worker.metric_is(CANCELLED, 2).await?;
    mesh.stop().await
}

#[tokio::test]
async fn what_cannot_be_taken_up_is_told() -> Result<()> {
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let config = gateway_config(&worker.address).replace("gateway: {", "gateway: {frame_log: {keep: 0s}, ");
    let gateway = Start::new("gateway", &config).ready().await?;
    let mut client = connect(&gateway.address).await?;
    for broken in ["", "no token", "6f6f6f", "ff0aff"] {
        let refused = resume(&mut client, broken, 0).await.err().context("it was taken up")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::InvalidArgument, Reason::InvalidRequest), "{broken}");
    }
    // Of a gateway that nobody knows, and of this one, which does not keep what has ended.
    let answer = ask(&mut client, named("order-1")).await?;
    for gone in ["6f746865720a6f726465722d310a31", token(&answer)?.as_str()] {
        let refused = resume(&mut client, gone, 1).await.err().context("it was taken up")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::FailedPrecondition, Reason::FrameLogLost), "{gone}");
    }
    gateway.stop().await?;
    worker.stop().await
}

/// Nobody can have got what was not written: who says so has mixed something up, and is not told that all is well.
#[tokio::test]
async fn nothing_is_taken_up_behind_the_end() -> Result<()> {
    let mesh = Pair::start(&simulated_config(ENDLESS), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut running = client.generate_stream(named("order-1")).await?.into_inner();
    let got = frames(&mut running, 2).await?;
    let short = GenerateRequest { request_id: "order-2".to_owned(), ..say_at_most("simulated", "Hello", 3) };
    let ended = ask(&mut client, short).await?;
    check_whole(&ended)?;
    let last = ended.len() as u64;

    // What runs would come to it some day, but nobody is kept waiting for that.
    for (token, after, told) in [
        (token(&got)?, 1_000_000, "is after the last frame of this answer so far; ".to_owned()),
        (token(&got)?, u64::MAX, "is after the last frame of this answer so far; ".to_owned()),
        (token(&ended)?, last + 1, format!("is after the last frame of this answer; must be at most {last}")),
        (token(&ended)?, u64::MAX, format!("is after the last frame of this answer; must be at most {last}")),
    ] {
        let refused = resume(&mut client, &token, after).await.err().context("it was taken up")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::InvalidArgument, Reason::InvalidRequest));
        assert!(refused.message().starts_with(&format!("after_sequence: {told}")), "{}", refused.message());
    }
    assert_eq!(mesh.worker.metric(RUNNING).await?, 1, "what runs goes on");
    assert_eq!(frames(&mut resume(&mut client, &token(&ended)?, last).await?, usize::MAX).await?, []);
    drop(running);
    mesh.worker.metric_is(CANCELLED, 1).await?;
    mesh.stop().await
}

#[tokio::test]
async fn the_python_library_repeats_and_goes_on() -> Result<()> {
    let mesh = Pair::start(&simulated_config("answer_tokens: 6"), &[]).await?;
    python("tests/python/openai_repeat.py", &[&mesh.gateway.address], None).await?;
    assert_eq!(generations(&mesh.worker).await?, 1);
    mesh.stop().await
}
