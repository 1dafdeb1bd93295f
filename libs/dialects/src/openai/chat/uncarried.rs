//! What is done with the fields of the API that are not carried to a model.

use crate::json::object::Uncarried::{self, Hint, Neutral};

pub(in crate::openai) const BODY: &[Uncarried] = &[
    // Where OpenAI caches, and who it holds responsible.
    Hint("prompt_cache_key"),
    Hint("prompt_cache_options"),
    Hint("prompt_cache_retention"),
    Hint("safety_identifier"),
    Neutral("audio", &[]),
    Neutral("function_call", &["\"none\""]),
    Neutral("functions", &["[]"]),
    Neutral("modalities", &["[\"text\"]"]),
    Neutral("moderation", &[]),
    Neutral("prediction", &[]),
    Neutral("service_tier", &["\"auto\"", "\"default\""]),
    Neutral("store", &["false"]),
    Neutral("verbosity", &["\"medium\""]),
    Neutral("web_search_options", &[]),
];

// The padding that OpenAI adds against guessing tokens from packet sizes.
pub(in crate::openai) const STREAM_OPTIONS: &[Uncarried] = &[Hint("include_obfuscation")];

// What SDKs send back with an answer that they put into the conversation.
pub(in crate::openai) const MESSAGE: &[Uncarried] =
    &[Neutral("annotations", &["[]"]), Neutral("audio", &[]), Neutral("function_call", &[])];

pub(in crate::openai) const PART: &[Uncarried] = &[Hint("prompt_cache_breakpoint")];

// Deltas number the calls of an answer, and some clients keep that.
pub(in crate::openai) const TOOL_CALL: &[Uncarried] = &[Hint("index")];

pub(in crate::openai) const TOOL: &[Uncarried] = &[Hint("prompt_cache_breakpoint")];

pub(in crate::openai) const NONE: &[Uncarried] = &[];
