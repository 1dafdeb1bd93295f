//! The shapes of a Chat Completions body.

use std::borrow::Cow;

use serde::de::SeqAccess;

use crate::json::object::object;
use crate::json::{Given, RawObject, Shape};
use crate::openai::generation::Generation;

object! {
    /// The body itself.
    ChatBody {
        model: String,
        messages: Vec<Given<MessageBody<'de>>>,
        tools: Vec<Given<ToolBody<'de>>>,
        tool_choice: ToolChoiceBody<'de>,
        parallel_tool_calls: bool,
        response_format: ResponseFormatBody<'de>,
        max_tokens: u32,
        max_completion_tokens: u32,
        logprobs: bool,
        top_logprobs: u32,
        reasoning_effort: Cow<'de, str>,
        ..generation: Generation,
    }
}

object! {
    MessageBody {
        role: Cow<'de, str>,
        content: Content<'de>,
        name: String,
        refusal: String,
        reasoning_content: String,
        tool_calls: Vec<Given<ToolCallBody<'de>>>,
        tool_call_id: String,
    }
}

object! {
    /// One piece of a content that is an array.
    PartBody {
        kind = "type": Cow<'de, str>,
        text: String,
        refusal: String,
        image_url: Box<ImageUrl<'de>>,
    }

    const LIST: (usize, &'static str) = (512, "must be a string or an array of at most 512 parts");
}

object! {
    ImageUrl {
        url: Cow<'de, str>,
        detail: String,
    }
}

object! {
    ToolCallBody {
        id: String,
        kind = "type": Cow<'de, str>,
        function: FunctionCallBody<'de>,
    }

    const LIST: (usize, &'static str) = (128, "must be an array of at most 128 calls");
}

object! {
    FunctionCallBody {
        name: String,
        arguments: String,
    }
}

object! {
    ToolBody {
        kind = "type": Cow<'de, str>,
        function: FunctionBody<'de>,
    }
}

object! {
    FunctionBody {
        name: String,
        description: String,
        parameters: RawObject<'de>,
        strict: bool,
    }
}

object! {
    NamedToolChoice {
        kind = "type": Cow<'de, str>,
        function: ToolChoiceFunction<'de>,
    }
}

object! {
    ToolChoiceFunction {
        name: String,
    }
}

object! {
    ResponseFormatBody {
        kind = "type": Cow<'de, str>,
        json_schema: JsonSchemaBody<'de>,
        regex: String,
        lark_grammar: String,
    }
}

object! {
    JsonSchemaBody {
        name: String,
        description: String,
        schema: RawObject<'de>,
        strict: bool,
    }
}

/// What a message says: one text, or parts.
#[derive(Debug)]
pub(crate) enum Content<'de> {
    Text(String),
    Parts(Vec<Given<PartBody<'de>>>),
}

impl<'de> Shape<'de> for Content<'de> {
    const EXPECTED: &'static str = PartBody::LIST.1;

    fn of_text(text: Cow<'de, str>) -> Given<Self> {
        Given::Value(Self::Text(text.into_owned()))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Given<Self>, A::Error> {
        Ok(Vec::of_list(list)?.map(Self::Parts))
    }
}

/// A rule for choosing a tool, or the tool itself.
#[derive(Debug)]
pub(crate) enum ToolChoiceBody<'de> {
    Rule(Cow<'de, str>),
    Named(NamedToolChoice<'de>),
}

impl<'de> Shape<'de> for ToolChoiceBody<'de> {
    const EXPECTED: &'static str = "must be `none`, `auto`, `required` or an object that names a function";

    fn of_text(text: Cow<'de, str>) -> Given<Self> {
        Given::Value(Self::Rule(text))
    }

    fn of_object<A: serde::de::MapAccess<'de>>(object: A) -> Result<Given<Self>, A::Error> {
        Ok(NamedToolChoice::of_object(object)?.map(Self::Named))
    }
}
