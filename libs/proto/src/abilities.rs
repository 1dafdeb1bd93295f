//! Which abilities a request needs, and what to say when a target lacks one.

use tonic_types::FieldViolation;

use crate::inference::v1::response_format::Format;
use crate::inference::v1::tool_choice::{Choice, Mode};
use crate::inference::v1::{Ability, EmbedRequest, GenerateRequest, TargetDescription, part};

/// A field, the ability that it needs, and whether a request sets it to more than its default.
struct Need<R> {
    field: &'static str,
    ability: Ability,
    applies: fn(&R) -> bool,
}

/// The bit of what a target can do unless it says otherwise: generate. No ability has this number.
const GENERATES: u64 = 1 << 63;

const NEEDS: &[Need<GenerateRequest>] = &[
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

const EMBED_NEEDS: &[Need<EmbedRequest>] = &[
    need("model", Ability::Embeddings, |_| true),
    need("dimensions", Ability::EmbeddingDimensions, |r| r.dimensions.is_some()),
];

const fn need<R>(field: &'static str, ability: Ability, applies: fn(&R) -> bool) -> Need<R> {
    Need { field, ability, applies }
}

/// Returns what the request needs of a target, as bits: compare with [`of`].
pub fn needed(request: &GenerateRequest) -> u64 {
    GENERATES | bits_of(NEEDS, request)
}

/// Returns what the request needs of a target, as bits: compare with [`of`].
pub fn needed_to_embed(request: &EmbedRequest) -> u64 {
    bits_of(EMBED_NEEDS, request)
}

/// Returns what a target can do, as bits. Abilities that this version does not know are left out.
pub fn of(description: &TargetDescription) -> u64 {
    let generates = if description.embeds_only { 0 } else { GENERATES };
    description.abilities.iter().fold(generates, |bits, ability| bits | bit(*ability))
}

/// Returns what a gateway needs of targets for a request: the same without sessions, which are its own affair.
pub fn needed_of_targets(request: &GenerateRequest) -> u64 {
    needed(request) & !bit(Ability::Sessions as i32)
}

fn bits_of<R>(needs: &[Need<R>], request: &R) -> u64 {
    needs.iter().filter(|need| (need.applies)(request)).fold(0, |bits, need| bits | bit(need.ability as i32))
}

fn bit(ability: i32) -> u64 {
    let number = u32::try_from(ability).ok().filter(|number| *number < GENERATES.trailing_zeros());
    number.map_or(0, |number| 1 << number)
}

/// Returns a violation for each field of the request that needs more than this target can do.
pub fn lacking(request: &GenerateRequest, target: &TargetDescription) -> Vec<FieldViolation> {
    if target.embeds_only {
        return vec![FieldViolation::new("model", "only embeds and cannot answer; choose another")];
    }
    let lacking = lacking_of(NEEDS, request, target);
    lacking
        .map(|field| FieldViolation::new(field, "is not supported by this model; leave it out or choose another"))
        .collect()
}

/// The same of a request to embed.
pub fn lacking_to_embed(request: &EmbedRequest, target: &TargetDescription) -> Vec<FieldViolation> {
    let told = |field| match field {
        "model" => "has no embeddings; choose another",
        _ => "is not supported by this model; leave it out or choose another",
    };
    // What else it lacks does not matter then.
    let lacking = lacking_of(EMBED_NEEDS, request, target);
    let violations: Vec<_> = lacking.map(|field| FieldViolation::new(field, told(field))).collect();
    let is_no_embedder = violations.first().is_some_and(|first| first.field == "model");
    violations.into_iter().take(if is_no_embedder { 1 } else { usize::MAX }).collect()
}

fn lacking_of<'a, R>(
    needs: &'a [Need<R>],
    request: &'a R,
    target: &'a TargetDescription,
) -> impl Iterator<Item = &'static str> + 'a {
    let lacks = |need: &&Need<R>| !target.abilities.contains(&need.ability.into()) && (need.applies)(request);
    needs.iter().filter(lacks).map(|need| need.field)
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
    use super::{EMBED_NEEDS, NEEDS, lacking, lacking_to_embed, needed, needed_to_embed, of};
    use crate::inference::v1::tool_choice::{Choice, Mode};
    use crate::inference::v1::{Ability, EmbedRequest, GenerateRequest, Sampling, TargetDescription, ToolChoice};

    fn able(abilities: &[Ability]) -> TargetDescription {
        let abilities = abilities.iter().map(|ability| i32::from(*ability)).collect();
        TargetDescription { abilities, ..TargetDescription::default() }
    }

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
        let plain = TargetDescription::default();
        assert!(lacking(&request, &plain).is_empty(), "{:?}", lacking(&request, &plain));
        assert_eq!(needed(&request) & !of(&plain), 0);
    }

    #[test]
    fn what_is_lacking_is_named() {
        let request = GenerateRequest {
            sampling: Some(Sampling { temperature: Some(0.7), presence_penalty: Some(1.0), ..Sampling::default() }),
            seed: Some(0),
            ..GenerateRequest::default()
        };
        let fields = |abilities: &[Ability]| -> Vec<String> {
            lacking(&request, &able(abilities)).into_iter().map(|violation| violation.field).collect()
        };
        assert_eq!(fields(&[]), ["sampling.temperature", "sampling.presence_penalty", "seed"]);
        assert_eq!(fields(&[Ability::Sampling, Ability::Seed]), ["sampling.presence_penalty"]);
    }

    #[test]
    fn every_ability_is_needed_by_some_field() {
        for number in 1.. {
            let Ok(ability) = Ability::try_from(number) else { break };
            let needs = NEEDS.iter().map(|need| need.ability).chain(EMBED_NEEDS.iter().map(|need| need.ability));
            assert!(needs.into_iter().any(|needed| needed == ability), "{ability:?}");
        }
    }

    #[test]
    fn who_only_embeds_cannot_answer_and_who_says_nothing_can() {
        let fields = |violations: Vec<tonic_types::FieldViolation>| -> Vec<String> {
            violations.into_iter().map(|violation| violation.field).collect()
        };
        let generate = GenerateRequest { seed: Some(1), ..GenerateRequest::default() };
        let embed = EmbedRequest { dimensions: Some(3), ..EmbedRequest::default() };
        let only = TargetDescription { embeds_only: true, ..able(&[Ability::Embeddings]) };
        assert_eq!(fields(lacking(&generate, &only)), ["model"]);
        assert_eq!(fields(lacking_to_embed(&embed, &only)), ["dimensions"]);
        assert_eq!(fields(lacking_to_embed(&embed, &TargetDescription::default())), ["model"]);
        let able = able(&[Ability::Embeddings, Ability::EmbeddingDimensions]);
        assert_eq!(fields(lacking_to_embed(&embed, &able)), Vec::<String>::new());
        for (needs, can, fits) in [
            (needed(&GenerateRequest::default()), &only, false),
            (needed(&GenerateRequest::default()), &TargetDescription::default(), true),
            (needed_to_embed(&embed), &only, false),
            (needed_to_embed(&EmbedRequest::default()), &only, true),
            (needed_to_embed(&embed), &able, true),
        ] {
            assert_eq!(needs & !of(can) == 0, fits, "{can:?}");
        }
        // A number of a newer version is none of ours.
        let newer =
            TargetDescription { embeds_only: true, abilities: vec![63, 64, -1], ..TargetDescription::default() };
        assert_eq!(of(&newer), 0);
    }
}
