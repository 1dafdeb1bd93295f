//! What a completion of either kind may ask of its generation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pointsman_proto::inference::v1::{GenerateRequest, Sampling};
use serde::de::SeqAccess;

use super::chat::uncarried;
use super::parameter;
use crate::json::object::{fields, object};
use crate::json::{Given, Pairs, Shape};
use crate::problems::{Problems, shortened};

fields! {
    Generation {
        temperature: f64,
        top_p: f64,
        top_k: i64,
        min_p: f64,
        frequency_penalty: f64,
        presence_penalty: f64,
        repetition_penalty: f64,
        logit_bias: Pairs<f64>,
        n: u32,
        seed: i64,
        stop: Stop,
        user: String,
        metadata: Pairs<String>,
        stream: bool,
        stream_options: StreamOptions<'de>,
    }
}

object! {
    StreamOptions {
        include_usage: bool,
    }
}

/// One stop text, or several.
#[derive(Debug)]
pub(crate) enum Stop {
    One(String),
    Many(Vec<Given<String>>),
}

impl<'de> Shape<'de> for Stop {
    const EXPECTED: &'static str = "must be a string or an array of strings";

    fn of_text(text: Cow<'de, str>) -> Given<Self> {
        Given::Value(Self::One(text.into_owned()))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Given<Self>, A::Error> {
        Ok(Vec::of_list(list)?.map(Self::Many))
    }
}

/// How the answer goes out.
pub(super) struct Delivery {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Generation<'_> {
    /// Returns a request with these fields, and how its answer goes out.
    pub(super) fn convert(self, problems: &mut Problems) -> (GenerateRequest, Delivery) {
        let p = problems;
        let sampling = Sampling {
            temperature: self.temperature.take("temperature", p),
            top_p: self.top_p.take("top_p", p),
            top_k: top_k(self.top_k, p),
            min_p: self.min_p.take("min_p", p),
            frequency_penalty: self.frequency_penalty.take("frequency_penalty", p),
            presence_penalty: self.presence_penalty.take("presence_penalty", p),
            repetition_penalty: self.repetition_penalty.take("repetition_penalty", p),
            logit_bias: logit_bias(self.logit_bias, p),
        };
        let request = GenerateRequest {
            sampling: (sampling != Sampling::default()).then_some(sampling),
            stop: texts(self.stop, p),
            seed: self.seed.take("seed", p),
            choice_count: self.n.take("n", p),
            labels: labels(self.metadata, p),
            end_user: self.user.take("user", p).unwrap_or_default(),
            ..GenerateRequest::default()
        };
        (request, delivery(self.stream, self.stream_options, p))
    }
}

/// Engines that have `top_k` beside OpenAI's fields spell "all" as 0 or -1.
fn top_k(given: Given<i64>, problems: &mut Problems) -> Option<u32> {
    match given.take("top_k", problems)? {
        -1 | 0 => None,
        count @ 1.. => Some(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => {
            problems.invalid("top_k", "must be at least 1, or -1 for all");
            None
        }
    }
}

fn logit_bias(given: Given<Pairs<f64>>, problems: &mut Problems) -> BTreeMap<u32, f64> {
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

fn texts(given: Given<Stop>, problems: &mut Problems) -> Vec<String> {
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

pub(super) fn labels(given: Given<Pairs<String>>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs(given, "metadata", problems) {
        if let Some(value) = value.element(format_args!("metadata.{}", shortened(&key)), problems) {
            labels.insert(key, value);
        }
    }
    labels
}

fn delivery(stream: Given<bool>, options: Given<StreamOptions<'_>>, problems: &mut Problems) -> Delivery {
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
