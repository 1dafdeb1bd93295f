//! The spans of an operation, by the OpenTelemetry GenAI conventions
//! (<https://github.com/open-telemetry/semantic-conventions-genai>); ours are `pointsman.*`.

use http::HeaderMap;
use pointsman_policy::Decision;
use pointsman_proto::finish_reason;
use pointsman_proto::inference::v1::{AttemptKind, FinishReason, GenerateRequest, Usage};
use pointsman_telemetry::{SPAN_EVENT, bounded, propagation};
use tracing::{Span, field};

use crate::caller::Caller;
use crate::metrics::SurfaceName;

/// Begins the logical span of an operation, in the caller's trace.
pub(crate) fn operation(request: &GenerateRequest, caller: &Caller, surface: SurfaceName, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "chat",
        otel.name = format!("chat {}", bounded(&request.model)),
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "pointsman",
        gen_ai.request.model = bounded(&request.model),
        gen_ai.request.max_tokens = request.limits.and_then(|limits| limits.max_output_tokens),
        gen_ai.request.seed = request.seed,
        gen_ai.request.temperature = request.sampling.as_ref().and_then(|sampling| sampling.temperature),
        gen_ai.request.top_p = request.sampling.as_ref().and_then(|sampling| sampling.top_p),
        gen_ai.response.finish_reasons = field::Empty,
        gen_ai.response.time_to_first_chunk = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        pointsman.decision_id = field::Empty,
        pointsman.instance = field::Empty,
        pointsman.policy_revision = field::Empty,
        pointsman.request_id = bounded(&request.request_id),
        pointsman.rule = field::Empty,
        pointsman.surface = surface.name(),
        pointsman.target = field::Empty,
        pointsman.tenant = bounded(&caller.tenant),
    );
    propagation::set_parent(&span, headers);
    span
}

/// Begins the span of taking up a stream that was lost.
pub(crate) fn resume(caller: &Caller, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "resume",
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        pointsman.tenant = bounded(&caller.tenant),
    );
    propagation::set_parent(&span, headers);
    span
}

/// Notes where a request may go, and by which policy.
pub(crate) fn decided(span: &Span, decision: &Decision) {
    span.record("pointsman.decision_id", decision.id());
    if !decision.policy_revision.is_empty() {
        span.record("pointsman.policy_revision", &*decision.policy_revision)
            .record("pointsman.rule", &*decision.rule.name);
    }
}

/// Notes what answers.
pub(crate) fn answering(span: &Span, target: &str, instance: &str) {
    span.record("pointsman.target", target).record("pointsman.instance", instance);
}

/// Begins the span of one try against one instance.
pub(crate) fn attempt(target: &str, instance: &str, kind: AttemptKind) -> Span {
    tracing::info_span!(
        "attempt",
        otel.name = format!("attempt {target}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        pointsman.attempt.kind = kind.as_str_name().trim_start_matches("ATTEMPT_KIND_"),
        pointsman.attempt.outcome = field::Empty,
        pointsman.target = target,
        pointsman.instance = instance,
    )
}

/// Notes how an attempt ended.
pub(crate) fn attempt_ended(span: &Span, outcome: &'static str, is_failure: bool) {
    span.record("pointsman.attempt.outcome", outcome);
    if is_failure {
        failed(span, outcome);
    }
}

/// Notes how far a long answer is.
pub(crate) fn on_its_way(span: &Span, pieces: u64, text_bytes: u64) {
    tracing::info!(target: SPAN_EVENT, parent: span, pieces, text_bytes, "the answer is still on its way");
}

/// Notes what was consumed.
pub(crate) fn usage(span: &Span, usage: &Usage) {
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
}

/// Notes why the model stopped.
pub(crate) fn finish_reason(span: &Span, reason: FinishReason) {
    span.record("gen_ai.response.finish_reasons", finish_reason::name(reason));
}

/// Notes what went wrong.
pub(crate) fn failed(span: &Span, reason: &'static str) {
    span.record("otel.status_code", "ERROR").record("error.type", reason);
}
