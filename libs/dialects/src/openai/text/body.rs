//! The shape of a Completions body.

use crate::json::Pairs;
use crate::json::object::Uncarried::{self, Hint};
use crate::json::object::object;
use crate::openai::chat::body::{Stop, StreamOptions};
use crate::openai::texts::Texts;

object! {
    TextBody {
        model: String,
        prompt: Texts,
        suffix: String,
        max_tokens: u32,
        temperature: f64,
        top_p: f64,
        top_k: i64,
        min_p: f64,
        frequency_penalty: f64,
        presence_penalty: f64,
        repetition_penalty: f64,
        logit_bias: Pairs<f64>,
        n: u32,
        best_of: u32,
        seed: i64,
        stop: Stop,
        logprobs: u32,
        echo: bool,
        user: String,
        metadata: Pairs<String>,
        stream: bool,
        stream_options: StreamOptions<'de>,
    }
}

pub(in crate::openai) const UNCARRIED: &[Uncarried] = &[Hint("safety_identifier")];
