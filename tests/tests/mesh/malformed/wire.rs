//! Bytes on a connection that are no good HTTP/1.1, no good JSON, no good HTTP/2.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Outcome;
use super::chance::Chance;
use crate::service::LIMIT;

const PATHS: [&str; 9] = [
    "/v1/chat/completions",
    "/v1/chat/completions",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/%ff%00",
    "/v1/no/such/route",
    "/metrics",
    "//",
    "/v1/chat/completions?a[]=\u{fffd}",
];

const BODIES: [&str; 16] = [
    r#"{"model":"simulated","messages":[{"role":"user","content":"Hello"}]}"#,
    r#"{"model":"simulated","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":[{"type":"text","text":"Hello"}]}],"user":"u"}"#,
    r#"{"model":"simulated","messages":[],"max_tokens":1e999}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":"Hello"}],"max_tokens":99999999999999999999999}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":"Hello"}],"max_tokens":-1,"temperature":1e308}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":"Hello"}],"n":4294967296,"seed":1.5}"#,
    r#"{"model":["simulated"],"messages":{"role":"user"},"stream":"yes"}"#,
    r#"{"model":null,"messages":null}"#,
    r#"{"model":"simulated","model":"other","messages":[{"role":"robot","content":5}]}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":"\ud800"}]}"#,
    r#"{"model":"no-such-model","messages":[{"role":"user","content":"Hello"}]}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":"Hello"}],"tools":[{"type":"function"}],"stop":[1]}"#,
    r#"{"model":"simulated","messages":[{"role":"user","content":"Hello"}],"metadata":{"a":{"b":[]}}}"#,
    "[]",
    "",
];

fn body(chance: &mut Chance) -> Vec<u8> {
    let mut body = match chance.below(12) {
        0 => "[".repeat(1 << chance.below(16)).into_bytes(),
        1 => format!("{{\"messages\":{}", "{\"a\":".repeat(1 << chance.below(14))).into_bytes(),
        2 => chance.bytes(4096),
        3 => format!("{{\"model\":\"{}\"}}", "x".repeat(1 << chance.below(17))).into_bytes(),
        _ => chance.one(&BODIES).as_bytes().to_vec(),
    };
    if chance.below(3) > 0 {
        chance.spoil(&mut body);
    }
    body
}

const HEADS: [&str; 13] = [
    "",
    "",
    "",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Expect: 100-continue\r\n",
    "Authorization: Bearer \u{ff}\r\n",
    "Idempotency-Key: \u{7}\r\n",
    "traceparent: 00-0-0-0\r\n",
    "No colon\r\n",
    " folded: yes\r\n",
];

/// Sends an HTTP/1.1 request, or a part of one, and reads the status.
pub async fn http(port: &str, chance: &mut Chance) -> Result<Outcome> {
    let body = body(chance);
    let method = chance.one(&["POST", "POST", "POST", "GET", "BREW", "post", ""]);
    let version = chance.one(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "SPDY"]);
    let is_good = chance.below(2) == 0;
    let (path, more) = if is_good { (PATHS[0], "") } else { (chance.one(&PATHS), chance.one(&HEADS)) };
    let (method, version) = if is_good { ("POST", "HTTP/1.1") } else { (method, version) };
    let many = if chance.below(20) == 0 { "X-Many: of them\r\n".repeat(300) } else { String::new() };
    let length = match (more.contains("Length") || more.contains("chunked"), chance.below(8)) {
        (true, _) => String::new(),
        (_, 0) => format!("Content-Length: {}\r\n", body.len() + 1),
        (_, 1) => format!("Content-Length: {}\r\n", body.len() / 2),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let head = format!("{method} {path} {version}\r\nHost: localhost\r\nConnection: close\r\n{length}{more}{many}\r\n");
    let mut bytes = [head.as_bytes(), &body].concat();
    let mut is_half = false;
    match chance.below(10) {
        0 => chance.spoil(&mut bytes),
        1 => {
            bytes.truncate(chance.below(bytes.len()));
            is_half = chance.below(8) > 0;
        }
        _ => {}
    }
    let answer = exchange(port, &bytes, is_half).await?;
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Ok(status.map_or(Outcome::Closed, Outcome::Status))
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends HTTP/2 frames that make no sense. How they are answered is the business of the transport.
pub async fn http2(port: &str, chance: &mut Chance) -> Result<Outcome> {
    let mut bytes = PREFACE.to_vec();
    if chance.below(4) > 0 {
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    for _ in 0..chance.below(12) {
        let payload = chance.bytes(64);
        let length = if chance.below(4) == 0 { chance.next() as u32 } else { payload.len() as u32 };
        let stream = [0, 1, 1, 3, 2, u32::MAX][chance.below(6)];
        bytes.extend_from_slice(&length.to_be_bytes()[1..]);
        bytes.extend_from_slice(&[chance.below(12) as u8, chance.next() as u8]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&payload);
    }
    if chance.below(4) == 0 {
        chance.spoil(&mut bytes);
    }
    exchange(port, &bytes, true).await?;
    Ok(Outcome::Closed)
}

/// Writes the bytes and reads until the end, or until the connection breaks.
async fn exchange(port: &str, bytes: &[u8], is_half: bool) -> Result<Vec<u8>> {
    let mut connection = TcpStream::connect(port.trim_start_matches("http://")).await?;
    let mut answer = Vec::new();
    let exchanged = async {
        let (mut reader, mut writer) = connection.split();
        // Whoever refuses early reads no further, so both go on beside each other.
        let written = async {
            let _ = writer.write_all(bytes).await;
            if is_half {
                let _ = writer.shutdown().await;
            }
        };
        let _ = tokio::join!(written, reader.read_to_end(&mut answer));
    };
    timeout(LIMIT, exchanged).await.context("the connection stays open")?;
    Ok(answer)
}
