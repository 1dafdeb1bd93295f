//! What is asked for: an answer, or embeddings.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use pointsman_proto::abilities;
use pointsman_proto::inference::v1::{
    DataClass, EmbedRequest, GenerateRequest, Message, Priority, TargetDescription, part,
};
use tonic_types::FieldViolation;

use super::parts;

/// One of the requests that are decided about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    Generate(&'a GenerateRequest),
    Embed(&'a EmbedRequest),
}

impl<'a> Asked<'a> {
    /// Returns the request for an answer; an empty one, where that is not what is asked for.
    pub(super) fn generation(self) -> &'a GenerateRequest {
        static NONE: LazyLock<GenerateRequest> = LazyLock::new(GenerateRequest::default);
        if let Self::Generate(request) = self { request } else { &NONE }
    }

    pub(super) fn model(self) -> &'a str {
        match self {
            Self::Generate(request) => &request.model,
            Self::Embed(request) => &request.model,
        }
    }

    pub(super) fn end_user(self) -> &'a str {
        match self {
            Self::Generate(request) => &request.end_user,
            Self::Embed(request) => &request.end_user,
        }
    }

    pub(super) fn labels(self) -> &'a BTreeMap<String, String> {
        match self {
            Self::Generate(request) => &request.labels,
            Self::Embed(request) => &request.labels,
        }
    }

    pub(super) fn data_class(self) -> DataClass {
        match self {
            Self::Generate(request) => request.data_class(),
            Self::Embed(request) => request.data_class(),
        }
    }

    pub(super) fn priority(self) -> Priority {
        match self {
            Self::Generate(request) => request.priority(),
            Self::Embed(request) => request.priority(),
        }
    }

    pub(super) fn needed(self) -> u64 {
        match self {
            Self::Generate(request) => abilities::needed_of_targets(request),
            Self::Embed(request) => abilities::needed_to_embed(request),
        }
    }

    pub(super) fn lacking(self, target: &TargetDescription) -> Vec<FieldViolation> {
        match self {
            Self::Generate(request) => {
                let mut lacking = abilities::lacking(request, target);
                lacking.retain(|violation| violation.field != "session");
                lacking
            }
            Self::Embed(request) => abilities::lacking_to_embed(request, target),
        }
    }

    /// Four bytes a token is what common tokenizers need for English and code; other scripts need fewer bytes
    /// a token. Pictures and opaque parts are left out: only their target knows what they cost.
    pub(super) fn estimate_prompt_tokens(self) -> u64 {
        let bytes = match self {
            Self::Generate(request) => said(parts(request)) + offered(request),
            Self::Embed(request) => request.inputs.iter().map(String::len).sum(),
        };
        bytes.div_ceil(4) as u64
    }
}

/// About how many tokens messages take.
pub fn estimate_tokens(messages: &[Message]) -> u64 {
    let kinds = messages.iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref());
    said(kinds).div_ceil(4) as u64
}

fn said<'a>(kinds: impl Iterator<Item = &'a part::Kind>) -> usize {
    let bytes = kinds.map(|kind| match kind {
        part::Kind::Text(text) => text.len(),
        part::Kind::ToolCall(call) => call.arguments_json.len(),
        part::Kind::ToolResult(result) => result.text.len(),
        part::Kind::Reasoning(reasoning) => reasoning.text.len(),
        part::Kind::Image(_) | part::Kind::Opaque(_) => 0,
    });
    bytes.sum()
}

fn offered(request: &GenerateRequest) -> usize {
    request.tools.iter().map(|tool| tool.description.len() + tool.parameters_json_schema.len()).sum()
}
