//! What conditions call the values of the contract's enums.

use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{DataClass, Priority, ReasoningEffort, ResponseFormat};

pub(super) fn data_class(class: DataClass) -> &'static str {
    match class {
        DataClass::Unspecified => "unspecified",
        DataClass::Public => "public",
        DataClass::Internal => "internal",
        DataClass::Confidential => "confidential",
        DataClass::Restricted => "restricted",
    }
}

pub(super) fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Bulk => "bulk",
        Priority::Unspecified | Priority::Default => "default",
        Priority::Interactive => "interactive",
        Priority::System => "system",
    }
}

pub(super) fn response_format(format: Option<&ResponseFormat>) -> &'static str {
    match format.and_then(|format| format.format.as_ref()) {
        None | Some(Format::Text(_)) => "text",
        Some(Format::JsonObject(_)) => "json_object",
        Some(Format::JsonSchema(_)) => "json_schema",
        Some(Format::Regex(_)) => "regex",
        Some(Format::LarkGrammar(_)) => "lark_grammar",
    }
}

pub(super) fn reasoning_effort(effort: ReasoningEffort) -> &'static str {
    match effort {
        ReasoningEffort::Unspecified => "unspecified",
        ReasoningEffort::None => "none",
        ReasoningEffort::Minimal => "minimal",
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
    }
}
