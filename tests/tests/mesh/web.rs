//! What a browser does: gRPC-Web in both of its forms, and calls from pages of other origins.
//!
//! Raw HTTP/1.1, byte by byte as the protocol's own description has it
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, GenerateResponse, delta, part};
use prost::Message;
use reqwest::{Method, Response};

use crate::caller::{chat_body, say};
use crate::program::pointsman;
use crate::service::{LIMIT, Service, Start, simulated_config};

const PAGE: &str = "https://app.example.com";
const STREAM: &str = "GenerateStream";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// The whole mesh, which a page of [`PAGE`] may call.
async fn start(engine: &str) -> Result<Service> {
    let config =
        format!("{}server: {{cors: {{allowed_origins: [\"{PAGE}\"], max_age: 10m}}}}\n", simulated_config(engine));
    Start::new("up", &config).ready().await
}

/// Calls a method as a page of [`PAGE`] does.
async fn call(
    mesh: &Service,
    method: &str,
    kind: &str,
    message: &GenerateRequest,
    more: &[(&str, &str)],
) -> Result<Response> {
    send(mesh, method, kind, message, &[&[("origin", PAGE)], more].concat()).await
}

async fn send(
    mesh: &Service,
    method: &str,
    kind: &str,
    message: &GenerateRequest,
    more: &[(&str, &str)],
) -> Result<Response> {
    let encoded = message.encode_to_vec();
    let mut body = [&[0][..], &u32::try_from(encoded.len())?.to_be_bytes(), &encoded].concat();
    if kind == TEXT {
        body = STANDARD.encode(body).into_bytes();
    }
    let path = format!("{}/pointsman.inference.v1.InferenceService/{method}", mesh.address);
    let client = reqwest::Client::builder().timeout(LIMIT).http1_only().build()?;
    let mut request = client.post(path).header("content-type", kind).header("accept", kind);
    request = request.header("x-grpc-web", "1").body(body);
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    Ok(request.send().await?)
}

/// An answer in pieces, however they come.
struct Pieces {
    response: Response,
    is_text: bool,
    bytes: Vec<u8>,
}

enum Piece {
    Message(Vec<u8>),
    Trailers(HashMap<String, String>),
}

impl Pieces {
    fn of(response: Response, kind: &str) -> Result<Self> {
        ensure!(response.status() == 200, "{response:?}");
        let given = response.headers()["content-type"].to_str()?;
        ensure!(given.starts_with(kind), "{given}");
        Ok(Self { response, is_text: kind == TEXT, bytes: Vec::new() })
    }

    async fn next(&mut self) -> Result<Option<Piece>> {
        while !self.is_whole() {
            let Some(chunk) = self.response.chunk().await? else {
                ensure!(self.bytes.is_empty(), "cut off: {:?}", self.bytes);
                return Ok(None);
            };
            if self.is_text {
                // Each quartet by itself: pieces are padded where they end.
                for quartet in chunk.chunks(4) {
                    self.bytes.extend(STANDARD.decode(quartet)?);
                }
            } else {
                self.bytes.extend(chunk);
            }
        }
        let rest = self.bytes.split_off(5 + self.length());
        let piece = std::mem::replace(&mut self.bytes, rest);
        match piece[0] {
            0 => Ok(Some(Piece::Message(piece[5..].to_vec()))),
            0x80 => Ok(Some(Piece::Trailers(trailers(&piece[5..])?))),
            flags => bail!("flags {flags}"),
        }
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() >= 5 && self.bytes.len() >= 5 + self.length()
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([self.bytes[1], self.bytes[2], self.bytes[3], self.bytes[4]]) as usize
    }

    async fn message(&mut self) -> Result<Vec<u8>> {
        match self.next().await?.context("the answer ended")? {
            Piece::Message(message) => Ok(message),
            Piece::Trailers(trailers) => bail!("{trailers:?}"),
        }
    }

    /// Reads frames to the end; returns their text and the trailers.
    async fn read(mut self) -> Result<(String, HashMap<String, String>)> {
        let mut text = String::new();
        loop {
            match self.next().await?.context("no trailers")? {
                Piece::Message(message) => text.push_str(&text_of(Frame::decode(&*message)?)),
                Piece::Trailers(trailers) => {
                    ensure!(self.next().await?.is_none(), "something follows the trailers");
                    return Ok((text, trailers));
                }
            }
        }
    }
}

fn text_of(frame: Frame) -> String {
    match frame.body {
        Some(Body::Delta(delta)) => match delta.content {
            Some(delta::Content::Text(text)) => text,
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn trailers(bytes: &[u8]) -> Result<HashMap<String, String>> {
    let line = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    std::str::from_utf8(bytes)?.lines().map(|text| line(text).with_context(|| format!("no line: {text}"))).collect()
}

#[tokio::test]
async fn both_forms_get_frames_whole_answers_and_our_trailers() -> Result<()> {
    let mesh = start("").await?;
    for kind in [BINARY, TEXT] {
        let response = call(&mesh, STREAM, kind, &say("simulated", "Hello"), &[]).await?;
        assert_eq!(response.headers()["access-control-allow-origin"], PAGE);
        assert!(!response.headers()["x-request-id"].is_empty());
        let exposed = response.headers()["access-control-expose-headers"].to_str()?.to_owned();
        assert!(exposed.contains("x-request-id") && exposed.contains("x-pointsman-trace-id"), "{exposed}");
        let (text, trailers) = Pieces::of(response, kind)?.read().await?;
        assert_eq!((text.as_str(), trailers["grpc-status"].as_str()), ("You said: Hello", "0"));
        assert!(trailers["x-pointsman-attempts"].contains("FINISHED"), "{trailers:?}");

        let response = call(&mesh, "Generate", kind, &say("simulated", "Hello"), &[]).await?;
        let whole = GenerateResponse::decode(&*Pieces::of(response, kind)?.message().await?)?;
        let message = whole.choices[0].message.as_ref().context("no message")?;
        assert_eq!(message.parts[0].kind, Some(part::Kind::Text("You said: Hello".to_owned())));
    }
    mesh.stop().await
}

#[tokio::test]
async fn errors_are_as_rich_as_over_grpc() -> Result<()> {
    let mesh = start("answer_tokens: 1000, timing: {step: 50ms}").await?;
    for kind in [BINARY, TEXT] {
        let response = call(&mesh, STREAM, kind, &say("nobody", "Hello"), &[]).await?;
        assert_eq!(response.headers()["grpc-status"], "5");
        assert!(response.headers().contains_key("grpc-status-details-bin"), "{response:?}");
        assert_eq!(response.headers()["access-control-allow-origin"], PAGE);

        let context = [("x-pointsman-mesh-context-bin", "AA")];
        let response = call(&mesh, STREAM, kind, &say("simulated", "Hello"), &context).await?;
        assert_eq!(response.headers()["grpc-status"], "7", "a mesh context was believed");

        let response = call(&mesh, STREAM, kind, &say("simulated", "Hello"), &[("grpc-timeout", "500m")]).await?;
        let (text, trailers) = Pieces::of(response, kind)?.read().await?;
        assert!(!text.is_empty() && trailers["grpc-status"] == "4", "{text} {trailers:?}");
    }
    mesh.stop().await
}

#[tokio::test]
async fn a_stream_flows_and_who_leaves_it_stops_its_work() -> Result<()> {
    let mesh = start("answer_tokens: 1000, timing: {step: 100ms}").await?;
    for kind in [BINARY, TEXT] {
        let mut pieces = Pieces::of(call(&mesh, STREAM, kind, &say("simulated", "Hello"), &[]).await?, kind)?;
        // The answer takes 100 s: what is read now was not kept for its end.
        for _ in 0..3 {
            Frame::decode(&*pieces.message().await?)?;
        }
        assert_eq!(mesh.metric("pointsman_worker_running_requests").await?, 1);
        drop(pieces);
        mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    }
    mesh.stop().await
}

#[tokio::test]
async fn a_browser_that_asks_first_is_answered_for_every_surface() -> Result<()> {
    let mesh = start("").await?;
    let client = reqwest::Client::new();
    let ask = |path: &str, origin: &str| {
        let request = client.request(Method::OPTIONS, format!("{}/{path}", mesh.address)).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type,x-grpc-web").send()
    };
    for path in ["v1/chat/completions", "pointsman.inference.v1.InferenceService/GenerateStream"] {
        let answer = ask(path, PAGE).await?;
        assert_eq!(answer.status(), 204);
        for (name, want) in [
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "authorization,content-type,x-grpc-web"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.headers()[name], want, "{name}");
        }
        let stranger = ask(path, "https://evil.example.com").await?;
        assert!(!stranger.headers().contains_key("access-control-allow-origin"), "{stranger:?}");
    }
    mesh.stop().await
}

#[tokio::test]
async fn a_page_reads_events_and_what_goes_wrong() -> Result<()> {
    let mesh = start("").await?;
    let post = |model: &str| {
        let url = format!("{}/v1/chat/completions", mesh.address);
        reqwest::Client::new().post(url).header("origin", PAGE).json(&chat_body(model, "Hello", true)).send()
    };
    for (model, status) in [("simulated", 200), ("nobody", 404)] {
        let answer = post(model).await?;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
        assert!(answer.headers()["access-control-expose-headers"].to_str()?.contains("x-pointsman-reason"));
    }
    assert!(post("simulated").await?.text().await?.ends_with("data: [DONE]\n\n"));
    mesh.stop().await
}

#[tokio::test]
async fn without_configuration_no_page_may_call() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let hello = say("simulated", "Hello");
    let response = call(&mesh, STREAM, BINARY, &hello, &[]).await?;
    assert!(!response.headers().contains_key("access-control-allow-origin"), "{response:?}");
    assert_eq!(response.headers()["grpc-status"], "7");
    // Who is no browser may speak gRPC-Web all the same.
    let response = send(&mesh, STREAM, BINARY, &hello, &[]).await?;
    assert_eq!(Pieces::of(response, BINARY)?.read().await?.0, "You said: Hello");
    mesh.stop().await
}

/// Sends what a page may send without asking first, as text.
async fn simple(address: &str, path: &str, headers: &[(&str, &str)]) -> Result<(u16, Option<String>)> {
    let request = reqwest::Client::new().post(format!("{address}/{path}")).header("content-type", "text/plain");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.body(chat_body("simulated", "Hello", false).to_string()).send().await?;
    let reason = answer.headers().get("x-pointsman-reason").map(|reason| reason.to_str().map(str::to_owned));
    Ok((answer.status().as_u16(), reason.transpose()?))
}

#[tokio::test]
async fn no_page_uses_a_mesh_that_only_this_machine_reaches() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let port = mesh.address.rsplit(':').next().context("no port")?;
    let refused = (403, Some("ORIGIN_REFUSED".to_owned()));
    let chat = "v1/chat/completions";
    let rebound = format!("evil.example.com:{port}");
    let own = format!("http://{rebound}");
    for page in
        [&[("origin", PAGE)][..], &[("origin", "null")], &[("host", &rebound)], &[("host", &rebound), ("origin", &own)]]
    {
        assert_eq!(simple(&mesh.address, chat, page).await?, refused, "{page:?}");
        let cancel = "pointsman.operations.v1.OperationsService/CancelRequest";
        assert_eq!(simple(&mesh.operator, cancel, page).await?, refused, "{page:?}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}")) {
        assert_eq!(simple(&mesh.address, chat, &[("host", &host)]).await?.0, 200, "{host}");
        let own = format!("http://{host}");
        assert_eq!(simple(&mesh.address, chat, &[("host", &host), ("origin", &own)]).await?.0, 200, "{host}");
    }
    // Of the others nothing came to the worker.
    mesh.metric_is("pointsman_worker_requests_total{outcome=\"FINISHED\"}", 6).await?;
    let metrics =
        reqwest::Client::new().get(format!("{}/metrics", mesh.operator)).header("host", &rebound).send().await?;
    assert_eq!(metrics.status(), 403);
    mesh.stop().await
}

#[tokio::test]
async fn with_keys_a_gateway_answers_to_any_name_and_a_worker_to_no_page() -> Result<()> {
    let keys = format!("gateway: {{keys: [{{id: a, sha256: \"{}\", tenant: t}}]}}\n", "00".repeat(32));
    let mesh = Start::new("up", &format!("{}{keys}", simulated_config(""))).ready().await?;
    let (status, reason) = simple(&mesh.address, "v1/chat/completions", &[("host", "mesh.example.com")]).await?;
    assert_eq!((status, reason.as_deref()), (401, Some("KEY_INVALID")));
    mesh.stop().await?;

    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let method = format!("pointsman.inference.v1.InferenceService/{STREAM}");
    let own = [("host", "evil.example.com"), ("origin", "http://evil.example.com")];
    for page in [&own[..], &[("origin", PAGE)]] {
        let refused = (403, Some("ORIGIN_REFUSED".to_owned()));
        assert_eq!(simple(&worker.address, &method, page).await?, refused, "{page:?}");
    }
    worker.stop().await
}

#[tokio::test]
async fn origins_that_no_browser_names_are_mistakes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    let arguments = ["--config", file.to_str().context("the temporary folder's name is no text")?, "--check-config"];
    for (command, origin, want) in [
        ("up", "https://app.example.com/", "server.cors.allowed_origins[0]: `https://app.example.com/` is no origin"),
        ("up", "https://app.example.com:443", "leave it out too"),
        ("worker", PAGE, "server.cors: a worker answers gateways"),
        ("up", PAGE, ""),
    ] {
        std::fs::write(&file, format!("server: {{cors: {{allowed_origins: [\"{origin}\"]}}}}\n"))?;
        let ended = pointsman(&[&[command], &arguments[..]].concat()).await?;
        assert_eq!(ended.code, Some(if want.is_empty() { 0 } else { 64 }), "{ended:?}");
        assert!(ended.stderr.contains(want), "{}", ended.stderr);
    }
    Ok(())
}
