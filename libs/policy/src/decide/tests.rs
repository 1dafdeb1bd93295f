use std::time::SystemTime;

use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{GenerateRequest, TargetDescription};

use super::{Circumstances, decide};
use crate::source::load;
use crate::{Facts, Fleet};

/// A fleet of these models, each with its zone.
fn fleet(served: &[(&str, &str)], incomplete: bool) -> Fleet {
    let mut fleet = Fleet::new(1, incomplete);
    for (model, zone) in served {
        let target = format!("models/{model}/versions/1");
        fleet.add(&TargetDescription { target, ..TargetDescription::default() }, zone);
    }
    fleet
}

/// Compares why `chat` is refused by one rule with these fields, for a caller who allows these zones.
fn check(rule: &str, fleet: &Fleet, caller_zones: &[&str], reason: Reason, message: &str) {
    let policy = load(&format!("virtual_models: [{{name: chat, rules: [{{name: all, {rule}}}]}}]")).unwrap();
    let request = GenerateRequest { model: "chat".into(), ..GenerateRequest::default() };
    let caller_zones = caller_zones.iter().map(|zone| (*zone).into()).collect();
    let given = Circumstances { caller_zones, time: SystemTime::UNIX_EPOCH, seed: 7 };
    let refused = decide(&policy, fleet, &Facts::new(&request, "", ""), given).unwrap_err();
    assert_eq!((refused.reason(), refused.message()), (reason, message), "{rule}");
}

#[test]
fn targets_that_nobody_serves_are_named() {
    let none = Reason::NoInstanceReady;
    let served = [("one", "")];
    check(
        "targets: [{target: pipp}]",
        &fleet(&served, false),
        &[],
        none,
        "`chat` leads to `pipp`, which no instance serves: ask whoever owns the policy, or try again",
    );
    check(
        "targets: [{target: c}, {target: b}], fallbacks: [{target: a}, {target: b}]",
        &fleet(&served, false),
        &[],
        none,
        "`chat` leads to `a`, `b` and `c`, which no instance serves: ask whoever owns the policy, or try again",
    );
    check(
        "targets: [{target: a}, {target: b}]",
        &fleet(&served, true),
        &[],
        none,
        "`chat` leads to `a` and `b`, which no instance serves that was reached so far; try again",
    );
}

#[test]
fn a_wall_says_where_it_stands() {
    let wall = Reason::NoTargetAllowed;
    let fleet = fleet(&[("one", "west"), ("one", "north"), ("two", "east"), ("two", "west"), ("three", "")], false);
    let where_ = "`chat` has no instance where this request may run";
    let there = "there are instances in `east`, `north` and `west`";
    for (rule, caller, why) in [
        ("allowed_zones: [south]", &[][..], "it may run in `south`"),
        ("allowed_zones: [south, home, west]", &["south", "home"], "it may run in `home` and `south`"),
        ("max_attempts: 2", &["south"], "it may run in `south`"),
        (
            "allowed_zones: [south]",
            &["west"],
            "the policy allows `south` and whoever sent it `west`, which have no zone in common",
        ),
    ] {
        let rule = format!("targets: [{{target: one}}], fallbacks: [{{target: two}}, {{target: gone}}], {rule}");
        check(&rule, &fleet, caller, wall, &format!("{where_}: {why}; {there}"));
    }
    let rule = "targets: [{target: three}], allowed_zones: [south]";
    let message = format!("{where_}: it may run in `south`; there are instances in no named zone");
    check(rule, &fleet, &[], wall, &message);
}

#[test]
fn what_is_other_tenants_is_not_there() {
    let mut fleet = fleet(&[("free", "")], false);
    let (target, tenants) = ("models/owned/versions/1".to_owned(), vec!["acme".to_owned()]);
    fleet.add(&TargetDescription { target, tenants, ..TargetDescription::default() }, "");
    let policy = "virtual_models: [{name: one, rules: [{name: all, targets: [{target: owned}]}]}, \
                  {name: both, rules: [{name: all, targets: [{target: owned}], fallbacks: [{target: free}]}]}]";
    let policy = load(policy).unwrap();
    let ask = |model: &str, tenant: &str| {
        let request = GenerateRequest { model: model.into(), ..GenerateRequest::default() };
        let given = Circumstances { caller_zones: [].into(), time: SystemTime::UNIX_EPOCH, seed: 7 };
        let decision = decide(&policy, &fleet, &Facts::new(&request, tenant, ""), given);
        let steps = decision.map(|decision| decision.steps.iter().map(|step| step.target.name.to_string()).collect());
        steps.map_err(|error| (error.reason(), error.message().to_owned()))
    };
    let (owned, free) = ("models/owned/versions/1".to_owned(), "models/free/versions/1".to_owned());
    for name in ["owned", &owned, "one"] {
        assert_eq!(ask(name, "acme"), Ok(vec![owned.clone()]), "{name}");
    }
    let nobodys = ask("nobodys", "globex").unwrap_err();
    let refused = ask("owned", "globex").unwrap_err();
    assert_eq!(refused, (Reason::ModelNotFound, nobodys.1.replace("nobodys", "owned")), "as if it was not there");
    assert_eq!(ask("one", "globex").unwrap_err().0, Reason::NoTargetAllowed);
    assert_eq!(ask("both", "acme"), Ok(vec![owned, free.clone()]));
    assert_eq!(ask("both", "globex"), Ok(vec![free]));
}
