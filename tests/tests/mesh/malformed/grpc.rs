//! Calls over gRPC whose paths, headers, frames and messages are wrong. HTTP/2 itself is right.

use std::collections::HashMap;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use futures::future::poll_fn;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::body::Body as GrpcBody;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request};
use tonic::codegen::{Body, Pin, Service};
use tonic::transport::{Channel, Endpoint};

use super::Outcome;
use super::chance::Chance;
use crate::service::LIMIT;

const PATHS: [&str; 10] = [
    "/pointsman.inference.v1.InferenceService/GenerateStream",
    "/pointsman.inference.v1.InferenceService/Generate",
    "/pointsman.inference.v1.InferenceService/Generate",
    "/pointsman.inference.v1.InferenceService/Describe",
    "/pointsman.inference.v1.InferenceService/NoSuchMethod",
    "/pointsman.operations.v1.OperationsService/GetTrace",
    "/pointsman.operations.v1.OperationsService/CancelRequest",
    "/grpc.health.v1.Health/Check",
    "/no.such.Service/Method",
    "/Generate",
];

const HEADERS: [(&str, &[u8]); 12] = [
    ("grpc-timeout", b"soon"),
    ("grpc-timeout", b"99999999999S"),
    ("grpc-encoding", b"zstd9"),
    ("grpc-encoding", b"\xff"),
    ("content-type", b"application/grpc+json"),
    ("content-type", b"text/plain"),
    ("x-pointsman-mesh-context-bin", b"not base64!"),
    ("x-pointsman-mesh-context-bin", b"/////w"),
    ("traceparent", b"00-zz-zz-01"),
    ("authorization", b"Bearer \xfe\xff"),
    ("grpc-accept-encoding", b",,,"),
    ("x-request-id", b"\x80\x81"),
];

/// A field of a message whose length is known.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len().min(127)).unwrap_or(127);
    [&[number << 3 | 2, length], bytes].concat()
}

/// A good `GenerateRequest`.
fn good() -> Vec<u8> {
    let part = field(1, b"Hello");
    let message = [&[1 << 3, 3][..], &field(2, &part)].concat();
    [field(1, b"simulated"), field(2, &message)].concat()
}

fn body(chance: &mut Chance) -> Vec<u8> {
    let mut message = match chance.below(3) {
        0 => chance.bytes(200),
        _ => good(),
    };
    if chance.below(4) > 0 {
        chance.spoil(&mut message);
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    let told = match chance.below(8) {
        0 => length.wrapping_sub(1),
        1 => length + 1,
        2 => u32::MAX,
        3 => chance.next() as u32,
        _ => length,
    };
    let flag = if chance.below(6) == 0 { chance.next() as u8 } else { 0 };
    let mut body = [&[flag][..], &told.to_be_bytes(), &message].concat();
    match chance.below(8) {
        0 => chance.spoil(&mut body),
        1 => body.extend_from_within(..),
        2 => body.clear(),
        _ => {}
    }
    body
}

/// One connection to each port.
async fn channel(port: &str) -> Result<Channel> {
    static CHANNELS: OnceLock<Mutex<HashMap<String, Channel>>> = OnceLock::new();
    let mut channels = CHANNELS.get_or_init(Mutex::default).lock().await;
    if let Some(channel) = channels.get(port) {
        return Ok(channel.clone());
    }
    let channel = Endpoint::from_shared(port.to_owned())?.connect().await?;
    channels.insert(port.to_owned(), channel.clone());
    Ok(channel)
}

pub async fn call(port: &str, chance: &mut Chance) -> Result<Outcome> {
    let mut request = Request::post(format!("{port}{}", chance.one(&PATHS)));
    let headers = request.headers_mut().context("no headers")?;
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    for _ in 0..chance.below(3) {
        let (name, value) = HEADERS[chance.below(HEADERS.len())];
        headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value)?);
    }
    let body = body(chance);
    let request = request.body(GrpcBody::new(reqwest::Body::from(body)))?;
    let mut channel = channel(port).await?;
    let answered = async {
        poll_fn(|context| channel.poll_ready(context)).await?;
        let (parts, mut body) = channel.call(request).await?.into_parts();
        let mut code = code_in(&parts.headers);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            code = frame?.trailers_ref().and_then(code_in).or(code);
        }
        Ok(code.map_or(Outcome::Status(parts.status.as_u16()), Outcome::Code))
    };
    timeout(LIMIT, answered).await.context("it hangs")?
}

fn code_in(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
