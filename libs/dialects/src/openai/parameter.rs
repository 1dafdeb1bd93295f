/// Fields of the contract, without indices, and what OpenAI calls them.
const NAMES: &[(&str, &str)] = &[
    ("choice_count", "n"),
    ("end_user", "user"),
    ("labels", "metadata"),
    ("limits.max_output_tokens", "max_completion_tokens"),
    ("logprobs.top_count", "top_logprobs"),
    ("messages.parts", "messages.content"),
    ("messages.parts.text", "messages.content"),
    ("messages.parts.image", "messages.content.image_url"),
    ("messages.parts.image.source", "messages.content.image_url.url"),
    ("messages.parts.tool_call", "messages.tool_calls"),
    ("messages.parts.tool_call.id", "messages.tool_calls.id"),
    ("messages.parts.tool_call.name", "messages.tool_calls.function.name"),
    ("messages.parts.tool_result", "messages.tool_call_id"),
    ("messages.parts.tool_result.tool_call_id", "messages.tool_call_id"),
    ("messages.parts.reasoning", "messages.reasoning_content"),
    ("response_format.json_object", "response_format.type"),
    ("response_format.json_schema.json_schema", "response_format.json_schema.schema"),
    ("tool_choice.mode", "tool_choice"),
    ("tool_choice.tool_name", "tool_choice.function.name"),
    ("tools.name", "tools.function.name"),
    ("tools.description", "tools.function.description"),
    ("tools.parameters_json_schema", "tools.function.parameters"),
    ("tools.strict", "tools.function.strict"),
    ("sampling.temperature", "temperature"),
    ("sampling.top_p", "top_p"),
    ("sampling.top_k", "top_k"),
    ("sampling.min_p", "min_p"),
    ("sampling.frequency_penalty", "frequency_penalty"),
    ("sampling.presence_penalty", "presence_penalty"),
    ("sampling.repetition_penalty", "repetition_penalty"),
    ("sampling.logit_bias", "logit_bias"),
];

/// Where a request was sent, which decides what its fields are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/tokenize`.
    Tokenize,
}

impl Endpoint {
    /// Returns what this endpoint calls a field of the contract. One that it has no name for stays as it is.
    pub fn parameter(self, field: &str) -> String {
        match self {
            Self::Chat | Self::Tokenize => parameter(field),
            Self::Completions => completions_parameter(field),
            Self::Embeddings => embeddings_parameter(field),
        }
    }

    /// Returns the field that holds what the model reads.
    pub(super) fn content(self) -> &'static str {
        match self {
            Self::Chat | Self::Tokenize => "messages",
            Self::Completions => "prompt",
            Self::Embeddings => "input",
        }
    }
}

/// The same where the prompt is one text: it is the only message.
pub(super) fn completions_parameter(field: &str) -> String {
    match field {
        "limits.max_output_tokens" => "max_tokens".to_owned(),
        "logprobs.top_count" => "logprobs".to_owned(),
        _ if field.split(['.', '[']).next() == Some("messages") => "prompt".to_owned(),
        _ => parameter(field),
    }
}

pub(super) fn embeddings_parameter(field: &str) -> String {
    match field.strip_prefix("inputs") {
        Some(index) if index.is_empty() || index.starts_with('[') => format!("input{index}"),
        _ => parameter(field),
    }
}

/// Returns what OpenAI calls a field of the contract: `n` for `choice_count`, `messages[2].content` for
/// `messages[2].parts[0].text`. A field that it has no name for, or that is already its own, stays as it is.
///
/// The first index is kept. A later one is not: it counts parts, and OpenAI spreads these over several fields.
pub fn parameter(field: &str) -> String {
    let (plain, index) = without_indices(field);
    let Some((_, name)) = NAMES.iter().find(|(ours, _)| *ours == plain) else { return field.to_owned() };
    match (index, name.split_once('.')) {
        (Some(index), Some((list, rest))) => format!("{list}{index}.{rest}"),
        (Some(index), None) => format!("{name}{index}"),
        (None, _) => (*name).to_owned(),
    }
}

/// Returns the path without its indices, and the index of its first segment with its brackets.
fn without_indices(field: &str) -> (String, Option<&str>) {
    let mut plain = String::with_capacity(field.len());
    let mut first = None;
    for (place, segment) in field.split('.').enumerate() {
        let name_ends = segment.find('[').unwrap_or(segment.len());
        let (name, index) = segment.split_at(name_ends);
        if place > 0 {
            plain.push('.');
        } else if !index.is_empty() {
            first = Some(index);
        }
        plain.push_str(name);
    }
    (plain, first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Endpoint, NAMES, parameter};

    #[test]
    fn fields_have_openai_names() {
        for (ours, theirs) in [
            ("sampling.temperature", "temperature"),
            ("limits.max_output_tokens", "max_completion_tokens"),
            ("messages[2].parts[0].text", "messages[2].content"),
            ("messages[2].parts[1].tool_call.name", "messages[2].tool_calls.function.name"),
            ("messages.parts.image", "messages.content.image_url"),
            ("messages[0].role", "messages[0].role"),
            ("tools[3].name", "tools[3].function.name"),
            ("response_format.json_schema", "response_format.json_schema"),
            ("stop[1]", "stop[1]"),
            ("session", "session"),
        ] {
            assert_eq!(parameter(ours), theirs);
        }
    }

    #[test]
    fn each_endpoint_has_its_own_names() {
        for (endpoint, ours, theirs) in [
            (Endpoint::Completions, "messages[0].parts[0].text", "prompt"),
            (Endpoint::Completions, "messages", "prompt"),
            (Endpoint::Completions, "limits.max_output_tokens", "max_tokens"),
            (Endpoint::Completions, "logprobs.top_count", "logprobs"),
            (Endpoint::Completions, "sampling.top_p", "top_p"),
            (Endpoint::Embeddings, "inputs[7]", "input[7]"),
            (Endpoint::Embeddings, "inputs", "input"),
            (Endpoint::Embeddings, "labels", "metadata"),
            (Endpoint::Tokenize, "messages[1].parts[0].image", "messages[1].content.image_url"),
            (Endpoint::Tokenize, "messages[1].role", "messages[1].role"),
            (Endpoint::Chat, "messages[1].parts[0].text", "messages[1].content"),
        ] {
            assert_eq!(endpoint.parameter(ours), theirs);
            assert_eq!(endpoint.parameter(theirs), theirs, "{endpoint:?}");
        }
    }

    #[test]
    fn an_openai_name_stays() {
        for (_, theirs) in NAMES {
            assert_eq!(parameter(theirs), *theirs);
        }
    }

    proptest! {
        #[test]
        fn any_field_has_one_name(field in "[a-z_.\\[\\]0-9é]{0,40}") {
            let once = parameter(&field);
            prop_assert_eq!(parameter(&once), once.clone());
        }
    }
}
