//! One trace for a request: the caller's, through every process, to the engine.

use anyhow::{Context, Result, ensure};
use pointsman_testkit::OtlpReceiver;
use pointsman_testkit::otlp::Span;
use tonic::Request;

use crate::caller::{chat_body, connect, read, read_deltas, say};
use crate::program::pointsman;
use crate::service::{LIMIT, Pair, Service, Start, demo_config, simulated_config};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER_SPAN}-01")
}

async fn ask_over_grpc(address: &str) -> Result<()> {
    let mut request = Request::new(say("pip", "Hello"));
    request.metadata_mut().insert("traceparent", traceparent().parse()?);
    let response = connect(address).await?.generate_stream(request).await?;
    assert_eq!(response.metadata().get("x-pointsman-trace-id").context("no trace id")?, TRACE);
    read(response.into_inner()).await?.whole()?;
    Ok(())
}

async fn ask_over_http(address: &str) -> Result<()> {
    let post = reqwest::Client::new().post(format!("{address}/v1/chat/completions"));
    let response = post.header("traceparent", traceparent()).json(&chat_body("pip", "Hello", true)).send().await?;
    assert_eq!(response.headers()["x-pointsman-trace-id"], TRACE);
    ensure!(response.text().await?.ends_with("data: [DONE]\n\n"));
    Ok(())
}

/// Finds the one span of the trace whose name begins so.
fn named<'a>(spans: &'a [Span], name: &str) -> Result<&'a Span> {
    let mut found = spans.iter().filter(|span| span.trace_id == TRACE && span.name.starts_with(name));
    let first = found.next().with_context(|| format!("no span {name} in {spans:#?}"))?;
    ensure!(found.next().is_none(), "two spans {name} in {spans:#?}");
    Ok(first)
}

/// Checks the trace of one request: who is whose child, and that nobody ends before what they wait for.
fn check(spans: &[Span], gateway: &str, worker: &str) -> Result<()> {
    let [chat, attempt] = [named(spans, "chat pip")?, named(spans, "attempt models/pip/versions/")?];
    let generate = named(spans, "generate")?;
    let [queue, prefill, decode] = [named(spans, "queue")?, named(spans, "prefill")?, named(spans, "decode")?];
    assert_eq!(chat.parent_span_id, CALLER_SPAN);
    assert!(attempt.is_child_of(chat) && generate.is_child_of(attempt), "{spans:#?}");
    assert!([queue, prefill, decode].iter().all(|phase| phase.is_child_of(generate)), "{spans:#?}");
    assert_eq!((chat.kind, attempt.kind, generate.kind), ("server", "client", "server"));
    for (span, service) in [(chat, gateway), (attempt, gateway), (generate, worker), (decode, worker)] {
        assert_eq!(span.service, service, "{}", span.name);
    }
    let starts = [chat, attempt, generate, queue, prefill, decode].map(|span| span.start_nanos);
    assert!(starts.is_sorted(), "{spans:#?}");
    // The worker's last word is sent before its span ends, so between processes the ends are not in order.
    for (whole, part) in [(chat, attempt), (chat, decode), (attempt, decode), (generate, decode)] {
        assert!(whole.end_nanos >= part.end_nanos, "{} ends before {}: {spans:#?}", whole.name, part.name);
    }
    assert!(queue.end_nanos <= prefill.start_nanos && prefill.end_nanos <= decode.end_nanos, "{spans:#?}");
    assert!(decode.end_nanos > decode.start_nanos, "{decode:?}");
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "pip"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "9"),
        ("pointsman.tenant", "local"),
    ] {
        assert_eq!(chat.attribute(name), value, "{name} of {chat:?}");
    }
    assert_eq!(chat.status, "unset");
    let leaks = |span: &&Span| span.attributes.values().any(|value| value.contains("Hello") || value.contains("Pip"));
    assert_eq!(spans.iter().find(leaks), None, "a prompt or an answer in telemetry");
    Ok(())
}

async fn one_process(protocol: &str) -> Result<()> {
    for grpc in [true, false] {
        let receiver = OtlpReceiver::start().await?;
        let endpoint = receiver.endpoint();
        let environment = environment(&endpoint, protocol);
        let config = demo_config()?;
        let mesh = Start { environment: &environment, ..Start::new("up", &config) }.ready().await?;
        ask(&mesh, grpc).await?;
        // The last spans are sent at the end.
        mesh.stop().await?;
        let spans = receiver.wait_for(LIMIT, |spans| spans.len() >= 6).await?;
        check(&spans, "pointsman-up", "pointsman-up")?;
    }
    Ok(())
}

async fn two_processes(protocol: &str) -> Result<()> {
    for grpc in [true, false] {
        let receiver = OtlpReceiver::start().await?;
        let endpoint = receiver.endpoint();
        let mesh = Pair::start(&demo_config()?, &environment(&endpoint, protocol)).await?;
        ask(&mesh.gateway, grpc).await?;
        mesh.stop().await?;
        let spans = receiver.wait_for(LIMIT, |spans| spans.len() >= 6).await?;
        check(&spans, "pointsman-gateway", "pointsman-worker")?;
    }
    Ok(())
}

async fn ask(service: &Service, grpc: bool) -> Result<()> {
    if grpc { ask_over_grpc(&service.address).await } else { ask_over_http(&service.address).await }
}

fn environment<'a>(endpoint: &'a str, protocol: &'a str) -> [(&'a str, &'a str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]
}

#[tokio::test]
async fn one_process_tells_one_trace_over_grpc() -> Result<()> {
    one_process("grpc").await
}

#[tokio::test]
async fn one_process_tells_one_trace_over_http() -> Result<()> {
    one_process("http/protobuf").await
}

#[tokio::test]
async fn two_processes_tell_one_trace_over_grpc() -> Result<()> {
    two_processes("grpc").await
}

#[tokio::test]
async fn two_processes_tell_one_trace_over_http() -> Result<()> {
    two_processes("http/protobuf").await
}

#[tokio::test]
async fn a_cancelled_request_is_told_as_such() -> Result<()> {
    let receiver = OtlpReceiver::start().await?;
    let endpoint = receiver.endpoint();
    let engine = simulated_config("answer_tokens: 1000, timing: {step: 50ms}");
    let mesh = Pair::start(&engine, &environment(&endpoint, "grpc")).await?;
    let mut request = Request::new(say("simulated", "Hello"));
    request.metadata_mut().insert("traceparent", traceparent().parse()?);
    let mut frames = connect(&mesh.gateway.address).await?.generate_stream(request).await?.into_inner();
    read_deltas(&mut frames, 3).await?;
    let told = pointsman(&["trace", TRACE, "--operator-address", &mesh.gateway.operator]).await?.success()?;
    assert!(told.contains(" still runs at pointsman-gateway "), "{told}");
    drop(frames);
    mesh.worker.metric_is("pointsman_worker_running_requests", 0).await?;
    mesh.stop().await?;
    let spans = receiver.wait_for(LIMIT, |spans| spans.len() >= 6).await?;
    let [chat, generate, decode] = [named(&spans, "chat ")?, named(&spans, "generate")?, named(&spans, "decode")?];
    assert_eq!((chat.attribute("error.type"), generate.attribute("error.type")), ("CANCELLED", "CANCELLED"));
    // Three tokens take two steps of 50 ms after the first.
    let long = |span: &Span| span.end_nanos - span.start_nanos >= 100_000_000;
    assert!(long(decode) && long(generate) && long(chat), "{spans:#?}");
    Ok(())
}

/// Its end comes after 21 s or more: past the time of the first progress event, before that of the second.
#[tokio::test]
async fn a_long_answer_says_on_its_span_that_it_is_on_its_way() -> Result<()> {
    let receiver = OtlpReceiver::start().await?;
    let endpoint = receiver.endpoint();
    let engine = simulated_config("answer_tokens: 3, timing: {step: 7s}");
    let mesh = Pair::start(&engine, &environment(&endpoint, "grpc")).await?;
    let mut request = Request::new(say("simulated", "Hello"));
    request.metadata_mut().insert("traceparent", traceparent().parse()?);
    let frames = connect(&mesh.gateway.address).await?.generate_stream(request).await?.into_inner();
    read(frames).await?.whole()?;
    mesh.stop().await?;
    let spans = receiver.wait_for(LIMIT, |spans| spans.len() >= 6).await?;
    let chat = named(&spans, "chat ")?;
    let [event] = &*chat.events else { panic!("{spans:#?}") };
    assert_eq!(event.name, "the answer is still on its way");
    assert!((chat.start_nanos..chat.end_nanos).contains(&event.time_nanos), "{spans:#?}");
    assert!(event.attributes.contains_key("pieces") && event.attributes.contains_key("text_bytes"), "{spans:#?}");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_harms_no_request() -> Result<()> {
    let environment = environment("http://127.0.0.1:9", "grpc");
    let config = demo_config()?;
    let mesh = Start { environment: &environment, ..Start::new("up", &config) }.ready().await?;
    ask_over_grpc(&mesh.address).await?;
    mesh.stop_after(&["telemetry data will be lost", "BatchSpanProcessor.ExportError"]).await
}
