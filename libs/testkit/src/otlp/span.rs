//! A span in a form that is easy to assert on.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::{Event as ReceivedEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as Received, status::StatusCode};

/// One span as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; empty for the first span of a trace.
    pub parent_span_id: String,
    /// What the span is called.
    pub name: String,
    /// The resource's `service.name`; empty if it has none.
    pub service: String,
    /// The resource's `service.instance.id`; empty if it has none.
    pub instance: String,
    /// `internal`, `server`, `client`, `producer`, `consumer` or `unspecified`.
    pub kind: &'static str,
    /// The span's attributes; values that are no strings as JSON would write them.
    pub attributes: BTreeMap<String, String>,
    /// The span's events, in order.
    pub events: Vec<Event>,
    /// Nanoseconds since 1970.
    pub start_nanos: u64,
    /// Nanoseconds since 1970.
    pub end_nanos: u64,
    /// `unset`, `ok` or `error`.
    pub status: &'static str,
    /// What the status says beside; mostly empty.
    pub status_message: String,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub name: String,
    /// Nanoseconds since 1970.
    pub time_nanos: u64,
    /// Values that are no strings as JSON would write them.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    fn to_json(&self) -> serde_json::Value {
        let Self { name, time_nanos, attributes } = self;
        serde_json::json!({ "name": name, "time_unix_nano": time_nanos, "attributes": attributes })
    }
}

impl Span {
    /// Returns an attribute; empty if the span does not have it.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Tells whether this span is a direct child of the other, in the same trace.
    pub fn is_child_of(&self, parent: &Span) -> bool {
        self.trace_id == parent.trace_id && self.parent_span_id == parent.span_id
    }

    /// Returns the span with OTLP's names of its fields, ids in hexadecimal digits, and times in nanoseconds.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent_span_id": self.parent_span_id,
            "name": self.name,
            "kind": self.kind,
            "resource": { "service.name": self.service, "service.instance.id": self.instance },
            "start_time_unix_nano": self.start_nanos,
            "end_time_unix_nano": self.end_nanos,
            "duration_nano": self.end_nanos.saturating_sub(self.start_nanos),
            "attributes": self.attributes,
            "events": self.events.iter().map(Event::to_json).collect::<Vec<_>>(),
            "status": { "code": self.status, "message": self.status_message },
        })
    }

    /// Returns the spans of one resource.
    pub(super) fn of_resource(resource: ResourceSpans) -> impl Iterator<Item = Self> {
        let attributes = resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| Self::received(span, &attributes))
    }

    fn received(span: Received, resource: &BTreeMap<String, String>) -> Self {
        let of_resource = |name: &str| resource.get(name).cloned().unwrap_or_default();
        let status = span.status.clone().unwrap_or_default();
        Self {
            trace_id: hex::encode(&span.trace_id),
            span_id: hex::encode(&span.span_id),
            parent_span_id: hex::encode(&span.parent_span_id),
            kind: kind(span.kind()),
            name: span.name,
            service: of_resource("service.name"),
            instance: of_resource("service.instance.id"),
            attributes: texts(span.attributes),
            events: span.events.into_iter().map(event).collect(),
            start_nanos: span.start_time_unix_nano,
            end_nanos: span.end_time_unix_nano,
            status: match status.code() {
                StatusCode::Unset => "unset",
                StatusCode::Ok => "ok",
                StatusCode::Error => "error",
            },
            status_message: status.message,
        }
    }
}

fn event(event: ReceivedEvent) -> Event {
    Event { name: event.name, time_nanos: event.time_unix_nano, attributes: texts(event.attributes) }
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(array)) => {
            let values = array.values.into_iter().map(quoted).collect::<Vec<_>>();
            format!("[{}]", values.join(","))
        }
        Some(Value::KvlistValue(list)) => {
            let pair = |pair: KeyValue| format!("{:?}:{}", pair.key, pair.value.map(quoted).unwrap_or_default());
            let pairs = list.values.into_iter().map(pair).collect::<Vec<_>>();
            format!("{{{}}}", pairs.join(","))
        }
        Some(Value::BytesValue(bytes)) => hex::encode(bytes),
        // Of the profiling signal only.
        Some(Value::StringValueStrindex(_)) | None => String::new(),
    }
}

fn quoted(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        _ => text(value),
    }
}
