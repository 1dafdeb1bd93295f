use std::time::Duration;

use pointsman_proto::policy::v1::{
    Budget, Fallback, Hedge, Policy, Rule, StaticAnswer, Timeouts, VirtualModel, WeightedTarget,
};

use super::{Problem, compile};

fn target(name: &str) -> WeightedTarget {
    WeightedTarget { target: name.into(), weight: None }
}

fn fallback(name: &str) -> Fallback {
    Fallback { target: name.into(), causes: Vec::new() }
}

fn rule(name: &str) -> Rule {
    Rule { name: name.into(), targets: vec![target("a")], ..Rule::default() }
}

fn policy() -> Policy {
    let chat = VirtualModel { name: "chat".into(), rules: vec![rule("one")] };
    Policy { virtual_models: vec![chat], ..Policy::default() }
}

fn millis(millis: u64) -> Option<prost_types::Duration> {
    Duration::from_millis(millis).try_into().ok()
}

/// Changes the rule of a policy, or its virtual models, and compares the paths of what is wrong then.
fn check(expected: &[&str], change: impl FnOnce(&mut Policy)) {
    let mut policy = policy();
    change(&mut policy);
    let problems = compile(&policy).err().unwrap_or_default();
    let paths: Vec<&str> = problems.iter().map(|problem: &Problem| problem.path.as_str()).collect();
    assert_eq!(paths, expected, "{problems:#?}");
}

fn check_rule(expected: &str, change: impl FnOnce(&mut Rule)) {
    let path = format!("virtual_models[0].rules[0].{expected}");
    let expected: &[&str] = if expected.is_empty() { &[] } else { &[&path] };
    check(expected, |policy| change(&mut policy.virtual_models[0].rules[0]));
}

#[test]
fn names_have_their_limits() {
    let long = "a".repeat(63);
    for name in ["a", "A-b_c.d:9", &long] {
        check(&[], |policy| policy.virtual_models[0].name = name.into());
        check_rule("", |rule| rule.name = name.into());
        check_rule("", |rule| rule.targets = vec![target(name)]);
    }
    for name in ["", "a b", "é", "a/b", &"a".repeat(64)] {
        check(&["virtual_models[0].name"], |policy| policy.virtual_models[0].name = name.into());
        check_rule("name", |rule| rule.name = name.into());
        check_rule("targets[0].target", |rule| rule.targets = vec![target(name)]);
        check_rule("fallbacks[0].target", |rule| rule.fallbacks = vec![fallback(name)]);
    }
    check_rule("", |rule| rule.targets = vec![target("models/a/versions/1")]);
    for name in ["models/a", "models/a/versions/", "models//versions/1", "models/a/versions/1/"] {
        check_rule("targets[0].target", |rule| rule.targets = vec![target(name)]);
    }
}

#[test]
fn lists_have_their_limits() {
    let numbered = |count: usize| (0..count).map(|number| format!("t{number}"));
    for (count, path) in [(0, "targets"), (1, ""), (16, ""), (17, "targets")] {
        check_rule(path, |rule| rule.targets = numbered(count).map(|name| target(&name)).collect());
    }
    for (count, path) in [(0, ""), (16, ""), (17, "fallbacks")] {
        check_rule(path, |rule| rule.fallbacks = numbered(count).map(|name| fallback(&name)).collect());
    }
    for (count, expected) in [(0, Some("virtual_models[0].rules")), (64, None), (65, Some("virtual_models[0].rules"))] {
        let when = |number| format!("labels.n == \"{number}\"");
        let rules = (0..count).map(|number| Rule { when: when(number), ..rule(&format!("r{number}")) }).collect();
        check(expected.as_slice(), |policy| policy.virtual_models[0].rules = rules);
    }
    for (count, expected) in [(1024, None), (1025, Some("virtual_models"))] {
        let models = (0..count).map(|number| VirtualModel { name: format!("m{number}"), rules: vec![rule("one")] });
        check(expected.as_slice(), |policy| policy.virtual_models = models.collect());
    }
}

#[test]
fn nothing_is_there_twice() {
    check(&["virtual_models[1].name"], |policy| policy.virtual_models.extend(policy.virtual_models.clone()));
    check_rule("targets[1].target", |rule| rule.targets.push(target("a")));
    check_rule("fallbacks[1].target", |rule| rule.fallbacks = vec![fallback("b"), fallback("b")]);
    check_rule("fallbacks[0].target", |rule| rule.fallbacks = vec![fallback("a")]);
    check_rule("", |rule| {
        rule.targets.push(target("b"));
        rule.fallbacks = vec![fallback("a")];
    });
    check(&["virtual_models[0].rules[1].name"], |policy| {
        let rules = &mut policy.virtual_models[0].rules;
        rules[0].when = "labels.n == \"1\"".into();
        rules.push(rule("one"));
    });
}

#[test]
fn numbers_have_their_limits() {
    for (weight, path) in [(0, "targets[0].weight"), (1, ""), (1_000_000, ""), (1_000_001, "targets[0].weight")] {
        check_rule(path, |rule| rule.targets[0].weight = Some(weight));
    }
    for (attempts, path) in [(0, "max_attempts"), (1, ""), (16, ""), (17, "max_attempts")] {
        check_rule(path, |rule| rule.max_attempts = Some(attempts));
    }
    for (bytes, path) in [(0, "static_answer.text"), (1, ""), (16 << 10, ""), ((16 << 10) + 1, "static_answer.text")] {
        let text = "x".repeat(bytes);
        check_rule(path, |rule| rule.static_answer = Some(StaticAnswer { text, causes: Vec::new() }));
    }
    for (ratio, wrong) in [(0.0, false), (1.0, false), (-0.1, true), (1.1, true), (f64::NAN, true)] {
        let budget = Some(Budget { ratio: Some(ratio), min_per_second: Some(0) });
        let paths: &[&str] = if wrong { &["retry_budget.ratio", "hedge_budget.ratio"] } else { &[] };
        check(paths, |policy| (policy.retry_budget, policy.hedge_budget) = (budget, budget));
    }
    let budget = |min_per_second| Some(Budget { ratio: None, min_per_second: Some(min_per_second) });
    check(&[], |policy| policy.hedge_budget = budget(1000));
    check(&["hedge_budget.min_per_second"], |policy| policy.hedge_budget = budget(1001));
}

#[test]
fn times_have_their_limits() {
    for (after, path) in [(0, "hedge.after"), (1, ""), (600_000, ""), (600_001, "hedge.after")] {
        check_rule(path, |rule| {
            rule.hedge = Some(Hedge { after: millis(after) });
            let (first_token, total) = (millis(3_600_000), millis(3_600_000));
            rule.timeouts = Some(Timeouts { first_token, total, ..Timeouts::default() });
        });
    }
    check_rule("hedge.after", |rule| rule.hedge = Some(Hedge { after: None }));
    for (seconds, nanos) in [(-1, 0), (1, -1), (1, 1_000_000_000)] {
        let connect = Some(prost_types::Duration { seconds, nanos });
        check_rule("timeouts.connect", |rule| rule.timeouts = Some(Timeouts { connect, ..Timeouts::default() }));
    }
    for (time, wrong) in [(0, true), (1, false), (3_600_000, false), (3_600_001, true)] {
        let path = |name| if wrong { format!("timeouts.{name}") } else { String::new() };
        let some = Timeouts::default();
        let timeouts = [
            (
                "connect",
                Timeouts { connect: millis(time), first_token: millis(3_600_000), total: millis(3_600_000), ..some },
            ),
            ("first_token", Timeouts { first_token: millis(time), total: millis(3_600_000), ..some }),
            ("idle_gap", Timeouts { idle_gap: millis(time), total: millis(3_600_000), ..some }),
            ("total", Timeouts { total: millis(time), ..some }),
        ];
        for (name, timeouts) in timeouts {
            check_rule(&path(name), |rule| rule.timeouts = Some(timeouts));
        }
    }
}

#[test]
fn what_can_never_happen_is_refused() {
    check_rule("fallbacks", |rule| (rule.max_attempts, rule.fallbacks) = (Some(1), vec![fallback("b")]));
    check_rule("hedge.after", |rule| rule.hedge = Some(Hedge { after: millis(60_000) }));
    check_rule("hedge", |rule| (rule.max_attempts, rule.hedge) = (Some(1), Some(Hedge { after: millis(5) })));
    check_rule("hedge.after", |rule| {
        rule.hedge = Some(Hedge { after: millis(5000) });
        rule.timeouts = Some(Timeouts { total: millis(4000), ..Timeouts::default() });
    });
    let (none, long, short) = (Timeouts::default(), millis(2000), millis(1000));
    for (path, timeouts) in [
        ("timeouts.connect", Timeouts { connect: long, first_token: short, ..none }),
        ("timeouts.connect", Timeouts { connect: long, total: short, ..none }),
        ("timeouts.first_token", Timeouts { first_token: long, total: short, ..none }),
        ("timeouts.idle_gap", Timeouts { idle_gap: long, total: short, ..none }),
        ("", Timeouts { connect: short, first_token: short, idle_gap: short, total: short }),
        ("", Timeouts { first_token: short, total: short, ..none }),
    ] {
        check_rule(path, |rule| rule.timeouts = Some(timeouts));
    }
    check(&["virtual_models_only"], |policy| {
        policy.virtual_models_only = true;
        policy.virtual_models.clear();
    });
    for when in ["false", "request.tools < 0 && true", "labels.a == \"x\" && labels.a == \"y\""] {
        let problems = compile(&{
            let mut policy = policy();
            policy.virtual_models[0].rules[0].when = when.into();
            policy
        });
        assert!(problems.is_err(), "{when}");
    }
    for (when, message) in [
        ("request.choices == 0", "no request can meet this condition; `request.choices` is 1 to 128"),
        (
            "request.model == \"other\"",
            "no request can meet this condition: `request.model` is the name that the caller asked for, here always `chat`",
        ),
    ] {
        let mut policy = policy();
        policy.virtual_models[0].rules[0].when = when.into();
        let problems = compile(&policy).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!((&*problem.path, &*problem.message), ("virtual_models[0].rules[0].when", message));
    }
    check(&["virtual_models[0].rules[1].when"], |policy| policy.virtual_models[0].rules.push(rule("two")));
    check(&["virtual_models[0].rules[2].when"], |policy| {
        let rules = &mut policy.virtual_models[0].rules;
        rules[0].when = "request.tools > 0".into();
        rules.push(Rule { when: "request.tools == 0".into(), ..rule("two") });
        rules.push(rule("three"));
    });
}

#[test]
fn the_rest_of_a_rule_is_checked() {
    check_rule("allowed_zones[1]", |rule| rule.allowed_zones = vec!["north".into(), String::new()]);
    check_rule("allowed_zones[2]", |rule| rule.allowed_zones = ["north", "south", "north"].map(Into::into).into());
    check_rule("fallbacks[0].causes[1]", |rule| {
        rule.fallbacks = vec![Fallback { target: "b".into(), causes: vec![1, 1] }];
    });
    check_rule("static_answer.causes[2]", |rule| {
        rule.static_answer = Some(StaticAnswer { text: "Sorry.".into(), causes: vec![1, 2, 1] });
    });
    check_rule("sticky_by", |rule| rule.sticky_by = "request.tools".into());
    check_rule("sticky_by", |rule| rule.sticky_by = "labels".into());
    check_rule("when", |rule| rule.when = "request.modle == \"a\"".into());
    check_rule("fallbacks[0].causes", |rule| {
        rule.fallbacks = vec![Fallback { target: "b".into(), causes: vec![1, 0] }];
    });
    check_rule("static_answer.causes", |rule| {
        rule.static_answer = Some(StaticAnswer { text: "Sorry.".into(), causes: vec![99] });
    });
}

#[test]
fn problems_are_counted_and_revisions_differ() {
    let mut wrong = policy();
    wrong.virtual_models = vec![VirtualModel::default(); 1000];
    assert_eq!(compile(&wrong).unwrap_err().len(), 100);
    let mut other = policy();
    other.virtual_models[0].rules[0].max_attempts = Some(4);
    let revision = |policy: &Policy| compile(policy).unwrap().revision;
    assert_eq!(revision(&policy()), revision(&policy()));
    assert_ne!(revision(&policy()), revision(&other));
    assert_eq!(revision(&policy()).len(), 12);
}
