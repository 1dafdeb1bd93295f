//! The way of a span out of the process.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::{Config, Identity, OtlpConfig, OtlpProtocol, RecentTraces};

/// How long one batch may take to send.
const SEND_LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn provider(
    identity: &Identity,
    config: &Config,
    recent: RecentTraces,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let ratio = Sampler::TraceIdRatioBased(config.sample_ratio);
    let mut provider = SdkTracerProvider::builder()
        .with_resource(resource(identity, config))
        .with_sampler(Sampler::ParentBased(Box::new(ratio)))
        .with_max_attributes_per_span(64)
        .with_max_events_per_span(64)
        .with_span_processor(recent);
    if let Some(otlp) = &config.otlp {
        provider = provider.with_batch_exporter(exporter(otlp)?);
    }
    Ok(provider.build())
}

/// The OpenTelemetry standard variables (`OTEL_RESOURCE_ATTRIBUTES` among them) reach this through
/// `libs/server`, which alone reads the environment.
fn resource(identity: &Identity, config: &Config) -> Resource {
    let more = config.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_service_name(identity.service.clone())
        .with_attribute(KeyValue::new("service.instance.id", identity.instance.clone()))
        .with_attribute(KeyValue::new("service.version", identity.version))
        .with_attributes(more)
        .build()
}

fn exporter(otlp: &OtlpConfig) -> Result<SpanExporter, ExporterBuildError> {
    match otlp.protocol {
        OtlpProtocol::Grpc => {
            SpanExporter::builder().with_tonic().with_endpoint(&otlp.endpoint).with_timeout(SEND_LIMIT).build()
        }
        OtlpProtocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&otlp.endpoint)
            .with_timeout(SEND_LIMIT)
            .build(),
    }
}
