//! A caller in the OpenAI format, on a connection of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Arguments;
use crate::figures::Sample;

pub(crate) struct Caller {
    connection: SendRequest<Full<Bytes>>,
    address: String,
}

impl Caller {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self { connection, address: address.to_owned() })
    }

    pub(crate) async fn ask(&mut self, arguments: &Arguments, prompt: String) -> Result<Sample> {
        let mut body = serde_json::json!({
            "model": arguments.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_completion_tokens": arguments.max_tokens,
            "stream": arguments.stream,
            "stream_options": arguments.stream.then(|| serde_json::json!({"include_usage": true})),
        });
        if let (Some(body), Some(fields)) = (body.as_object_mut(), &arguments.fields) {
            body.extend(fields.clone());
        }
        let (text, first, total) = self.post("/v1/chat/completions", body.to_string()).await?;
        ensure!(!arguments.stream || text.trim_end().ends_with("data: [DONE]"), "the stream has no end");
        let tokens = text.rsplit_once("\"completion_tokens\":").context("no usage")?.1;
        let tokens = tokens.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default().parse()?;
        Ok(Sample { first, total, tokens })
    }

    pub(crate) async fn embed(&mut self, arguments: &Arguments, prompt: &str) -> Result<Sample> {
        let input: Vec<String> = (0..arguments.batch).map(|place| format!("{prompt} {place}")).collect();
        let body = serde_json::json!({"model": arguments.model, "input": input, "encoding_format": "base64"});
        let (text, first, total) = self.post("/v1/embeddings", body.to_string()).await?;
        let tokens = text.matches("\"embedding\":").count();
        ensure!(tokens == arguments.batch, "{tokens} embeddings of {}", arguments.batch);
        Ok(Sample { first, total, tokens: tokens.try_into()? })
    }

    /// Sends a body; returns what comes, the time to the first of it, and to the last.
    async fn post(&mut self, path: &str, body: String) -> Result<(String, Duration, Duration)> {
        let request = Request::post(path)
            .header("host", &self.address)
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let begin = Instant::now();
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await?;
        let status = response.status();
        let (mut body, mut whole, mut first) = (response.into_body(), Vec::new(), None);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                first.get_or_insert_with(|| begin.elapsed());
                whole.extend_from_slice(&data);
            }
        }
        let total = begin.elapsed();
        let text = String::from_utf8(whole)?;
        ensure!(status == StatusCode::OK, "{status}: {text}");
        Ok((text, first.context("no content")?, total))
    }
}
