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

    use super::{NAMES, parameter};

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
