//! Requests with a name of their caller's, and what is read of their answers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, ResumeRequest, delta};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use crate::caller::{Client, reason, say};
use crate::program::pointsman;
use crate::service::{LIMIT, Service};

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

/// A new key of a tenant, and its lines of configuration.
pub async fn new_key(tenant: &str) -> Result<(String, String)> {
    let printed = pointsman(&["key", "new", "--tenant", tenant]).await?.success()?;
    let key = printed.lines().map(str::trim).find(|line| line.starts_with("pm_")).context("no key")?.to_owned();
    let (_, entry) = printed.split_once("keys:").context("no configuration")?;
    Ok((key, entry.trim_end().to_owned()))
}
