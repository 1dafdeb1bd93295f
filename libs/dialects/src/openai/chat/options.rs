//! The body as a whole: every field but what the messages and tools say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pointsman_proto::inference::v1::{GenerateRequest, Limits, Logprobs, ReasoningEffort, Sampling};

use super::body::{ChatBody, Stop, StreamOptions};
use super::{messages, tools, uncarried};
use crate::json::{Given, Pairs, Shape};
use crate::openai::parameter;
use crate::problems::{Problems, shortened};

/// How the answer goes out.
pub(in crate::openai) struct Delivery {
    pub(in crate::openai) stream: bool,
    pub(in crate::openai) include_usage: bool,
}

pub(super) fn convert(body: ChatBody<'_>, problems: &mut Problems) -> (GenerateRequest, Delivery) {
    let p = problems;
    let sampling = Sampling {
        temperature: body.temperature.take("temperature", p),
        top_p: body.top_p.take("top_p", p),
        top_k: top_k(body.top_k, p),
        min_p: body.min_p.take("min_p", p),
        frequency_penalty: body.frequency_penalty.take("frequency_penalty", p),
        presence_penalty: body.presence_penalty.take("presence_penalty", p),
        repetition_penalty: body.repetition_penalty.take("repetition_penalty", p),
        logit_bias: logit_bias(body.logit_bias, p),
    };
    let limit = max_tokens(body.max_tokens, body.max_completion_tokens, p);
    let request = GenerateRequest {
        model: body.model.take("model", p).unwrap_or_default(),
        messages: messages::convert(body.messages, p),
        tools: tools::convert(body.tools, p),
        tool_choice: tools::choice(body.tool_choice, body.parallel_tool_calls, p),
        response_format: tools::response_format(body.response_format, p),
        sampling: (sampling != Sampling::default()).then_some(sampling),
        limits: limit.map(|limit| Limits { max_output_tokens: Some(limit) }),
        stop: stop(body.stop, p),
        seed: body.seed.take("seed", p),
        logprobs: logprobs(body.logprobs, body.top_logprobs, p),
        choice_count: body.n.take("n", p),
        reasoning_effort: reasoning_effort(body.reasoning_effort, p).into(),
        labels: labels(body.metadata, p),
        end_user: body.user.take("user", p).unwrap_or_default(),
        ..GenerateRequest::default()
    };
    let delivery = delivery(body.stream, body.stream_options, p);
    body.others.check("", uncarried::BODY, parameter, p);
    (request, delivery)
}

/// Engines that have `top_k` beside OpenAI's fields spell "all" as 0 or -1.
pub(in crate::openai) fn top_k(given: Given<i64>, problems: &mut Problems) -> Option<u32> {
    match given.take("top_k", problems)? {
        -1 | 0 => None,
        count @ 1.. => Some(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => {
            problems.invalid("top_k", "must be at least 1, or -1 for all");
            None
        }
    }
}

pub(in crate::openai) fn logit_bias(given: Given<Pairs<f64>>, problems: &mut Problems) -> BTreeMap<u32, f64> {
    let mut biases = BTreeMap::new();
    for (token, bias) in pairs(given, "logit_bias", problems) {
        let field = || format!("logit_bias.{}", shortened(&token));
        let id = token_id(&token);
        if id.is_none() {
            problems.invalid(field(), "must be named by a token id");
        }
        if let (Some(bias), Some(id)) = (bias.element(field(), problems), id) {
            biases.insert(id, bias);
        }
    }
    biases
}

/// Reads a token id as a tokenizer writes it, so that one token has one name. No vocabulary has a thousand million.
fn token_id(name: &str) -> Option<u32> {
    let is_plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|id| is_plain && *id < 1_000_000_000)
}

fn pairs<'de, T: Shape<'de>>(given: Given<Pairs<T>>, field: &str, problems: &mut Problems) -> Vec<(String, Given<T>)> {
    given.take(field, problems).map(|pairs| pairs.once(field, problems)).unwrap_or_default()
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

pub(in crate::openai) fn stop(given: Given<Stop>, problems: &mut Problems) -> Vec<String> {
    match given.take("stop", problems) {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => {
            let taken = texts.into_iter().enumerate();
            // A place holder keeps the numbers of those that follow.
            taken
                .map(|(index, text)| text.element(format_args!("stop[{index}]"), problems).unwrap_or_default())
                .collect()
        }
    }
}

fn logprobs(wanted: Given<bool>, top: Given<u32>, problems: &mut Problems) -> Option<Logprobs> {
    let wanted = wanted.take("logprobs", problems).unwrap_or_default();
    let top_count = top.take("top_logprobs", problems).unwrap_or_default();
    if top_count > 0 && !wanted {
        problems.invalid("top_logprobs", "needs `logprobs`: true");
    }
    wanted.then_some(Logprobs { top_count })
}

pub(in crate::openai) fn reasoning_effort(given: Given<Cow<'_, str>>, problems: &mut Problems) -> ReasoningEffort {
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

pub(in crate::openai) fn labels(given: Given<Pairs<String>>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs(given, "metadata", problems) {
        if let Some(value) = value.element(format_args!("metadata.{}", shortened(&key)), problems) {
            labels.insert(key, value);
        }
    }
    labels
}

pub(in crate::openai) fn delivery(
    stream: Given<bool>,
    options: Given<StreamOptions<'_>>,
    problems: &mut Problems,
) -> Delivery {
    let stream = stream.take("stream", problems).unwrap_or_default();
    let mut include_usage = false;
    if let Some(options) = options.take("stream_options", problems) {
        if !stream {
            problems.invalid("stream_options", "needs `stream`: true");
        }
        include_usage = options.include_usage.take("stream_options.include_usage", problems).unwrap_or_default();
        options.others.check("stream_options.", uncarried::STREAM_OPTIONS, parameter, problems);
    }
    Delivery { stream, include_usage }
}
