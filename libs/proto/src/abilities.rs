//! Which abilities a request needs, and what to say when a target lacks one.

use tonic_types::FieldViolation;

use crate::inference::v1::response_format::Format;
use crate::inference::v1::tool_choice::{Choice, Mode};
use crate::inference::v1::{Ability, GenerateRequest, part};

/// A field, the ability that it needs, and whether a request sets it to more than its default.
struct Need {
    field: &'static str,
    ability: Ability,
    applies: fn(&GenerateRequest) -> bool,
}

const NEEDS: &[Need] = &[
    need("sampling.temperature", Ability::Sampling, |r| sampling(r, |s| s.temperature.is_some_and(|t| t > 0.0))),
    need("sampling.top_p", Ability::Sampling, |r| sampling(r, |s| s.top_p.is_some_and(|p| p < 1.0))),
    need("sampling.top_k", Ability::Sampling, |r| sampling(r, |s| s.top_k.is_some())),
    need("sampling.min_p", Ability::Sampling, |r| sampling(r, |s| s.min_p.is_some_and(|p| p > 0.0))),
    need("sampling.frequency_penalty", Ability::Penalties, |r| sampling(r, |s| differs(s.frequency_penalty, 0.0))),
    need("sampling.presence_penalty", Ability::Penalties, |r| sampling(r, |s| differs(s.presence_penalty, 0.0))),
    need("sampling.repetition_penalty", Ability::Penalties, |r| sampling(r, |s| differs(s.repetition_penalty, 1.0))),
    need("sampling.logit_bias", Ability::LogitBias, |r| sampling(r, |s| !s.logit_bias.is_empty())),
    need("seed", Ability::Seed, |r| r.seed.is_some()),
    need("stop", Ability::Stop, |r| !r.stop.is_empty()),
    need("logprobs", Ability::Logprobs, |r| r.logprobs.is_some()),
    need("choice_count", Ability::MultipleChoices, |r| r.choice_count.is_some_and(|count| count > 1)),
    need("tools", Ability::Tools, |r| !r.tools.is_empty()),
    need("tool_choice", Ability::Tools, requires_tools),
    need("messages.parts.tool_call", Ability::Tools, |r| has_part(r, |k| matches!(k, part::Kind::ToolCall(_)))),
    need("messages.parts.tool_result", Ability::Tools, |r| has_part(r, |k| matches!(k, part::Kind::ToolResult(_)))),
    need("messages.parts.image", Ability::Images, |r| has_part(r, |k| matches!(k, part::Kind::Image(_)))),
    need("messages.parts.reasoning", Ability::Reasoning, |r| has_part(r, |k| matches!(k, part::Kind::Reasoning(_)))),
    need("messages.parts.opaque", Ability::Opaque, |r| has_part(r, |k| matches!(k, part::Kind::Opaque(_)))),
    need("reasoning_effort", Ability::Reasoning, |r| r.reasoning_effort != 0),
    need("response_format.json_object", Ability::JsonObject, |r| format(r, |f| matches!(f, Format::JsonObject(_)))),
    need("response_format.json_schema", Ability::JsonSchema, |r| format(r, |f| matches!(f, Format::JsonSchema(_)))),
    need("response_format.regex", Ability::Regex, |r| format(r, |f| matches!(f, Format::Regex(_)))),
    need("response_format.lark_grammar", Ability::LarkGrammar, |r| format(r, |f| matches!(f, Format::LarkGrammar(_)))),
    need("session", Ability::Sessions, |r| r.session.is_some()),
];

const fn need(field: &'static str, ability: Ability, applies: fn(&GenerateRequest) -> bool) -> Need {
    Need { field, ability, applies }
}

/// Returns the abilities that the request needs, as bits by their number.
pub fn needed(request: &GenerateRequest) -> u64 {
    NEEDS.iter().filter(|need| (need.applies)(request)).fold(0, |bits, need| bits | bit(need.ability as i32))
}

/// Returns abilities as bits by their number. Those that this version does not know are left out.
pub fn bits(abilities: &[i32]) -> u64 {
    abilities.iter().fold(0, |bits, ability| bits | bit(*ability))
}

fn bit(ability: i32) -> u64 {
    u32::try_from(ability).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0)
}

/// Returns a violation for each field of the request that needs an ability beyond these.
pub fn lacking(request: &GenerateRequest, abilities: &[i32]) -> Vec<FieldViolation> {
    NEEDS
        .iter()
        .filter(|need| !abilities.contains(&need.ability.into()) && (need.applies)(request))
        .map(|need| FieldViolation::new(need.field, "is not supported by this model; leave it out or choose another"))
        .collect()
}

fn sampling(request: &GenerateRequest, test: impl FnOnce(&crate::inference::v1::Sampling) -> bool) -> bool {
    request.sampling.as_ref().is_some_and(test)
}

fn differs(value: Option<f64>, default: f64) -> bool {
    value.is_some_and(|value| (value - default).abs() > f64::EPSILON)
}

fn has_part(request: &GenerateRequest, test: impl Fn(&part::Kind) -> bool) -> bool {
    request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref()).any(test)
}

fn format(request: &GenerateRequest, test: impl FnOnce(&Format) -> bool) -> bool {
    request.response_format.as_ref().and_then(|wanted| wanted.format.as_ref()).is_some_and(test)
}

/// Automatic and no choice say nothing where there are no tools, and SDKs send them.
fn requires_tools(request: &GenerateRequest) -> bool {
    let choice = request.tool_choice.as_ref().and_then(|choice| choice.choice.as_ref());
    choice.is_some_and(|choice| match choice {
        Choice::ToolName(_) => true,
        Choice::Mode(mode) => *mode == i32::from(Mode::Required),
    })
}

#[cfg(test)]
mod tests {
    use super::{NEEDS, lacking};
    use crate::inference::v1::tool_choice::{Choice, Mode};
    use crate::inference::v1::{Ability, GenerateRequest, Sampling, ToolChoice};

    #[test]
    fn defaults_need_nothing() {
        let defaults = Sampling {
            temperature: Some(0.0),
            top_p: Some(1.0),
            frequency_penalty: Some(0.0),
            presence_penalty: Some(0.0),
            repetition_penalty: Some(1.0),
            ..Sampling::default()
        };
        let request = GenerateRequest {
            sampling: Some(defaults),
            choice_count: Some(1),
            tool_choice: Some(ToolChoice { choice: Some(Choice::Mode(Mode::None.into())), parallel: Some(true) }),
            ..GenerateRequest::default()
        };
        assert!(lacking(&request, &[]).is_empty(), "{:?}", lacking(&request, &[]));
    }

    #[test]
    fn what_is_lacking_is_named() {
        let request = GenerateRequest {
            sampling: Some(Sampling { temperature: Some(0.7), presence_penalty: Some(1.0), ..Sampling::default() }),
            seed: Some(0),
            ..GenerateRequest::default()
        };
        let fields = |abilities: &[Ability]| -> Vec<String> {
            let abilities: Vec<i32> = abilities.iter().map(|ability| i32::from(*ability)).collect();
            lacking(&request, &abilities).into_iter().map(|violation| violation.field).collect()
        };
        assert_eq!(fields(&[]), ["sampling.temperature", "sampling.presence_penalty", "seed"]);
        assert_eq!(fields(&[Ability::Sampling, Ability::Seed]), ["sampling.presence_penalty"]);
    }

    #[test]
    fn every_ability_is_needed_by_some_field() {
        for number in 1.. {
            let Ok(ability) = Ability::try_from(number) else { break };
            assert!(NEEDS.iter().any(|need| need.ability == ability), "{ability:?}");
        }
    }
}
