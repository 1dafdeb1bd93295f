//! What is wrong with a policy has a path, and what is at that path has a place in the file.

use pointsman_policy::{compile, source};
use pointsman_proto::policy::v1::{self as proto, Policy};
use proptest::prelude::*;
use serde_json::Value;

use crate::random::policy;

/// One way to spoil a rule; the number chooses where.
type Spoil = fn(&mut proto::Rule);

const SPOILS: [Spoil; 14] = [
    |rule| rule.name.clear(),
    |rule| rule.when = "request.modle == \"a\"".into(),
    |rule| rule.when = "request.tools > 1 && request.tools < 1".into(),
    |rule| rule.targets.clear(),
    |rule| rule.targets[0].weight = Some(0),
    |rule| rule.targets.push(rule.targets[0].clone()),
    |rule| rule.sticky_by = "request.tools".into(),
    |rule| rule.fallbacks = vec![proto::Fallback { target: "a/b".into(), causes: vec![0] }],
    |rule| rule.static_answer = Some(proto::StaticAnswer::default()),
    |rule| rule.hedge = Some(proto::Hedge::default()),
    |rule| rule.max_attempts = Some(17),
    |rule| rule.max_attempts = Some(1),
    |rule| rule.allowed_zones.push(String::new()),
    |rule| rule.timeouts = Some(proto::Timeouts { idle_gap: Some(Default::default()), ..Default::default() }),
];

/// Finds a path in the JSON mapping. True if it is there; otherwise false, and what is nearest.
fn find<'v>(root: &'v Value, path: &str) -> (bool, &'v Value) {
    let mut here = root;
    for step in path.split(['.', '[']) {
        let next = match step.strip_suffix(']') {
            Some(index) => here.get(index.parse::<usize>().unwrap()),
            None => here.get(step).or_else(|| here.get(camel(step))),
        };
        let Some(next) = next else { return (false, here) };
        here = next;
    }
    (true, here)
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| format!("{name}{}{}", word[..1].to_uppercase(), &word[1..]))
}

fn written(policy: &Policy) -> String {
    let mut text = Vec::new();
    let mut to = serde_json::Serializer::pretty(&mut text);
    pointsman_proto::json::write("pointsman.policy.v1.Policy", policy, &mut to).unwrap();
    String::from_utf8(text).unwrap()
}

proptest! {
    #[test]
    fn every_problem_has_a_place_in_the_file(
        mut policy in policy(),
        spoils in prop::collection::vec((prop::sample::select(&SPOILS[..]), any::<prop::sample::Index>()), 1..4),
        budget in any::<bool>(),
    ) {
        let rules = &mut policy.virtual_models[0].rules;
        for (spoil, which) in spoils {
            let index = which.index(rules.len());
            if !rules[index].targets.is_empty() {
                spoil(&mut rules[index]);
            }
        }
        policy.retry_budget = budget.then_some(proto::Budget { ratio: Some(2.0), min_per_second: None });
        let Err(problems) = compile(&policy) else { return Ok(()) };
        let text = written(&policy);
        let root: Value = serde_json::from_str(&text).unwrap();
        let mistakes = source::load(&text).unwrap_err();
        prop_assert_eq!(mistakes.len(), problems.len());
        for problem in problems {
            let (is_there, value) = find(&root, &problem.path);
            // Only its last step may be missing: a field that is at its default, or not there.
            let parent = problem.path.rsplit_once('.').map_or("", |(parent, _)| parent);
            prop_assert!(is_there || parent.is_empty() || find(&root, parent).0, "{}", problem.path);
            let message = format!("{}: {}", problem.path, problem.message);
            let mut found = mistakes.iter().filter(|mistake| mistake.message == message);
            let first = serde_json::to_string(value).unwrap().chars().next();
            prop_assert!(found.any(|mistake| {
                let line = text.lines().nth(mistake.line as usize - 1).unwrap_or_default();
                let at = line.chars().nth(mistake.column as usize - 1);
                problem.offset.is_some() || at == first
            }), "{message}: not at {value}\n{mistakes:#?}\n{text}");
        }
    }

    #[test]
    fn a_mistake_of_form_makes_no_others(policy in policy()) {
        prop_assume!(compile(&policy).is_ok());
        let text = written(&policy);
        let mistakes = source::load(&text.replacen('{', "{\n  \"virtual_model\": [],", 1)).unwrap_err();
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        prop_assert_eq!(told, ["2:3: virtual_model: there is no such key; did you mean `virtual_models`?"], "{}", text);
    }
}
