//! Log lines with the ids of their trace.
//!
//! The subscriber's own JSON layer formats the fields of every span, also of those in which nothing is
//! ever logged (3.3 µs for two spans). These lines have their own few fields and the two ids, which are
//! looked up only when a line is written.

use std::fmt;

use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt as subscriber_fmt};

use crate::LogFormat;

/// Makes the layer that writes log lines to standard error.
pub(crate) fn layer<S>(format: LogFormat) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    subscriber_fmt::layer().event_format(Line(format)).fmt_fields(NoFields).with_writer(std::io::stderr)
}

struct Line(LogFormat);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.message.is_empty() {
            // Libraries that log fields alone put what happened into the name.
            event.metadata().name().clone_into(&mut fields.message);
        }
        let ids = context.parent_span().and_then(|span| ids_of(&span.id()));
        let (level, target) = (event.metadata().level(), event.metadata().target());
        match self.0 {
            LogFormat::Human => {
                write!(out, "{time} {level:>5} {target}: {}", fields.message)?;
                for (name, value) in &fields.named {
                    match value {
                        Value::String(text) => write!(out, " {name}={text}")?,
                        other => write!(out, " {name}={other}")?,
                    }
                }
                if let Some((trace, _)) = ids {
                    write!(out, " trace={trace}")?;
                }
                writeln!(out)
            }
            LogFormat::Json => {
                let mut line = Map::new();
                line.insert("time".to_owned(), time.into());
                line.insert("level".to_owned(), level.as_str().into());
                line.insert("target".to_owned(), target.into());
                line.insert("message".to_owned(), fields.message.into());
                if let Some((trace, span)) = ids {
                    line.insert("trace_id".to_owned(), trace.into());
                    line.insert("span_id".to_owned(), span.into());
                }
                line.extend(fields.named);
                writeln!(out, "{}", Value::Object(line))
            }
        }
    }
}

fn ids_of(span: &tracing::span::Id) -> Option<(String, String)> {
    let context = tracing::dispatcher::get_default(|dispatch| tracing_opentelemetry::get_otel_context(span, dispatch))?;
    let context = context.span().span_context().clone();
    context.is_valid().then(|| (context.trace_id().to_string(), context.span_id().to_string()))
}

/// How long a value may get, in bytes: a log line is no place for a document.
const VALUE_LIMIT: usize = 4096;

#[derive(Default)]
struct Fields {
    message: String,
    named: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, mut text: String) {
        if text.len() > VALUE_LIMIT {
            text.truncate(text.floor_char_boundary(VALUE_LIMIT));
            text.push('…');
        }
        // A line is a line: what would break it is written as JSON writes it.
        let text = text.replace('\n', "\\n");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.named.insert(field.name().to_owned(), text.into());
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.named.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.named.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.named.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.named.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.put(field, text);
    }
}

/// Formats no span fields: no line shows them.
struct NoFields;

impl<'writer> FormatFields<'writer> for NoFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(&self, _: Writer<'writer>, _: R) -> fmt::Result {
        Ok(())
    }
}
