//! The mesh over gRPC from Rust: `pointsman-example unary|stream|cancel|errors [ADDRESS]`.
//!
//! A file for each. They use tonic and the generated types of `libs/proto`, nothing else of ours: what is done
//! here can be done from any program.
#![allow(clippy::print_stdout, reason = "examples show what they do")]

mod cancel;
mod errors;
mod stream;
mod unary;

use anyhow::{Result, bail};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, part};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let example = arguments.next().unwrap_or_default();
    let address = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let client = InferenceServiceClient::connect(address).await?;
    match example.as_str() {
        "unary" => unary::run(client).await,
        "stream" => stream::run(client).await,
        "cancel" => cancel::run(client).await,
        "errors" => errors::run(client).await,
        _ => bail!("which one? unary, stream, cancel or errors"),
    }
}

/// A request with one message of a user.
fn question(text: &str) -> GenerateRequest {
    let part = Part { kind: Some(part::Kind::Text(text.to_owned())) };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    GenerateRequest { model: "pip".to_owned(), messages: vec![message], ..GenerateRequest::default() }
}
