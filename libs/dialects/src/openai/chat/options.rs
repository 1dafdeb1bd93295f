//! The body as a whole: every field but what the messages and tools say.

use std::borrow::Cow;

use pointsman_proto::inference::v1::{GenerateRequest, Limits, Logprobs, ReasoningEffort};

use super::body::ChatBody;
use super::{messages, tools, uncarried};
use crate::json::Given;
use crate::openai::generation::Delivery;
use crate::openai::parameter;
use crate::problems::Problems;

pub(super) fn convert(body: ChatBody<'_>, problems: &mut Problems) -> (GenerateRequest, Delivery) {
    let p = problems;
    let (generation, delivery) = body.generation.convert(p);
    let limit = max_tokens(body.max_tokens, body.max_completion_tokens, p);
    let request = GenerateRequest {
        model: body.model.take("model", p).unwrap_or_default(),
        messages: messages::convert(body.messages, p),
        tools: tools::convert(body.tools, p),
        tool_choice: tools::choice(body.tool_choice, body.parallel_tool_calls, p),
        response_format: tools::response_format(body.response_format, p),
        limits: limit.map(|limit| Limits { max_output_tokens: Some(limit) }),
        logprobs: logprobs(body.logprobs, body.top_logprobs, p),
        reasoning_effort: reasoning_effort(body.reasoning_effort, p).into(),
        ..generation
    };
    body.others.check("", uncarried::BODY, parameter, p);
    (request, delivery)
}

fn max_tokens(old: Given<u32>, new: Given<u32>, problems: &mut Problems) -> Option<u32> {
    let mut limit = |given: Given<u32>, field| {
        let limit = given.take(field, problems);
        if limit == Some(0) {
            problems.invalid(field, "must be at least 1");
        }
        limit.filter(|limit| *limit > 0)
    };
    let old = limit(old, "max_tokens");
    let new = limit(new, "max_completion_tokens");
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        problems.invalid("max_tokens", "differs from `max_completion_tokens`; give that one only");
    }
    new.or(old)
}

fn logprobs(wanted: Given<bool>, top: Given<u32>, problems: &mut Problems) -> Option<Logprobs> {
    let wanted = wanted.take("logprobs", problems).unwrap_or_default();
    let top_count = top.take("top_logprobs", problems).unwrap_or_default();
    if top_count > 0 && !wanted {
        problems.invalid("top_logprobs", "needs `logprobs`: true");
    }
    wanted.then_some(Logprobs { top_count })
}

fn reasoning_effort(given: Given<Cow<'_, str>>, problems: &mut Problems) -> ReasoningEffort {
    const FIELD: &str = "reasoning_effort";
    match given.take(FIELD, problems).as_deref() {
        None => ReasoningEffort::Unspecified,
        Some("none") => ReasoningEffort::None,
        Some("minimal") => ReasoningEffort::Minimal,
        Some("low") => ReasoningEffort::Low,
        Some("medium") => ReasoningEffort::Medium,
        Some("high") => ReasoningEffort::High,
        Some("xhigh" | "max") => {
            problems.unsupported(FIELD, "goes up to `high` here");
            ReasoningEffort::Unspecified
        }
        Some(_) => {
            problems.invalid(FIELD, "must be none, minimal, low, medium or high");
            ReasoningEffort::Unspecified
        }
    }
}
