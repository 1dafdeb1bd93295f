//! Calls, as a program of ours makes them: gRPC with generated stubs, and plain HTTP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::inference_service_server::SERVICE_NAME;
use pointsman_proto::inference::v1::{
    Attempt, AttemptKind, Frame, GenerateRequest, Limits, Message, Part, Role, Started, delta, part,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::service::LIMIT;

pub type Client = InferenceServiceClient<Channel>;

/// Connects to a service.
pub async fn connect(address: &str) -> Result<Client> {
    let channel = Endpoint::from_shared(address.to_owned())?.timeout(LIMIT).connect().await?;
    Ok(InferenceServiceClient::new(channel))
}

/// A request with one message of a user.
pub fn say(model: &str, text: &str) -> GenerateRequest {
    let part = Part { kind: Some(part::Kind::Text(text.to_owned())) };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    GenerateRequest { model: model.to_owned(), messages: vec![message], ..GenerateRequest::default() }
}

/// The same, with a limit for the answer.
pub fn say_at_most(model: &str, text: &str, tokens: u32) -> GenerateRequest {
    GenerateRequest { limits: Some(Limits { max_output_tokens: Some(tokens) }), ..say(model, text) }
}

/// The same as a body of the OpenAI surface.
pub fn chat_body(model: &str, text: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
}

/// Sends a body to the OpenAI surface.
pub async fn post_chat(address: &str, body: &Value) -> Result<reqwest::Response> {
    let client = reqwest::Client::builder().timeout(LIMIT).build()?;
    Ok(client.post(format!("{address}/v1/chat/completions")).json(body).send().await?)
}

/// A stream that was read to its end.
#[derive(Debug, Default)]
pub struct Read {
    pub text: String,
    pub pieces: usize,
    /// The beginnings, of which there is never more than one.
    pub started: Vec<Started>,
    /// Whether the last frame was `Finished`.
    pub finished: bool,
    /// The status, if it is not OK.
    pub error: Option<Status>,
    /// `x-pointsman-attempts` of the trailers.
    pub attempts: String,
}

impl Read {
    /// Fails unless the stream was whole; returns its text.
    pub fn whole(self) -> Result<String> {
        ensure!(self.finished && self.error.is_none(), "the stream is not whole: {self:?}");
        Ok(self.text)
    }

    /// Fails unless the stream ended in an error of ours; returns its reason.
    pub fn reason(&self) -> Result<Reason> {
        ensure!(!self.finished, "an error after the last frame: {self:?}");
        reason(self.error.as_ref().with_context(|| format!("a clean end: {self:?}"))?)
    }
}

/// Reads a stream, from wherever it is, to its end, and checks that its frames are in order.
pub async fn read(mut frames: Streaming<Frame>) -> Result<Read> {
    let mut read = Read::default();
    let mut next = None;
    loop {
        match timeout(LIMIT, frames.message()).await.context("the stream hangs")? {
            Ok(Some(frame)) => {
                ensure!(next.is_none_or(|next| frame.sequence == next) && !read.finished, "{frame:?} after {read:?}");
                next = Some(frame.sequence + 1);
                read.take(frame);
            }
            Ok(None) => {
                let trailers = frames.trailers().await?.unwrap_or_default();
                return Ok(Read { attempts: attempts_in(&trailers), ..read });
            }
            Err(status) => {
                let attempts = attempts_in(status.metadata());
                return Ok(Read { attempts, error: Some(status), ..read });
            }
        }
    }
}

impl Read {
    fn take(&mut self, frame: Frame) {
        match frame.body {
            Some(Body::Delta(delta)) => {
                self.pieces += 1;
                if let Some(delta::Content::Text(text)) = delta.content {
                    self.text.push_str(&text);
                }
            }
            Some(Body::Started(started)) => self.started.push(*started),
            Some(Body::Finished(_)) => self.finished = true,
            _ => {}
        }
    }
}

/// Reads frames until so many deltas have come.
pub async fn read_deltas(frames: &mut Streaming<Frame>, count: usize) -> Result<()> {
    let mut seen = 0;
    while seen < count {
        let frame = timeout(LIMIT, frames.message()).await.context("the stream hangs")??;
        let frame = frame.context("the stream ended")?;
        seen += usize::from(matches!(frame.body, Some(Body::Delta(_))));
    }
    Ok(())
}

/// What an answer says of its attempts in metadata; empty: nothing.
pub fn attempts_in(metadata: &MetadataMap) -> String {
    metadata.get("x-pointsman-attempts").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Why each attempt was made, at which instance, and how it ended.
pub fn told(attempts: &[Attempt]) -> Vec<(AttemptKind, &str, &str)> {
    attempts.iter().map(|attempt| (attempt.kind(), attempt.instance.as_str(), attempt.outcome.as_str())).collect()
}

/// Returns the reason of an error of ours.
pub fn reason(status: &Status) -> Result<Reason> {
    Ok(Error::ours(status).with_context(|| format!("no error of ours: {status:?}"))?.reason())
}

/// Returns how long an error of ours asks to wait.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    Error::ours(status)?.retry_delay()
}

/// Watches the health of a service, as a load balancer would.
pub async fn watch_health(address: &str) -> Result<Streaming<HealthCheckResponse>> {
    let mut client = HealthClient::new(Endpoint::from_shared(address.to_owned())?.connect().await?);
    Ok(client.watch(HealthCheckRequest { service: SERVICE_NAME.to_owned() }).await?.into_inner())
}

/// Waits for the next change of a service's health.
pub async fn next_health(changes: &mut Streaming<HealthCheckResponse>) -> Result<ServingStatus> {
    let change = timeout(LIMIT, changes.message()).await.context("the watch hangs")??;
    Ok(change.context("the watch ended")?.status())
}
