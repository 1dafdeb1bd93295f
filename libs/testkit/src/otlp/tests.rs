//! Both protocols, spoken by real clients.

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event as SentEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent};
use prost::Message;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, of: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value(of)), ..Default::default() }
}

fn request(name: &str) -> ExportTraceServiceRequest {
    let reasons = ArrayValue { values: vec![value(Value::StringValue("stop".to_owned()))] };
    let span = Sent {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: name.to_owned(),
        kind: SpanKind::Server.into(),
        events: vec![SentEvent {
            time_unix_nano: 1_000_000_007,
            name: "on its way".to_owned(),
            attributes: vec![pair("pieces", Value::IntValue(3))],
            ..Default::default()
        }],
        attributes: vec![pair("tokens", Value::IntValue(7)), pair("reasons", Value::ArrayValue(reasons))],
        ..Default::default()
    };
    let text = |key: &str, value: &str| pair(key, Value::StringValue(value.to_owned()));
    let attributes = vec![text("service.name", "pointsman"), text("service.instance.id", "up-1")];
    let resource = Resource { attributes, ..Default::default() };
    let scope = ScopeSpans { spans: vec![span], ..Default::default() };
    let spans = ResourceSpans { resource: Some(resource), scope_spans: vec![scope], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

#[tokio::test]
async fn spans_arrive_over_grpc() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let mut client = TraceServiceClient::connect(receiver.endpoint()).await.unwrap();
    client.export(request("chat")).await.unwrap();
    let spans = receiver.wait_for(LIMIT, |spans| !spans.is_empty()).await.unwrap();
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(span.trace_id, "01".repeat(16));
    assert_eq!((span.span_id.as_str(), span.parent_span_id.as_str()), ("0202020202020202", "0303030303030303"));
    assert_eq!(
        (span.name.as_str(), span.service.as_str(), span.kind, span.status),
        ("chat", "pointsman", "server", "unset")
    );
    assert_eq!((span.attribute("tokens"), span.attribute("reasons"), span.attribute("other")), ("7", "[\"stop\"]", ""));
}

#[tokio::test]
async fn spans_arrive_over_http() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let post = |body: Vec<u8>| {
        let request = hyper::Request::post(format!("{}/v1/traces", receiver.endpoint()));
        client.request(request.body(http_body_util::Full::new(bytes::Bytes::from(body))).unwrap())
    };
    assert_eq!(post(request("chat").encode_to_vec()).await.unwrap().status(), 200);
    assert_eq!(post(b"no protobuf".to_vec()).await.unwrap().status(), 400);
    assert_eq!(receiver.spans().len(), 1);
}

#[tokio::test]
async fn what_is_taken_makes_room() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let mut client = TraceServiceClient::connect(receiver.endpoint()).await.unwrap();
    for name in ["one", "two"] {
        client.export(request(name)).await.unwrap();
        receiver.arrived().await;
        let [span] = &receiver.take()[..] else { panic!("not one span") };
        let json = span.to_json();
        assert_eq!((&json["name"], &json["attributes"]["tokens"]), (&name.into(), &"7".into()));
        assert_eq!(json["resource"]["service.instance.id"], "up-1");
        let event = serde_json::json!({
            "name": "on its way", "time_unix_nano": 1_000_000_007_u64, "attributes": {"pieces": "3"},
        });
        assert_eq!(json["events"], serde_json::json!([event]));
        assert!(receiver.spans().is_empty());
    }
}

#[tokio::test]
async fn what_did_arrive_is_told() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let mut client = TraceServiceClient::connect(receiver.endpoint()).await.unwrap();
    client.export(request("chat")).await.unwrap();
    let missing = receiver.wait_for(Duration::from_millis(50), |spans| spans.iter().any(|span| span.name == "attempt"));
    let error = missing.await.unwrap_err().to_string();
    assert!(error.contains("\"chat\""), "{error}");
}

#[tokio::test]
async fn a_dropped_receiver_listens_no_more() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let address = receiver.address;
    drop(receiver);
    crate::eventually!(LIMIT, tokio::net::TcpStream::connect(address).await.is_err()).unwrap();
}
