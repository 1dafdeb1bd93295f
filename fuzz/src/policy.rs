use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use pointsman_errors::Reason;
use pointsman_policy::decide::Circumstances;
use pointsman_policy::{CompiledPolicy, Facts, Fleet, compile, decide, source};
use pointsman_proto::inference::v1::{Ability, GenerateRequest, TargetDescription, Tool};
use pointsman_proto::json;
use pointsman_proto::policy::v1::Policy;
use pointsman_types::TargetName;
use prost::Message;

use crate::contract::has_field;

const NAME: &str = "pointsman.policy.v1.Policy";

/// The text of a policy: what is wrong with it is told with places that the text has, in their order; what is right
/// decides, and the same every time.
pub fn policy_file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match (source::load(text), source::load(text)) {
        (Ok(policy), Ok(again)) => {
            assert!(policy.revision.len() == 12 && policy.revision == again.revision);
            check_decisions(&policy, &words(text));
        }
        (Err(mistakes), again) => {
            assert_eq!(again.err().as_ref(), Some(&mistakes));
            assert!((1..=100).contains(&mistakes.len()));
            for mistake in &mistakes {
                assert!(!mistake.message.is_empty());
                assert!(is_inside(text, (mistake.line, mistake.column)), "{mistake} is not in {text:?}");
            }
            assert!(mistakes.is_sorted_by_key(|mistake| (mistake.line, mistake.column)), "{mistakes:?}");
        }
        (one, other) => panic!("{one:?} and then {other:?}"),
    }
}

/// The message of a policy: what is wrong with it is told with fields that there are; what is right means the same when it
/// is written as JSON and loaded.
pub fn policy_message(data: &[u8]) {
    let Ok(policy) = Policy::decode(data) else { return };
    let compiled = match compile(&policy) {
        Ok(compiled) => compiled,
        Err(problems) => {
            assert!((1..=100).contains(&problems.len()));
            let descriptor = json::descriptor(NAME).expect("it is in the contract");
            for problem in &problems {
                assert!(has_field(&descriptor, &problem.path), "there is no {}", problem.path);
                assert!(!problem.message.is_empty());
            }
            return;
        }
    };
    let mut text = Vec::new();
    json::write(NAME, &policy, &mut serde_json::Serializer::new(&mut text)).expect("what compiles can be written");
    let text = printable(&String::from_utf8(text).expect("JSON is UTF-8"));
    if text.len() <= source::LIMIT {
        let loaded = source::load(&text).unwrap_or_else(|mistakes| panic!("{mistakes:?} in {text}"));
        assert_eq!(loaded.revision, compiled.revision, "{text}");
    }
    check_decisions(&compiled, &words(&text));
}

/// JSON whose every character YAML takes as it stands (YAML 1.2.2, 5.1): where the standard allows more inside quotes, the
/// reader of policies does not.
fn printable(json: &str) -> String {
    let is_printable = |sign: &char| !matches!(sign, '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    let written = json.chars().map(|sign| match is_printable(&sign) {
        true => sign.to_string(),
        false => format!("\\u{:04x}", u32::from(sign)),
    });
    written.collect()
}

/// Whether a text has this line and column, both from 1. The place behind the end is one.
pub(crate) fn is_inside(text: &str, (line, column): (u64, u64)) -> bool {
    let text = text.replace("\r\n", "\n");
    let line = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
    let written = line.and_then(|line| text.split(['\n', '\r']).nth(line));
    written.is_some_and(|written| (1..=written.chars().count() as u64 + 1).contains(&column))
}

/// What may be a name in a text.
fn words(text: &str) -> BTreeSet<&str> {
    let is_part = |sign: char| sign.is_ascii_alphanumeric() || "-_.:/".contains(sign);
    let words = text.split(|sign| !is_part(sign)).map(|word| word.trim_end_matches(':'));
    words.filter(|word| !word.is_empty()).take(64).collect()
}

/// Decides for every name of the policy, in a fleet that serves what the text may mean.
fn check_decisions(policy: &CompiledPolicy, words: &BTreeSet<&str>) {
    let fleet = fleet(words);
    let label = |word: &&str| ("tier".to_owned(), (*word).to_owned());
    for name in policy.virtual_models().take(8).chain(words.iter().copied().take(4)).chain([""]) {
        for (index, labels) in words.iter().map(label).take(6).enumerate() {
            let request = GenerateRequest {
                model: name.to_owned(),
                labels: [labels].into(),
                tools: vec![Tool::default(); index % 2],
                ..GenerateRequest::default()
            };
            check_decision(policy, &fleet, &request, index as u64);
        }
    }
}

fn fleet(words: &BTreeSet<&str>) -> Fleet {
    let mut fleet = Fleet::new(3, false);
    for (index, word) in words.iter().enumerate() {
        let target = match word.parse::<TargetName>() {
            Ok(target) => target.to_string(),
            Err(_) => format!("models/{word}/versions/1"),
        };
        let abilities = if index % 3 == 0 { vec![] } else { vec![i32::from(Ability::Tools)] };
        fleet.add(&TargetDescription { target, abilities, ..TargetDescription::default() }, ["", "north"][index % 2]);
    }
    fleet
}

fn check_decision(policy: &CompiledPolicy, fleet: &Fleet, request: &GenerateRequest, seed: u64) {
    let caller_zones: Arc<[Box<str>]> = if seed == 5 { ["north".into()].into() } else { [].into() };
    let given = Circumstances { caller_zones, time: SystemTime::UNIX_EPOCH, seed };
    let decided = decide(policy, fleet, &Facts::new(request, "acme", "key"), given.clone());
    let again = decide(policy, fleet, &Facts::new(request, "acme", "key"), given);
    assert_eq!(format!("{decided:?}"), format!("{again:?}"));
    match decided {
        Ok(decision) => {
            let names: BTreeSet<&str> = decision.steps.iter().map(|step| &*step.target.name).collect();
            assert_eq!(names.len(), decision.steps.len(), "a target is tried once");
            for step in &decision.steps {
                let mut zones = step.target.zones.iter();
                assert!(zones.any(|zone| decision.allows_zone(zone)), "{} is behind a wall", step.target.name);
            }
        }
        Err(error) => {
            let reasons = [
                Reason::ModelNotFound,
                Reason::NoRuleApplies,
                Reason::NoTargetAllowed,
                Reason::NoInstanceReady,
                Reason::UnsupportedField,
            ];
            assert!(reasons.contains(&error.reason()), "{error:?}");
        }
    }
}
