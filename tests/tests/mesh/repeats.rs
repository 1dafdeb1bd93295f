//! A request with a name of its caller's is generated once: repeated, joined while it runs, and taken up after its
//! connection was lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, ResumeRequest, delta};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::caller::{Client, chat_body, connect, reason, say};
use crate::program::{pointsman, python};
use crate::service::{LIMIT, Pair, Service, Start, gateway_config, simulated_config};

pub const RUNNING: &str = "pointsman_worker_running_requests";
pub const FINISHED: &str = "pointsman_worker_requests_total{outcome=\"FINISHED\"}";
pub const CANCELLED: &str = "pointsman_worker_requests_total{outcome=\"CANCELLED\"}";

/// An answer of two seconds, a token each 50 ms.
pub const SLOW: &str = "answer_tokens: 40, timing: {step: 50ms}";
/// One that nobody waits for.
pub const ENDLESS: &str = "answer_tokens: 8000, timing: {step: 50ms}";

/// How many requests have come to a worker: those that run, and those that have ended.
pub async fn generations(worker: &Service) -> Result<u64> {
    let text = reqwest::get(format!("{}/metrics", worker.operator)).await?.text().await?;
    let ended = text.lines().filter(|line| line.starts_with("pointsman_worker_requests_total{"));
    let counts = ended.chain(text.lines().filter(|line| line.starts_with(&format!("{RUNNING} "))));
    counts.map(|line| Ok(line.rsplit(' ').next().context("no value")?.parse::<u64>()?)).sum()
}

/// A request with a name.
pub fn named(id: &str) -> GenerateRequest {
    GenerateRequest { request_id: id.to_owned(), ..say("simulated", "Hello") }
}

/// One that goes on for so many seconds after its caller was lost.
pub fn lasting(id: &str, seconds: u64) -> GenerateRequest {
    let window = Duration::from_secs(seconds).try_into().ok();
    GenerateRequest { resume_window: window, ..named(id) }
}

/// Reads so many frames, or to the end.
pub async fn frames(stream: &mut Streaming<Frame>, count: usize) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        match timeout(LIMIT, stream.message()).await.context("the stream hangs")?? {
            Some(frame) => frames.push(frame),
            None => break,
        }
    }
    Ok(frames)
}

/// Asks and reads to the end.
pub async fn ask(client: &mut Client, request: impl tonic::IntoRequest<GenerateRequest>) -> Result<Vec<Frame>> {
    frames(&mut client.generate_stream(request).await?.into_inner(), usize::MAX).await
}

/// Takes a stream up.
pub async fn resume(client: &mut Client, token: &str, after_sequence: u64) -> Result<Streaming<Frame>, Status> {
    let request = ResumeRequest { resume_token: token.to_owned(), after_sequence };
    client.resume(request).await.map(Response::into_inner)
}

/// Fails unless these frames are a whole answer, without gap or repetition.
pub fn check_whole(frames: &[Frame]) -> Result<()> {
    let sequences: Vec<u64> = frames.iter().map(|frame| frame.sequence).collect();
    let want: Vec<u64> = (1..=frames.len() as u64).collect();
    ensure!(sequences == want, "{sequences:?}");
    let last = frames.last().and_then(|frame| frame.body.as_ref());
    ensure!(matches!(last, Some(Body::Finished(_))), "it ends with {last:?}");
    Ok(())
}

/// The text of these frames.
pub fn text(frames: &[Frame]) -> String {
    let piece = |frame: &Frame| match &frame.body {
        Some(Body::Delta(delta)) => match &delta.content {
            Some(delta::Content::Text(text)) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    frames.iter().filter_map(piece).collect()
}

/// The resume token of these frames.
pub fn token(frames: &[Frame]) -> Result<String> {
    match frames.first().and_then(|frame| frame.body.as_ref()) {
        Some(Body::Started(started)) => Ok(started.resume_token.clone()),
        other => anyhow::bail!("the first frame is {other:?}"),
    }
}

/// The reason why there is no stream.
pub fn refusal<T>(answer: Result<T, Status>) -> Result<Reason> {
    reason(&answer.err().context("it was answered")?)
}

/// Whether a response says that it was asked for before.
fn is_repeated<T>(response: &Response<T>) -> bool {
    response.metadata().get("x-pointsman-repeated").is_some_and(|value| value == "true")
}

/// A connection to a service that can be cut, as a network does it: without a word to either side.
pub struct Wire {
    pub address: String,
    listening: AbortHandle,
}

impl Wire {
    pub async fn to(service: &Service) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let server = service.address.trim_start_matches("http://").to_owned();
        let listening: JoinHandle<Result<()>> = tokio::spawn(async move {
            // One connection. Both sockets end with this task.
            let (mut caller, _) = listener.accept().await?;
            let mut server = TcpStream::connect(server).await?;
            tokio::io::copy_bidirectional(&mut caller, &mut server).await?;
            Ok(())
        });
        Ok(Self { address, listening: listening.abort_handle() })
    }

    pub fn cut(&self) {
        self.listening.abort();
    }
}

/// Sends a body to the OpenAI surface, with these headers.
pub async fn post(address: &str, body: &Value, headers: &[(&str, &str)]) -> Result<reqwest::Response> {
    let client = reqwest::Client::builder().timeout(LIMIT).build()?;
    let post = client.post(format!("{address}/v1/chat/completions")).json(body);
    Ok(headers.iter().fold(post, |post, (name, value)| post.header(*name, *value)).send().await?)
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

/// A new key of a tenant, and its lines of configuration.
pub async fn new_key(tenant: &str) -> Result<(String, String)> {
    let printed = pointsman(&["key", "new", "--tenant", tenant]).await?.success()?;
    let key = printed.lines().map(str::trim).find(|line| line.starts_with("pm_")).context("no key")?.to_owned();
    let (_, entry) = printed.split_once("keys:").context("no configuration")?;
    Ok((key, entry.trim_end().to_owned()))
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
    let take_up = |key: &str| {
        let mut request = Request::new(ResumeRequest { resume_token: token(&own)?, after_sequence: 1 });
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
        anyhow::Ok(request)
    };
    let rest = frames(&mut client.resume(take_up(&one)?).await?.into_inner(), usize::MAX).await?;
    assert_eq!(rest, own[1..]);
    let theirs = frames(&mut client.resume(take_up(&two)?).await?.into_inner(), usize::MAX).await?;
    assert_eq!(theirs, other[1..], "the same id of another tenant is another request");
    assert_eq!(refusal(client.resume(take_up("none")?).await)?, Reason::KeyInvalid);
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
    for gone in ["6f746865720a6f726465722d31", token(&answer)?.as_str()] {
        let refused = resume(&mut client, gone, 1).await.err().context("it was taken up")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::FailedPrecondition, Reason::FrameLogLost), "{gone}");
    }
    gateway.stop().await?;
    worker.stop().await
}

/// Who says to have more than there is has mixed something up, and is not told that all is well.
#[tokio::test]
async fn nothing_is_taken_up_behind_the_end() -> Result<()> {
    let mesh = Pair::start(&simulated_config(SLOW), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut stream = client.generate_stream(named("order-1")).await?.into_inner();
    let mut got = frames(&mut stream, 2).await?;
    let token = token(&got)?;
    let ahead = async {
        let mut client = client.clone();
        match resume(&mut client, &token, 1000).await {
            Ok(mut stream) => stream.message().await.err().context("a good end"),
            Err(status) => Ok(status),
        }
    };
    let (ahead, rest) = tokio::join!(ahead, frames(&mut stream, usize::MAX));
    got.extend(rest?);
    check_whole(&got)?;
    assert_eq!(reason(&ahead?)?, Reason::FrameLogLost);
    assert_eq!(refusal(resume(&mut client, &token, 1000).await)?, Reason::FrameLogLost, "after the end");
    mesh.stop().await
}

/// The number of an event, if it has one, and its data.
fn events(body: &str) -> Vec<(Option<u64>, &str)> {
    let parse = |event| {
        let mut id = None;
        let mut data = "";
        for line in str::lines(event) {
            if let Some(number) = line.strip_prefix("id: ") {
                id = number.parse().ok();
            } else if let Some(rest) = line.strip_prefix("data: ") {
                data = rest;
            }
        }
        (id, data)
    };
    body.split_terminator("\n\n").map(parse).collect()
}

/// The text of events; `[DONE]` as it is.
fn content(events: &[(Option<u64>, &str)]) -> Result<String> {
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
    for lost_after in 0..=whole_events.len() {
        let (got, _) = whole_events.split_at(lost_after);
        let last = got.iter().rev().find_map(|(id, _)| *id).map(|id| id.to_string());
        let headers: Vec<(&str, &str)> =
            std::iter::once(key).chain(last.as_deref().map(|id| ("last-event-id", id))).collect();
        let rest = post(&mesh.gateway.address, &body, &headers).await?;
        assert_eq!((rest.status().as_u16(), &rest.headers()["x-pointsman-repeated"]), (200, &"true".parse()?));
        let rest = rest.text().await?;
        let both = content(got)? + &content(&events(&rest))?;
        assert_eq!(both, whole_content, "lost after {lost_after} events, {last:?}: {rest}");
        if last.is_some() {
            assert!(whole.ends_with(&rest), "the same bytes: {rest}");
        }
    }
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

    // A number that is none, or of a request that has no name, is a mistake, and no beginning.
    for headers in [&[key, ("last-event-id", "last")][..], &[("last-event-id", "3")]] {
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

#[tokio::test]
async fn the_python_library_repeats_and_goes_on() -> Result<()> {
    let mesh = Pair::start(&simulated_config("answer_tokens: 6"), &[]).await?;
    python("tests/python/openai_repeat.py", &[&mesh.gateway.address], None).await?;
    assert_eq!(generations(&mesh.worker).await?, 1);
    mesh.stop().await
}
