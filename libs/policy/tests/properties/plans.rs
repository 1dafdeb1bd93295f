//! Decisions against an oracle that walks the messages as they are written.

use pointsman_errors::Reason;
use pointsman_policy::pick::{Candidate, Load, Out, Prefix, State, Wish, instance_hash, pick};
use pointsman_policy::{Causes, Decision};
use pointsman_proto::abilities;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_proto::policy::v1::{Cause, Rule};
use proptest::prelude::*;
use proptest::sample::select;

use crate::random::{Served, ZONES, compiled, decided, fleet, given, policy, request, served, zones};

/// What decides whether a target may be in a plan.
struct Case<'a> {
    served: &'a Served,
    rule: &'a Rule,
    request: &'a GenerateRequest,
    caller_zones: &'a [String],
}

impl Case<'_> {
    /// The target that a name means: a resource name itself, a model's the first of that model.
    fn target(&self, name: &str) -> Option<&str> {
        let of_model = format!("models/{name}/versions/");
        let mut targets = self.served.iter().map(|(description, _)| description.target.as_str());
        targets.find(|target| *target == name || target.starts_with(&of_model))
    }

    fn allows(&self, zone: &str) -> bool {
        let has = |zones: &[String]| zones.is_empty() || zones.iter().any(|allowed| allowed == zone);
        has(&self.rule.allowed_zones) && has(self.caller_zones)
    }

    /// The target that a name means, if the request can and may go to it.
    fn admitted(&self, name: &str) -> Option<&str> {
        let target = self.target(name)?;
        let mut instances = self.served.iter().filter(|(description, _)| description.target == target);
        let described = &instances.clone().next()?.0;
        let can = abilities::needed(self.request) & !abilities::of(described) == 0;
        (can && instances.any(|(_, zone)| self.allows(zone))).then_some(target)
    }

    /// Those of the split that may be first.
    fn first(&self) -> Vec<&str> {
        self.rule.targets.iter().filter_map(|weighted| self.admitted(&weighted.target)).collect()
    }

    /// The fallbacks that follow a first target, with their causes.
    fn next<'a>(&'a self, first: Option<&'a str>) -> Vec<(&'a str, Causes)> {
        let mut steps: Vec<(&str, Causes)> = first.map(|first| (first, Causes::default())).into_iter().collect();
        for fallback in &self.rule.fallbacks {
            let causes = match fallback.causes.is_empty() {
                true => Causes::CAPACITY,
                false => fallback.causes().collect(),
            };
            let follows = first.is_some() || !steps.is_empty() || causes.contains(Cause::Unavailable);
            let Some(target) = self.admitted(&fallback.target).filter(|_| follows) else { continue };
            if !steps.iter().any(|(before, _)| *before == target) {
                steps.push((target, causes));
            }
        }
        steps
    }
}

/// An instance of any target: zone, state, tokens, slots.
type Instance = (&'static str, State, u64, u32);

fn instances() -> impl Strategy<Value = Vec<Instance>> {
    let state = prop_oneof![
        4 => Just(State::Ready),
        1 => select(vec![State::NotReady, State::Cooling, State::Broken, State::Reserved, State::Tried]),
    ];
    prop::collection::vec((select(&ZONES[..]), state, 0..10_000_u64, 0..8_u32), 0..8)
}

/// Picks, and checks that zone and state allow it; that none is picked only if none may be.
fn check_pick(decision: &Decision, case: &Case<'_>, instances: &[Instance], seed: u64) -> Result<(), TestCaseError> {
    let names: Vec<String> = (0..instances.len()).map(|index| format!("i{index}")).collect();
    let candidate = |(name, (zone, state, tokens, slots)): (&String, &Instance)| Candidate {
        hash: instance_hash(name),
        zone,
        state: *state,
        load: Load { tokens: *tokens, slots: *slots },
    };
    let candidates: Vec<Candidate<'_>> = names.iter().zip(instances).map(candidate).collect();
    let wish = Wish { decision, home_zone: ZONES[0], prefix: Prefix::of(case.request, "acme"), seed };
    let picked = pick(&wish, &candidates);
    prop_assert_eq!(picked, pick(&wish, &candidates), "the same arguments give the same instance");
    let may = |(zone, state, ..): &Instance| *state == State::Ready && case.allows(zone);
    match picked {
        Ok(picked) => prop_assert!(may(&instances[picked.index])),
        Err(none) => {
            prop_assert!(!instances.iter().any(may));
            let why = [Out::Zone, Out::NotReady, Out::Broken, Out::Cooling, Out::Reserved, Out::Tried];
            prop_assert_eq!(why.iter().map(|why| none.count(*why)).sum::<u32>() as usize, instances.len());
            let walled = instances.iter().filter(|(zone, ..)| !case.allows(zone)).count();
            prop_assert_eq!(none.count(Out::Zone) as usize, walled, "the wall comes first");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_plan_is_what_the_policy_says(
        served in served(),
        policy in policy(),
        request in request(),
        caller_zones in zones(),
        instances in instances(),
        seed in any::<u64>(),
    ) {
        let (compiled, fleet) = (compiled(&policy), fleet(&served));
        let given = given(&caller_zones, seed);
        let decision = decided(&compiled, &fleet, &request, given.clone());
        let rules = &policy.virtual_models[0].rules;
        let rule = &rules[request.labels["rule"].parse::<usize>().unwrap().min(rules.len() - 1)];
        let case = Case { served: &served, rule, request: &request, caller_zones: &caller_zones };
        let first = case.first();
        let Ok(decision) = decision else {
            let expected = case.next(None);
            prop_assert!(first.is_empty() && expected.is_empty(), "{first:?} {expected:?}");
            let reasons = [Reason::UnsupportedField, Reason::NoTargetAllowed, Reason::NoInstanceReady];
            prop_assert!(reasons.contains(&decision.unwrap_err().reason()));
            return Ok(());
        };
        prop_assert_eq!(&*decision.rule.name, &rule.name);
        let steps: Vec<(&str, Causes)> =
            decision.steps.iter().map(|step| (&*step.target.name, step.causes)).collect();
        if first.is_empty() {
            prop_assert_eq!(&steps, &case.next(None));
        } else {
            prop_assert!(first.contains(&steps[0].0));
            prop_assert_eq!(&steps, &case.next(Some(steps[0].0)));
        }
        if steps.is_empty() {
            prop_assert!(rule.static_answer.is_some());
            let names = rule.targets.iter().map(|target| &target.target);
            let after_unavailable = rule.fallbacks.iter().filter(|fallback| {
                fallback.causes.is_empty() || fallback.causes().any(|cause| cause == Cause::Unavailable)
            });
            let mut names = names.chain(after_unavailable.map(|fallback| &fallback.target));
            prop_assert!(names.all(|name| case.target(name).is_none()), "a wall is not answered by a text");
        }
        let again = decided(&compiled, &fleet, &request, given).unwrap();
        prop_assert_eq!(format!("{decision:?}"), format!("{again:?}"), "the same arguments give the same decision");
        check_pick(&decision, &case, &instances, seed)?;
    }

    #[test]
    fn where_rule_and_caller_share_no_zone_nothing_is_picked(instances in instances(), seed in any::<u64>()) {
        let mut policy = crate::random::split(&[("a".into(), 1)], "");
        policy.virtual_models[0].rules[0].allowed_zones = vec!["north".into()];
        let served: Served = ZONES.into_iter().map(|zone| {
            let target = "models/a/versions/1".into();
            (pointsman_proto::inference::v1::TargetDescription { target, ..Default::default() }, zone)
        }).collect();
        let request = GenerateRequest { model: "chat".into(), ..GenerateRequest::default() };
        let (compiled, fleet) = (compiled(&policy), fleet(&served));
        let refused = decided(&compiled, &fleet, &request, given(&["south".into()], seed)).unwrap_err();
        prop_assert_eq!(refused.reason(), Reason::NoTargetAllowed);
        // An instance that moved to another zone since the decision.
        let decision = decided(&compiled, &fleet, &request, given(&[], seed)).unwrap();
        let case =
            Case { served: &served, rule: &policy.virtual_models[0].rules[0], request: &request, caller_zones: &[] };
        check_pick(&decision, &case, &instances, seed)?;
    }
}
