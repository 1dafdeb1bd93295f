//! The spans of an operation, by the OpenTelemetry GenAI conventions
//! (<https://github.com/open-telemetry/semantic-conventions-genai>); ours are `pointsman.*`.

use std::time::Duration;

use http::HeaderMap;
use pointsman_policy::Decision;
use pointsman_proto::finish_reason;
use pointsman_proto::inference::v1::{AttemptKind, FinishReason, GenerateRequest, Usage};
use pointsman_telemetry::{SPAN_EVENT, bounded, propagation};
use tracing::{Span, field, record_all};

use crate::attempt::unary::About;
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

/// Begins the logical span of a call with one answer, in the caller's trace.
pub(crate) fn unary(about: &About<'_>, caller: &Caller, surface: SurfaceName, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "unary",
        otel.name = format!("{} {}", about.operation, bounded(about.model)),
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        gen_ai.operation.name = about.operation,
        gen_ai.provider.name = "pointsman",
        gen_ai.request.model = bounded(about.model),
        gen_ai.usage.input_tokens = field::Empty,
        pointsman.decision_id = field::Empty,
        pointsman.instance = field::Empty,
        pointsman.policy_revision = field::Empty,
        pointsman.request_id = bounded(about.request_id),
        pointsman.rule = field::Empty,
        pointsman.surface = surface.name(),
        pointsman.target = field::Empty,
        pointsman.tenant = bounded(&caller.tenant),
    );
    propagation::set_parent(&span, headers);
    span
}

/// Begins the span of a call that is passed on to the session store, in the caller's trace.
pub(crate) fn session_call(path: &str, request_id: &str, headers: &HeaderMap) -> Span {
    let method = path.rsplit('/').next().unwrap_or_default();
    let span = tracing::info_span!(
        "session call",
        otel.name = format!("sessions {}", bounded(method)),
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        pointsman.request_id = request_id,
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

/// Notes that a decision is made, by which policy: a refusal is one, too.
pub(crate) fn deciding(span: &Span, id: &str, policy_revision: &str) {
    let policy = (!policy_revision.is_empty()).then_some(policy_revision);
    record_all!(span, pointsman.decision_id = id, pointsman.policy_revision = policy);
}

/// Notes the rule that decided.
pub(crate) fn decided(span: &Span, decision: &Decision) {
    if !decision.policy_revision.is_empty() {
        span.record("pointsman.rule", &*decision.rule.name);
    }
}

/// Notes when the answer began, and the target and instance that it is from.
pub(crate) fn first_chunk(span: &Span, after: Duration, from: Option<(&str, &str)>) {
    record_all!(
        span,
        gen_ai.response.time_to_first_chunk = after.as_secs_f64(),
        pointsman.target = from.map(|(target, _)| target),
        pointsman.instance = from.map(|(_, instance)| instance),
    );
}

/// Notes the target and instance that a call was answered by.
pub(crate) fn answered(span: &Span, from: Option<(&str, &str)>) {
    record_all!(
        span,
        pointsman.target = from.map(|(target, _)| target),
        pointsman.instance = from.map(|(_, instance)| instance),
    );
}

/// Begins the span of one try against one instance.
pub(crate) fn attempt(parent: &Span, target: &str, instance: &str, kind: AttemptKind) -> Span {
    tracing::info_span!(
        parent: parent,
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

/// Notes what is known at the end: what was consumed, and why the model stopped.
pub(crate) fn ended(span: &Span, usage: Option<Usage>, finish_reason: Option<FinishReason>) {
    if usage.is_some() || finish_reason.is_some() {
        record_all!(
            span,
            gen_ai.response.finish_reasons = finish_reason.map(finish_reason::name),
            gen_ai.usage.input_tokens = usage.and_then(|usage| usage.input_tokens),
            gen_ai.usage.output_tokens = usage.and_then(|usage| usage.output_tokens),
        );
    }
}

/// Notes what went wrong.
pub(crate) fn failed(span: &Span, reason: &'static str) {
    record_all!(span, otel.status_code = "ERROR", error.type = reason);
}
