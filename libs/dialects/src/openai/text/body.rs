//! The shape of a Completions body.

use crate::json::object::Uncarried::{self, Hint};
use crate::json::object::object;
use crate::openai::generation::Generation;
use crate::openai::texts::Texts;

object! {
    TextBody {
        model: String,
        prompt: Texts,
        suffix: String,
        max_tokens: u32,
        best_of: u32,
        logprobs: u32,
        echo: bool,
        ..generation: Generation,
    }
}

pub(in crate::openai) const UNCARRIED: &[Uncarried] = &[Hint("safety_identifier")];
