//! Connections that are of no use to anybody do not stay.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::caller::chat_body;
use crate::service::{LIMIT, Service, Start, simulated_config};

/// Starts the whole mesh with limits of a connection, as YAML.
async fn limited(engine: &str, limits: &str) -> Result<Service> {
    let config = format!("{}server: {{connection: {{{limits}}}}}\n", simulated_config(engine));
    Start::new("up", &config).ready().await
}

async fn open(mesh: &Service) -> Result<TcpStream> {
    Ok(TcpStream::connect(mesh.address.trim_start_matches("http://")).await?)
}

#[tokio::test]
async fn silent_connections_give_their_places_to_others() -> Result<()> {
    let mesh = limited("", "max_connections: 2, first_byte_timeout: 500ms").await?;
    let _silent = [open(&mesh).await?, open(&mesh).await?];
    mesh.process.line_with("server.connection.max_connections is reached", LIMIT).await?;
    let models = reqwest::get(format!("{}/v1/models", mesh.address));
    assert_eq!(timeout(LIMIT, models).await.context("nothing is accepted any more")??.status(), 200);
    assert_eq!(mesh.probe("livez").await?, 200, "the operator port has places of its own");
    mesh.stop_after(&["server.connection.max_connections is reached"]).await
}

#[tokio::test]
async fn a_reader_of_events_that_stalls_is_let_go() -> Result<()> {
    // More bytes than the buffers of the two sockets take.
    let mesh = limited("answer_tokens: 200000, context_tokens: 1000000", "stall_timeout: 500ms").await?;
    let mut stream = open(&mesh).await?;
    let body = chat_body("simulated", "Hello", true).to_string();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let ended = "pointsman_gateway_requests_total{surface=\"openai\",outcome=\"CANCELLED\"}";
    mesh.metric_is(ended, 1).await?;
    mesh.stop().await
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() -> Result<()> {
    let mesh = limited("", "body_timeout: 300ms").await?;
    let mut stream = open(&mesh).await?;
    stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").await?;
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.context("it is still waited for")??;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    mesh.stop().await
}
