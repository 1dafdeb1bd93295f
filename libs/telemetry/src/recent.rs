//! The spans of recent requests, in memory, for `pointsman trace`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, Status, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use pointsman_proto::operations::v1;

use crate::Identity;

/// How many spans of one trace are kept.
const SPANS_PER_TRACE: usize = 128;

/// The attribute by which a trace is found when its id is not known.
const REQUEST_ID: &str = "pointsman.request_id";

/// A bounded buffer of the spans that this process ended last, by trace. The oldest trace goes first.
#[derive(Clone, Debug)]
pub struct RecentTraces {
    process: Arc<str>,
    capacity: usize,
    traces: Arc<Mutex<Traces>>,
}

#[derive(Debug, Default)]
struct Traces {
    by_id: HashMap<TraceId, Recorded>,
    /// Oldest first; as many as in `by_id`.
    order: VecDeque<TraceId>,
}

#[derive(Debug, Default)]
struct Recorded {
    spans: Vec<SpanData>,
    dropped: u32,
}

impl RecentTraces {
    pub(crate) fn new(identity: &Identity, capacity: usize) -> Self {
        let process = format!("{} {}", identity.service, identity.instance).into();
        Self { process, capacity, traces: Arc::default() }
    }

    /// Returns whose spans these are: service name and instance.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Finds a trace by its id, or by the id of a request that it carried.
    pub fn find(&self, id: &str) -> Option<v1::Trace> {
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        let by_trace_id = TraceId::from_hex(id).ok().filter(|trace| traces.by_id.contains_key(trace));
        let trace = by_trace_id.or_else(|| {
            let newest_first = traces.order.iter().rev();
            newest_first.copied().find(|trace| traces.by_id.get(trace).is_some_and(|recorded| recorded.carried(id)))
        })?;
        let recorded = traces.by_id.get(&trace)?;
        let mut spans: Vec<v1::Span> = recorded.spans.iter().map(to_proto).collect();
        spans.sort_by_key(|span| span.start_time.map(|time| (time.seconds, time.nanos)));
        Some(v1::Trace {
            trace_id: trace.to_string(),
            process: self.process.to_string(),
            spans,
            dropped_spans: recorded.dropped,
        })
    }
}

impl Recorded {
    fn carried(&self, request_id: &str) -> bool {
        self.spans.iter().any(|span| {
            span.attributes
                .iter()
                .any(|attribute| attribute.key.as_str() == REQUEST_ID && attribute.value.as_str() == request_id)
        })
    }
}

impl SpanProcessor for RecentTraces {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        let trace = span.span_context.trace_id();
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if !traces.by_id.contains_key(&trace) {
            if traces.order.len() >= self.capacity
                && let Some(oldest) = traces.order.pop_front()
            {
                traces.by_id.remove(&oldest);
            }
            traces.order.push_back(trace);
        }
        let recorded = traces.by_id.entry(trace).or_default();
        if recorded.spans.len() < SPANS_PER_TRACE {
            recorded.spans.push(span);
        } else {
            recorded.dropped += 1;
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn to_proto(span: &SpanData) -> v1::Span {
    let texts =
        |attributes: &[KeyValue]| attributes.iter().map(|one| (one.key.to_string(), one.value.to_string())).collect();
    let events = span.events.iter().map(|event| v1::SpanEvent {
        time: Some(event.timestamp.into()),
        name: event.name.to_string(),
        attributes: texts(&event.attributes),
    });
    let duration = span.end_time.duration_since(span.start_time).unwrap_or_default();
    v1::Span {
        span_id: span.span_context.span_id().to_string(),
        parent_span_id: if span.parent_span_id == SpanId::INVALID {
            String::new()
        } else {
            span.parent_span_id.to_string()
        },
        name: span.name.to_string(),
        start_time: Some(span.start_time.into()),
        duration: prost_types::Duration::try_from(duration).ok(),
        error: match &span.status {
            Status::Error { description } if description.is_empty() => "error".to_owned(),
            Status::Error { description } => description.to_string(),
            Status::Ok | Status::Unset => String::new(),
        },
        attributes: texts(&span.attributes),
        events: events.collect(),
    }
}
