//! Random policies, fleets and requests, made from the contract's messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use pointsman_errors::Error;
use pointsman_policy::decide::Circumstances;
use pointsman_policy::{Cause, CompiledPolicy, Decision, Facts, Fleet, compile, decide};
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{
    Ability, GenerateRequest, JsonObjectFormat, ResponseFormat, TargetDescription, Tool,
};
use pointsman_proto::policy::v1 as proto;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub(crate) const ZONES: [&str; 3] = ["north", "south", "west"];
/// Resource names and models' names, which may mean the same.
const NAMES: [&str; 7] =
    ["models/a/versions/1", "models/a/versions/2", "models/b/versions/1", "models/c/versions/1", "a", "b", "d"];
const ABILITIES: [Ability; 4] = [Ability::Tools, Ability::Stop, Ability::Seed, Ability::JsonObject];

/// What the instances serve, in the order in which they were asked.
pub(crate) type Served = Vec<(TargetDescription, &'static str)>;

pub(crate) fn fleet(served: &Served) -> Fleet {
    let mut fleet = Fleet::new(7, false);
    for (description, zone) in served {
        fleet.add(description, zone);
    }
    fleet
}

pub(crate) fn served() -> impl Strategy<Value = Served> {
    let abilities = prop_oneof![
        2 => Just(ABILITIES.to_vec()),
        1 => subsequence(ABILITIES.to_vec(), 0..=ABILITIES.len()),
    ];
    let one = (select(&NAMES[..4]), select(&ZONES[..]), abilities).prop_map(|(target, zone, abilities)| {
        let abilities = abilities.into_iter().map(i32::from).collect();
        (TargetDescription { target: target.into(), abilities, ..TargetDescription::default() }, zone)
    });
    prop::collection::vec(one, 0..10)
}

fn causes() -> impl Strategy<Value = Vec<i32>> {
    let all = vec![
        Cause::Unavailable.into(),
        Cause::Saturated.into(),
        Cause::RateLimited.into(),
        Cause::ContextTooLong.into(),
        Cause::ContentRefused.into(),
    ];
    prop_oneof![2 => Just(Vec::new()), 1 => subsequence(all, 1..5)]
}

pub(crate) fn zones() -> impl Strategy<Value = Vec<String>> {
    let zones = ZONES.iter().map(|zone| zone.to_string()).collect::<Vec<_>>();
    prop_oneof![1 => Just(Vec::new()), 1 => subsequence(zones, 1..=2)]
}

fn rule() -> impl Strategy<Value = proto::Rule> {
    let targets = (subsequence(NAMES.to_vec(), 1..4), prop::collection::vec(prop::option::of(1_u32..100), 4));
    let fallbacks = (subsequence(NAMES.to_vec(), 0..4).prop_shuffle(), prop::collection::vec(causes(), 4));
    (targets, fallbacks, prop::option::of(causes()), zones(), 2_u32..6).prop_map(
        |((targets, weights), (fallbacks, causes), static_answer, allowed_zones, max_attempts)| {
            let only = (targets.len() == 1).then(|| targets[0]);
            let weighted =
                |(target, weight): (&str, Option<u32>)| proto::WeightedTarget { target: target.to_owned(), weight };
            proto::Rule {
                targets: targets.into_iter().zip(weights).map(weighted).collect(),
                fallbacks: fallbacks
                    .into_iter()
                    .zip(causes)
                    .filter(|(target, _)| Some(*target) != only)
                    .map(|(target, causes)| proto::Fallback { target: target.to_owned(), causes })
                    .collect(),
                static_answer: static_answer.map(|causes| proto::StaticAnswer { text: "Sorry.".into(), causes }),
                max_attempts: Some(max_attempts),
                allowed_zones,
                ..proto::Rule::default()
            }
        },
    )
}

/// Policies with one virtual model, `chat`, whose rules apply by the label `rule`; the last one always.
pub(crate) fn policy() -> impl Strategy<Value = proto::Policy> {
    prop::collection::vec(rule(), 1..4).prop_map(|mut rules| {
        let last = rules.len() - 1;
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("rule-{index}");
            rule.when = if index == last { String::new() } else { format!("labels.rule == \"{index}\"") };
        }
        let chat = proto::VirtualModel { name: "chat".into(), rules };
        proto::Policy { virtual_models: vec![chat], ..proto::Policy::default() }
    })
}

pub(crate) fn request() -> impl Strategy<Value = GenerateRequest> {
    (prop::collection::vec(prop::bool::weighted(0.3), 4), 0_usize..3).prop_map(|(needs, rule)| GenerateRequest {
        model: "chat".into(),
        labels: BTreeMap::from([("rule".to_owned(), rule.to_string())]),
        tools: vec![Tool::default(); usize::from(needs[0])],
        stop: vec!["stop".to_owned(); usize::from(needs[1])],
        seed: needs[2].then_some(7),
        response_format: needs[3]
            .then(|| ResponseFormat { format: Some(Format::JsonObject(JsonObjectFormat::default())) }),
        ..GenerateRequest::default()
    })
}

pub(crate) fn given(caller_zones: &[String], seed: u64) -> Circumstances {
    let caller_zones: Arc<[Box<str>]> = caller_zones.iter().map(|zone| zone.as_str().into()).collect();
    Circumstances { caller_zones, time: SystemTime::UNIX_EPOCH, seed }
}

/// Decides for a tenant of no importance.
pub(crate) fn decided(
    policy: &CompiledPolicy,
    fleet: &Fleet,
    request: &GenerateRequest,
    given: Circumstances,
) -> Result<Decision, Error> {
    decide(policy, fleet, &Facts::new(request, "acme", "key"), given)
}

pub(crate) fn compiled(policy: &proto::Policy) -> CompiledPolicy {
    compile(policy).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A policy that splits `chat` over these targets, by the caller's session.
pub(crate) fn split(targets: &[(String, u32)], sticky_by: &str) -> proto::Policy {
    let weighted =
        |(target, weight): &(String, u32)| proto::WeightedTarget { target: target.clone(), weight: Some(*weight) };
    let rule = proto::Rule {
        name: "split".into(),
        targets: targets.iter().map(weighted).collect(),
        sticky_by: sticky_by.into(),
        ..proto::Rule::default()
    };
    let model = |name: &str| proto::VirtualModel { name: name.into(), rules: vec![rule.clone()] };
    proto::Policy { virtual_models: vec![model("chat"), model("other")], ..proto::Policy::default() }
}

/// A fleet that serves these targets.
pub(crate) fn serving<'a>(targets: impl IntoIterator<Item = &'a String>) -> Fleet {
    let mut fleet = Fleet::new(1, false);
    for target in targets {
        fleet.add(&TargetDescription { target: target.clone(), ..TargetDescription::default() }, "");
    }
    fleet
}
