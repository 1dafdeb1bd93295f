//! Answers, whole and in pieces.

use pointsman_proto::inference::v1::Ability;
use serde_json::{Value, json};

use super::schema::{Schemas, boolean, fields, given, one_of, optional, reference};
use crate::openai::models::word;

const FINISH_REASONS: [&str; 4] = ["stop", "length", "tool_calls", "content_filter"];

pub(super) fn schemas() -> Schemas {
    [completions(), chunks(), scores(), others(), models()].into_iter().flat_map(fields).collect()
}

/// What a completion and its pieces have around their choices.
struct Completion<'a> {
    prefix: &'a str,
    object: &'a str,
    /// A stream has usage only where it was asked for.
    has_usage: bool,
}

impl Completion<'_> {
    fn of(&self, choice: Value) -> Value {
        let head = ["id", "object", "created", "model", "system_fingerprint", "choices"];
        let required = head.into_iter().chain(self.has_usage.then_some("usage")).collect::<Vec<_>>();
        given(
            &required,
            json!({
                "id": {"type": "string", "pattern": format!("^{}-.", self.prefix)},
                "object": {"const": self.object},
                "created": {"type": "integer", "description": "When the request was accepted, in seconds since 1970."},
                "model": {"type": "string", "description": "As the caller named it."},
                "system_fingerprint": {"type": ["string", "null"]},
                "choices": {"type": "array", "items": choice},
                "usage": optional(reference("Usage")),
            }),
        )
    }
}

fn completions() -> Value {
    let chat = Completion { prefix: "chatcmpl", object: "chat.completion", has_usage: true };
    let text = Completion { prefix: "cmpl", object: "text_completion", has_usage: true };
    json!({
        "ChatCompletion": chat.of(given(&["index", "message", "logprobs", "finish_reason"], json!({
            "index": count(),
            "message": reference("Answer"),
            "logprobs": optional(reference("Logprobs")),
            "finish_reason": one_of(&FINISH_REASONS),
        }))),
        "Answer": given(&["role", "content", "refusal"], json!({
            "role": {"const": "assistant"},
            "content": {"type": ["string", "null"], "description": "null only where tools are called without text."},
            "refusal": {"type": "null"},
            "reasoning_content": {"type": "string", "minLength": 1, "description": "What the model thought."},
            "tool_calls": {"type": "array", "minItems": 1, "items": given(&["id", "type", "function"], json!({
                "id": string(),
                "type": {"const": "function"},
                "function": given(&["name", "arguments"], json!({"name": string(), "arguments": string()})),
            }))},
        })),
        "Completion": text.of(given(&["index", "text", "logprobs", "finish_reason"], json!({
            "index": count(),
            "text": string(),
            "logprobs": optional(reference("TextLogprobs")),
            "finish_reason": one_of(&FINISH_REASONS),
        }))),
    })
}

fn chunks() -> Value {
    let chat = Completion { prefix: "chatcmpl", object: "chat.completion.chunk", has_usage: false };
    let text = Completion { prefix: "cmpl", object: "text_completion", has_usage: false };
    json!({
        "ChatCompletionChunk": chat.of(given(&["index", "delta", "logprobs", "finish_reason"], json!({
            "index": count(),
            "delta": reference("Delta"),
            "logprobs": optional(reference("Logprobs")),
            "finish_reason": optional(one_of(&FINISH_REASONS)),
        }))),
        "Delta": given(&[], json!({
            "role": {"const": "assistant"},
            "content": {"type": ["string", "null"]},
            "reasoning_content": string(),
            "tool_calls": {"type": "array", "minItems": 1, "maxItems": 1, "items": given(&["index", "function"], json!({
                "index": count(),
                "id": string(),
                "type": {"const": "function"},
                "function": given(&["arguments"], json!({"name": string(), "arguments": string()})),
            }))},
        })),
        "CompletionChunk": text.of(given(&["index", "text", "logprobs", "finish_reason"], json!({
            "index": count(),
            "text": string(),
            "logprobs": optional(reference("TextLogprobs")),
            "finish_reason": optional(one_of(&FINISH_REASONS)),
        }))),
    })
}

fn scores() -> Value {
    let token = json!({"token": string(), "logprob": logprob(), "bytes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}});
    let mut scored = token.clone();
    scored["top_logprobs"] = json!({
        "type": "array",
        "maxItems": 20,
        "items": given(&["token", "logprob", "bytes"], token),
    });
    json!({
        "Logprobs": given(&["content", "refusal"], json!({
            "content": {
                "type": "array",
                "minItems": 1,
                "items": given(&["token", "logprob", "bytes", "top_logprobs"], scored),
            },
            "refusal": {"type": "null"},
        })),
        "TextLogprobs": given(&["tokens", "token_logprobs", "top_logprobs", "text_offset"], json!({
            "tokens": {"type": "array", "items": string()},
            "token_logprobs": {"type": "array", "items": logprob()},
            "top_logprobs": {"type": "array", "items": {"type": "object", "minProperties": 1, "additionalProperties": logprob()}},
            "text_offset": {"type": "array", "items": count(), "description": "In Unicode characters of the answer."},
        })),
        "Usage": given(&["prompt_tokens", "completion_tokens", "total_tokens"], json!({
            "prompt_tokens": count(),
            "completion_tokens": count(),
            "total_tokens": count(),
            "prompt_tokens_details": given(&[], json!({"cached_tokens": count(), "cache_write_tokens": count()})),
            "completion_tokens_details": given(&["reasoning_tokens"], json!({"reasoning_tokens": count()})),
        })),
    })
}

fn others() -> Value {
    let packed = json!({"type": "string", "contentEncoding": "base64", "description": "32-bit floats, little-endian."});
    json!({
        "Embeddings": given(&["object", "data", "model", "usage"], json!({
            "object": {"const": "list"},
            "data": {"type": "array", "items": given(&["object", "index", "embedding"], json!({
                "object": {"const": "embedding"},
                "index": count(),
                "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, packed]},
            }))},
            "model": string(),
            "usage": optional(given(&["prompt_tokens", "total_tokens"], json!({
                "prompt_tokens": count(),
                "total_tokens": count(),
            }))),
        })),
        "TokenCount": given(&["count", "max_model_len"], json!({
            "count": count(),
            "max_model_len": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "How many tokens prompt and answer may have together; null: not known.",
            },
        })),
    })
}

fn models() -> Value {
    let abilities: Vec<String> = (1..).map_while(|number| Ability::try_from(number).ok()).map(word).collect();
    json!({
        "Model": given(&["id", "object", "created", "owned_by", "pointsman"], json!({
            "id": string(),
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": string(),
            "pointsman": given(&["abilities", "embeds_only"], json!({
                "abilities": {"type": "array", "items": {"type": "string", "enum": abilities}, "uniqueItems": true},
                "context_tokens": {"type": "integer", "minimum": 1, "description": "Left out where it is not known."},
                "embedding_dimensions": {"type": "integer", "minimum": 1},
                "embeds_only": boolean(),
            })),
        })),
        "ModelList": given(&["object", "data"], json!({
            "object": {"const": "list"},
            "data": {"type": "array", "items": reference("Model")},
        })),
    })
}

fn string() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn logprob() -> Value {
    json!({"type": "number", "minimum": -9999, "maximum": 0})
}
