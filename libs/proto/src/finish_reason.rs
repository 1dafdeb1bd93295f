//! Why a model stopped, as telemetry writes it.

use crate::inference::v1::FinishReason;

/// Returns the name of a reason, such as `stop`: that of the contract, in lower case.
pub fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Unspecified => "unspecified",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use super::{FinishReason, name};

    #[test]
    fn names_are_those_of_the_contract() {
        for reason in (0..).map_while(|number| FinishReason::try_from(number).ok()) {
            let contract = reason.as_str_name().trim_start_matches("FINISH_REASON_");
            assert_eq!(name(reason), contract.to_ascii_lowercase());
        }
    }
}
