use pointsman_proto::inference::v1::Usage;
use serde::Serialize;

/// What was consumed, as OpenAI writes it.
#[derive(Serialize)]
pub(super) struct UsageBody {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u32>,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u32,
}

impl UsageBody {
    /// `None` unless both sides are known: OpenAI's shape has no number that may be absent, and an unknown one
    /// is never zero.
    pub(super) fn of(usage: &Usage) -> Option<Self> {
        let (prompt_tokens, completion_tokens) = (usage.input_tokens?, usage.output_tokens?);
        let (cached_tokens, cache_write_tokens) = (usage.cached_input_tokens, usage.cache_write_input_tokens);
        let some_prompt = cached_tokens.is_some() || cache_write_tokens.is_some();
        Some(Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: u64::from(prompt_tokens) + u64::from(completion_tokens),
            prompt_tokens_details: some_prompt.then_some(PromptDetails { cached_tokens, cache_write_tokens }),
            completion_tokens_details: usage
                .reasoning_output_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        })
    }
}
