//! `pointsman trace`

use std::collections::HashSet;

use anyhow::Result;
use pointsman_client::{Config, remote};
use pointsman_proto::operations::v1::operations_service_client::OperationsServiceClient;
use pointsman_proto::operations::v1::{
    GetTraceRequest, ListRequestsRequest, ListRequestsResponse, Span, SpanEvent, Trace,
};
use pointsman_types::counted;
use tonic::Code;

use crate::arguments::TraceOptions;
use crate::client::explain;

pub(crate) async fn run(options: TraceOptions) -> Result<()> {
    let mut operations =
        OperationsServiceClient::new(remote(&options.operator.operator_address, None, &Config::default())?);
    let address = &options.operator.operator_address;
    // Asked first: a request that ends between the two calls has its spans then.
    let listed = operations.list_requests(ListRequestsRequest {}).await;
    let listed = listed.map_err(|status| explain(&status, address))?.into_inner();
    let running = still_runs(&listed, &options.id);
    match (operations.get_trace(GetTraceRequest { id: options.id }).await, running) {
        (Ok(trace), running) => print!("{}{}", render(trace.get_ref()), running.unwrap_or_default()),
        (Err(status), Some(running)) if status.code() == Code::NotFound => print!("{running}"),
        (Err(status), _) => return Err(explain(&status, address)),
    }
    Ok(())
}

/// Says so of a request that is in flight, by either of its ids: a span is there when it has ended.
fn still_runs(listed: &ListRequestsResponse, id: &str) -> Option<String> {
    let request = listed.requests.iter().find(|it| it.request_id == id || it.trace_id == id)?;
    Some(format!(
        "request {} still runs at {}: the rest of its spans come when they end\n",
        request.request_id, listed.process
    ))
}

/// Draws the spans as a tree: when each began, how long it took, what is known of it.
fn render(trace: &Trace) -> String {
    let mut out = format!("trace {}, as {} saw it\n", trace.trace_id, trace.process);
    let known: HashSet<&str> = trace.spans.iter().map(|span| span.span_id.as_str()).collect();
    let begin = trace.spans.iter().map(begin_ms).fold(f64::INFINITY, f64::min);
    let mut rows = Vec::new();
    for root in trace.spans.iter().filter(|span| !known.contains(span.parent_span_id.as_str())) {
        collect(trace, root, 0, &mut rows);
    }
    let lengths = rows.iter().flat_map(|(depth, span)| {
        let events = span.events.iter().map(move |event| 2 * depth + 2 + event.name.chars().count());
        events.chain([2 * depth + span.name.chars().count()])
    });
    let width = lengths.max().unwrap_or(0);
    for (depth, span) in rows {
        let name = format!("{:indent$}{}", "", span.name, indent = 2 * depth);
        let length = span.duration.map_or(0.0, |length| length.seconds as f64 * 1e3 + f64::from(length.nanos) / 1e6);
        out.push_str(&format!(
            "{name:width$}  +{:>9.3} ms  {length:>9.3} ms  {}\n",
            begin_ms(span) - begin,
            facts(span)
        ));
        for event in &span.events {
            let (name, fields) = (format!("{:indent$}{}", "", event.name, indent = 2 * depth + 2), fields(event));
            out.push_str(&format!("{name:width$}  +{:>9.3} ms  {fields}\n", millis(event.time.as_ref()) - begin));
        }
    }
    if trace.dropped_spans > 0 {
        out.push_str(&format!("({} more, which the buffer had no room for)\n", counted(trace.dropped_spans, "span")));
    }
    out
}

fn collect<'a>(trace: &'a Trace, span: &'a Span, depth: usize, rows: &mut Vec<(usize, &'a Span)>) {
    rows.push((depth, span));
    for child in trace.spans.iter().filter(|child| child.parent_span_id == span.span_id) {
        collect(trace, child, depth + 1, rows);
    }
}

fn begin_ms(span: &Span) -> f64 {
    millis(span.start_time.as_ref())
}

fn millis(time: Option<&prost_types::Timestamp>) -> f64 {
    time.map_or(0.0, |time| time.seconds as f64 * 1e3 + f64::from(time.nanos) / 1e6)
}

fn fields(event: &SpanEvent) -> String {
    let fields: Vec<String> = event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    fields.join(" ")
}

/// What is said elsewhere in the line, or means the same for all, is left out.
const UNSHOWN: [&str; 4] =
    ["gen_ai.operation.name", "gen_ai.provider.name", "pointsman.target", "gen_ai.request.model"];

fn facts(span: &Span) -> String {
    let shown = span.attributes.iter().filter(|(name, value)| !UNSHOWN.contains(&name.as_str()) && !value.is_empty());
    let mut facts: Vec<String> = shown
        .map(|(name, value)| format!("{}={value}", name.trim_start_matches("gen_ai.").trim_start_matches("pointsman.")))
        .collect();
    if !span.error.is_empty() && !span.attributes.contains_key("error.type") {
        facts.push(format!("error={}", span.error));
    }
    facts.join(" ")
}

#[cfg(test)]
mod tests {
    use pointsman_proto::operations::v1::{ListRequestsResponse, RequestInFlight, Span, SpanEvent, Trace};

    use super::{render, still_runs};

    #[test]
    fn spans_are_drawn_as_a_tree() {
        let span = |id: &str, parent: &str, name: &str, millis: i32| Span {
            span_id: id.into(),
            parent_span_id: parent.into(),
            name: name.into(),
            start_time: Some(prost_types::Timestamp { seconds: 100, nanos: millis * 1_000_000 }),
            duration: Some(prost_types::Duration { seconds: 0, nanos: 2_500_000 }),
            ..Span::default()
        };
        let spans =
            vec![span("a", "caller", "chat pip", 0), span("b", "a", "attempt x", 1), span("c", "b", "decode", 3)];
        let drawn = render(&Trace { trace_id: "t".into(), process: "p".into(), spans, dropped_spans: 1 });
        let want = "\
trace t, as p saw it
chat pip     +    0.000 ms      2.500 ms  
  attempt x  +    1.000 ms      2.500 ms  
    decode   +    3.000 ms      2.500 ms  
(1 span more, which the buffer had no room for)
";
        assert_eq!(drawn, want);
    }
    #[test]
    fn what_happened_stands_under_its_span() {
        let time = |millis: i32| Some(prost_types::Timestamp { seconds: 100, nanos: millis * 1_000_000 });
        let attributes = [("pieces".to_owned(), "3".to_owned()), ("text_bytes".to_owned(), "17".to_owned())].into();
        let event = SpanEvent { time: time(20), name: "on its way".into(), attributes };
        let duration = Some(prost_types::Duration { seconds: 0, nanos: 30_000_000 });
        let chat = Span {
            span_id: "a".into(),
            name: "chat".into(),
            start_time: time(0),
            duration,
            events: vec![event],
            ..Span::default()
        };
        let trace = Trace { trace_id: "t".into(), process: "p".into(), spans: vec![chat], dropped_spans: 0 };
        let want = "\
trace t, as p saw it
chat          +    0.000 ms     30.000 ms  
  on its way  +   20.000 ms  pieces=3 text_bytes=17
";
        assert_eq!(render(&trace), want);
    }

    #[test]
    fn a_request_that_runs_is_told_by_either_id() {
        let request = RequestInFlight { request_id: "r".into(), trace_id: "t".into(), ..RequestInFlight::default() };
        let listed = ListRequestsResponse { process: "p".into(), requests: vec![request], left_out: 0 };
        let told = "request r still runs at p: the rest of its spans come when they end\n";
        assert_eq!(still_runs(&listed, "r").as_deref(), Some(told));
        assert_eq!(still_runs(&listed, "t").as_deref(), Some(told));
        assert_eq!(still_runs(&listed, ""), None);
    }
}
