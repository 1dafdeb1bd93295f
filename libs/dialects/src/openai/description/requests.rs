//! What is sent to each path.

use serde_json::{Value, json};

use super::schema::{
    Schemas, above_zero, at_least, boolean, described, fields, list, needs, number, one_of, optional, reference, taken,
    text, whole, with,
};
use crate::openai::chat::uncarried;
use crate::openai::{text as completions, tokenize};

/// The longest text of a message, in bytes.
pub(super) const LONGEST_TEXT: usize = 4 << 20;
/// The longest text to embed, in bytes.
const LONGEST_INPUT: usize = 1 << 20;

pub(super) fn schemas() -> Schemas {
    fields(json!({
        "ChatCompletionRequest": chat(),
        "CompletionRequest": completion(),
        "EmbeddingsRequest": embeddings(),
        "TokenizeRequest": {"anyOf": [reference("TokenizeChatRequest"), reference("TokenizeTextRequest")]},
        "TokenizeChatRequest": count("messages", list(reference("Message"), 1, 4096)),
        "TokenizeTextRequest": count("prompt", prompt()),
        "StreamOptions": taken(&[], with(json!({"include_usage": optional(boolean())}), uncarried::STREAM_OPTIONS)),
        "LogitBias": {
            "type": "object",
            "description": "Token ids, and what is added to their logits.",
            "maxProperties": 1024,
            "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,8})$", "examples": ["17"]},
            "additionalProperties": number(-100, 100),
        },
        "Metadata": {
            "type": "object",
            "maxProperties": 32,
            "propertyNames": {"minLength": 1, "maxLength": 63},
            "additionalProperties": text(0, 256),
        },
    }))
}

fn chat() -> Value {
    let own = json!({
        "messages": list(reference("Message"), 1, 4096),
        "max_completion_tokens": optional(described(at_least(1), "Lowered to what the context leaves, its default.")),
        "max_tokens": optional(described(at_least(1), "The older name of max_completion_tokens; not beside another value of it.")),
        "logprobs": optional(boolean()),
        "top_logprobs": optional(whole(0, 20)),
        "reasoning_effort": optional(one_of(&["none", "minimal", "low", "medium", "high"])),
    });
    let properties = joined([model(), own, tools(), sampling(), asker(), delivery()]);
    let mut schema = taken(&["model", "messages"], with(properties, uncarried::BODY));
    let streamed = needs("stream_options", nothing(), "stream", json!({"const": true}));
    let scored = needs("top_logprobs", json!({"enum": [0, null]}), "logprobs", json!({"const": true}));
    schema["allOf"] = json!([streamed, scored, tools_are_there()]);
    schema
}

fn completion() -> Value {
    let own = json!({
        "prompt": prompt(),
        "suffix": {"enum": ["", null]},
        "max_tokens": {"type": ["integer", "null"], "minimum": 1, "default": 16},
        "logprobs": optional(whole(0, 20)),
        "echo": optional(described(boolean(), "Not together with logprobs.")),
        "best_of": optional(described(whole(1, 128), "The same as n.")),
    });
    let properties = joined([model(), own, sampling(), asker(), delivery()]);
    let mut schema = taken(&["model", "prompt"], with(properties, completions::UNCARRIED));
    schema["allOf"] = json!([needs("stream_options", nothing(), "stream", json!({"const": true}))]);
    schema
}

fn embeddings() -> Value {
    let input = text(1, LONGEST_INPUT);
    let own = json!({
        "input": {"anyOf": [input, list(input.clone(), 1, 2048)]},
        "encoding_format": optional(one_of(&["float", "base64"])),
        "dimensions": optional(at_least(1)),
    });
    taken(&["model", "input"], joined([model(), own, asker()]))
}

/// What is counted: `content`, and nothing else of the two.
fn count(content: &str, schema: Value) -> Value {
    let both = json!({"messages": nothing(), "prompt": nothing()});
    let own = joined([both, json!({content: schema})]);
    let properties = joined([model(), own, tools(), asker()]);
    let mut counted = taken(&["model", content], with(properties, tokenize::UNCARRIED));
    counted["allOf"] = json!([tools_are_there()]);
    counted
}

fn model() -> Value {
    json!({"model": described(text(1, 256), "A name of GET /v1/models.")})
}

fn prompt() -> Value {
    let one = text(1, LONGEST_TEXT);
    json!({"anyOf": [one, list(one.clone(), 1, 1)], "description": "What a user says, in the model's chat template."})
}

fn tools() -> Value {
    json!({
        "tools": optional(described(list(reference("Tool"), 0, 128), "Each with another name.")),
        "tool_choice": optional(reference("ToolChoice")),
        "parallel_tool_calls": optional(boolean()),
        "response_format": optional(reference("ResponseFormat")),
    })
}

fn tools_are_there() -> Value {
    let some = json!({"type": "array", "minItems": 1});
    needs("tool_choice", json!({"enum": ["none", "auto", null]}), "tools", some)
}

fn sampling() -> Value {
    let stop = text(1, 256);
    json!({
        "temperature": optional(described(number(0, 2), "0, the default, is greedy: the most probable token each time.")),
        "top_p": optional(above_zero(1)),
        "top_k": optional(described(whole(-1, i64::MAX), "0 and -1 are all.")),
        "min_p": optional(number(0, 1)),
        "frequency_penalty": optional(number(-2, 2)),
        "presence_penalty": optional(number(-2, 2)),
        "repetition_penalty": optional(above_zero(2)),
        "logit_bias": optional(reference("LogitBias")),
        "n": optional(whole(1, 128)),
        "seed": optional(whole(i64::MIN, i64::MAX)),
        "stop": {"anyOf": [stop, list(stop.clone(), 0, 16), nothing()]},
    })
}

fn asker() -> Value {
    json!({"user": optional(text(0, 256)), "metadata": optional(reference("Metadata"))})
}

fn delivery() -> Value {
    json!({"stream": optional(boolean()), "stream_options": optional(reference("StreamOptions"))})
}

fn nothing() -> Value {
    json!({"type": "null"})
}

fn joined<const N: usize>(parts: [Value; N]) -> Value {
    Value::Object(parts.into_iter().flat_map(fields).collect())
}
