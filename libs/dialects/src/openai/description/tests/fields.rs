//! Every field that the parser knows is described, and no other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::json::object::Uncarried;
use crate::openai::chat::body::{
    ChatBody, FunctionBody, FunctionCallBody, ImageUrl, JsonSchemaBody, MessageBody, NamedToolChoice, PartBody,
    ResponseFormatBody, ToolBody, ToolCallBody, ToolChoiceFunction,
};
use crate::openai::chat::uncarried;
use crate::openai::description::description;
use crate::openai::embeddings::EmbeddingsBody;
use crate::openai::generation::StreamOptions;
use crate::openai::text::{self, TextBody};
use crate::openai::tokenize::{self, TokenizeBody};

/// Schemas, and what the parser reads in their place.
type Read = (&'static [&'static str], fn() -> Vec<&'static str>, &'static [Uncarried]);

const READ: &[Read] = &[
    (&["ChatCompletionRequest"], ChatBody::fields, uncarried::BODY),
    (&["CompletionRequest"], TextBody::fields, text::UNCARRIED),
    (&["EmbeddingsRequest"], EmbeddingsBody::fields, uncarried::NONE),
    (&["TokenizeChatRequest", "TokenizeTextRequest"], TokenizeBody::fields, tokenize::UNCARRIED),
    (&["StreamOptions"], StreamOptions::fields, uncarried::STREAM_OPTIONS),
    (&["SystemMessage", "UserMessage", "AssistantMessage", "ToolMessage"], MessageBody::fields, uncarried::MESSAGE),
    (&["TextPart", "ResultPart", "RefusalPart", "ImagePart"], PartBody::fields, uncarried::PART),
    (&["ImageUrl"], ImageUrl::fields, uncarried::NONE),
    (&["ToolCall"], ToolCallBody::fields, uncarried::TOOL_CALL),
    (&["FunctionCall"], FunctionCallBody::fields, uncarried::NONE),
    (&["Tool"], ToolBody::fields, uncarried::TOOL),
    (&["Function"], FunctionBody::fields, uncarried::NONE),
    (&["NamedToolChoice"], NamedToolChoice::fields, uncarried::NONE),
    (&["NamedFunction"], ToolChoiceFunction::fields, uncarried::NONE),
    (&["PlainFormat", "JsonSchemaFormat", "RegexFormat", "LarkFormat"], ResponseFormatBody::fields, uncarried::NONE),
    (&["NamedSchema"], JsonSchemaBody::fields, uncarried::NONE),
];

#[test]
fn each_object_has_the_fields_of_its_parser() {
    let description = description();
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let mut objects: BTreeSet<&str> = schemas
        .iter()
        .filter(|(_, schema)| schema["additionalProperties"] == json!({"type": "null"}))
        .map(|(name, _)| name.as_str())
        .collect();
    for (names, fields, uncarried) in READ {
        let known: BTreeSet<&str> = fields().into_iter().chain(uncarried.iter().map(Uncarried::name)).collect();
        for name in *names {
            let described = schemas[*name]["properties"].as_object().unwrap();
            assert_eq!(described.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{name}");
            assert!(objects.remove(name), "{name} takes what it does not know");
        }
    }
    assert_eq!(objects, BTreeSet::new(), "no parser is held to these");
}

#[test]
fn what_is_not_carried_is_taken_at_the_values_that_ask_for_nothing() {
    let description = description();
    for (names, _, uncarried) in READ {
        for (name, field) in names.iter().flat_map(|name| uncarried.iter().map(move |field| (name, field))) {
            let schema = &description["components"]["schemas"][*name]["properties"][field.name()];
            match field {
                Uncarried::Hint(_) => assert!(schema.get("enum").is_none(), "{name}"),
                Uncarried::Neutral(_, values) => {
                    assert_eq!(schema["enum"].as_array().map(Vec::len), Some(values.len() + 1), "{name}");
                    assert!(schema["enum"].as_array().unwrap().contains(&Value::Null), "{name}");
                }
            }
        }
    }
}
