//! `pointsman trace`

use std::collections::HashSet;

use anyhow::Result;
use pointsman_client::{Config, remote};
use pointsman_proto::operations::v1::operations_service_client::OperationsServiceClient;
use pointsman_proto::operations::v1::{GetTraceRequest, Span, Trace};
use pointsman_types::counted;

use crate::arguments::TraceOptions;
use crate::client::explain;

pub(crate) async fn run(options: TraceOptions) -> Result<()> {
    let mut operations =
        OperationsServiceClient::new(remote(&options.operator.operator_address, None, &Config::default())?);
    let trace = operations.get_trace(GetTraceRequest { id: options.id }).await;
    let trace = trace.map_err(|status| explain(&status, &options.operator.operator_address))?.into_inner();
    print!("{}", render(&trace));
    Ok(())
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
    let width = rows.iter().map(|(depth, span)| 2 * depth + span.name.chars().count()).max().unwrap_or(0);
    for (depth, span) in rows {
        let name = format!("{:indent$}{}", "", span.name, indent = 2 * depth);
        let length = span.duration.map_or(0.0, |length| length.seconds as f64 * 1e3 + f64::from(length.nanos) / 1e6);
        out.push_str(&format!(
            "{name:width$}  +{:>9.3} ms  {length:>9.3} ms  {}\n",
            begin_ms(span) - begin,
            facts(span)
        ));
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
    span.start_time.map_or(0.0, |time| time.seconds as f64 * 1e3 + f64::from(time.nanos) / 1e6)
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
    use pointsman_proto::operations::v1::{Span, Trace};

    use super::render;

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
}
