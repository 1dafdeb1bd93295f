//! A model server that is none: fixed words in the OpenAI format over HTTP/1.1, as many as are asked for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::Interval;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where it listens: HOST:PORT.
    #[arg(long)]
    listen: SocketAddr,
    /// Milliseconds between the chunks of a stream. 0: as fast as they are read.
    #[arg(long, default_value_t = 0)]
    pace: u64,
}

/// What is read of a request.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    stream: bool,
    max_completion_tokens: Option<u32>,
    /// The older name, which some gateways make of the newer one.
    max_tokens: Option<u32>,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(crate) async fn serve(arguments: &Arguments) -> Result<()> {
    let listener = TcpListener::bind(arguments.listen).await?;
    let pace = (arguments.pace > 0).then(|| Duration::from_millis(arguments.pace));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(move |request| answer(request, pace));
        // What is ready goes out in one write, as a worker's frames do over HTTP/2.
        let connection = http1::Builder::new().writev(false).serve_connection(TokioIo::new(stream), service);
        // One that ends badly is the caller's affair.
        tokio::spawn(connection);
    }
}

async fn answer(request: Request<Incoming>, pace: Option<Duration>) -> Result<Answer> {
    if request.method() == Method::GET {
        return Ok(about(request.uri().path()));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return Ok(json(StatusCode::BAD_REQUEST, "{\"error\":{\"message\":\"not a request\"}}".into()));
    };
    let tokens = asked.max_completion_tokens.or(asked.max_tokens).unwrap_or(1);
    if !asked.stream {
        return Ok(json(StatusCode::OK, completion(tokens)));
    }
    let timer = pace.map(tokio::time::interval);
    let body = Chunks { next: 0, tokens, word: Bytes::from(chunk(WORD)), timer }.boxed();
    Ok(Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body)?)
}

/// What gateways ask before they send anything: whether it is well, and what it serves.
fn about(path: &str) -> Answer {
    let text = match path {
        "/v1/models" => {
            r#"{"object":"list","data":[{"id":"simulated","object":"model","created":1,"owned_by":"nobody"}]}"#
        }
        _ => "{}",
    };
    json(StatusCode::OK, text.to_owned())
}

fn json(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    answer
}

fn completion(tokens: u32) -> String {
    let words = "word ".repeat(tokens as usize);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"simulated","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{}}}"#,
        usage(tokens)
    )
}

fn usage(tokens: u32) -> String {
    format!(r#"{{"prompt_tokens":1,"completion_tokens":{tokens},"total_tokens":{}}}"#, tokens + 1)
}

const ROLE: &str = r#"[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]"#;
const WORD: &str = r#"[{"index":0,"delta":{"content":"word "},"finish_reason":null}]"#;
const END: &str = r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#;

fn chunk(choices: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"simulated\",\
         \"choices\":{choices},\"usage\":null}}\n\n"
    )
}

fn last(tokens: u32) -> String {
    let usage = chunk("[]").replace("null}\n", &format!("{}}}\n", usage(tokens)));
    format!("{}{usage}data: [DONE]\n\n", chunk(END))
}

/// A stream: a chunk for the role, one for each token, and the end.
struct Chunks {
    next: u32,
    tokens: u32,
    word: Bytes,
    timer: Option<Interval>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let number = self.next;
        if number > self.tokens + 1 {
            return Poll::Ready(None);
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.poll_tick(context));
        }
        self.next += 1;
        let data = match number {
            0 => chunk(ROLE).into(),
            number if number <= self.tokens => self.word.clone(),
            _ => last(self.tokens).into(),
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}
