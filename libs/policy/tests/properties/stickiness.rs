//! Who shares the value of `sticky_by` stays together, and moves only where it must.

use std::collections::BTreeMap;

use pointsman_policy::{CompiledPolicy, Facts, Fleet, decide};
use pointsman_proto::inference::v1::GenerateRequest;
use proptest::prelude::*;

use crate::random::{compiled, given, serving, split};

const KEYS: usize = 400;

fn target(number: usize) -> String {
    format!("models/m{number}/versions/1")
}

fn targets(weights: &[u32]) -> Vec<(String, u32)> {
    weights.iter().enumerate().map(|(number, weight)| (target(number), *weight)).collect()
}

/// Who asks for what: tenant, virtual model, and the seed of the decision.
#[derive(Clone, Copy)]
struct Asker(&'static str, &'static str, u64);

const ACME: Asker = Asker("acme", "chat", 1);

/// The first target for each of [`KEYS`] users.
fn homes(policy: &CompiledPolicy, fleet: &Fleet, Asker(tenant, model, seed): Asker) -> Vec<String> {
    let home = |key: usize| {
        let labels = BTreeMap::from([("team".to_owned(), format!("team {key}"))]);
        let request = GenerateRequest { model: model.into(), labels, ..GenerateRequest::default() };
        let decision = decide(policy, fleet, &Facts::new(&request, tenant, "key"), given(&[], seed)).unwrap();
        decision.steps[0].target.name.to_string()
    };
    (0..KEYS).map(home).collect()
}

fn homes_of(targets: &[(String, u32)], asker: Asker) -> Vec<String> {
    let fleet = serving(targets.iter().map(|(target, _)| target));
    homes(&compiled(&split(targets, "labels[\"team\"]")), &fleet, asker)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn neither_chance_nor_order_matters(weights in prop::collection::vec(1_u32..100, 1..6), seed in any::<u64>()) {
        let mut targets = targets(&weights);
        let before = homes_of(&targets, ACME);
        prop_assert_eq!(&before, &homes_of(&targets, Asker("acme", "chat", seed)));
        targets.reverse();
        prop_assert_eq!(&before, &homes_of(&targets, ACME));
    }

    #[test]
    fn a_new_target_takes_and_nothing_else_moves(weights in prop::collection::vec(1_u32..100, 2..6)) {
        let all = targets(&weights);
        let (new, old) = all.split_last().unwrap();
        for (before, after) in homes_of(old, ACME).iter().zip(homes_of(&all, ACME)) {
            prop_assert!(*before == after || after == new.0, "{before} → {after}");
        }
    }

    #[test]
    fn a_target_that_goes_gives_and_nothing_else_moves(weights in prop::collection::vec(1_u32..100, 2..6)) {
        let all = targets(&weights);
        let policy = compiled(&split(&all, "labels[\"team\"]"));
        let before = homes(&policy, &serving(all.iter().map(|(target, _)| target)), ACME);
        let after = homes(&policy, &serving(all[1..].iter().map(|(target, _)| target)), ACME);
        for (before, after) in before.iter().zip(after) {
            prop_assert!(*before == after || *before == all[0].0, "{before} → {after}");
        }
    }

    #[test]
    fn a_weight_moves_only_to_or_from_its_target(
        weights in prop::collection::vec(1_u32..100, 2..6),
        weight in 1_u32..100,
    ) {
        let (old, mut new) = (targets(&weights), targets(&weights));
        new[0].1 = weight;
        for (before, after) in homes_of(&old, ACME).iter().zip(homes_of(&new, ACME)) {
            let changed = if weight > weights[0] { &after } else { before };
            prop_assert!(*before == after || *changed == old[0].0, "{before} → {after}");
        }
    }
}

#[test]
fn tenants_and_virtual_models_are_independent() {
    let targets = targets(&[1, 1]);
    let acme = homes_of(&targets, ACME);
    for other in [Asker("globex", "chat", 1), Asker("acme", "other", 1)] {
        let same = acme.iter().zip(homes_of(&targets, other)).filter(|(one, other)| **one == *other).count();
        // A fair coin: 4 sigma.
        let sigma = (KEYS as f64 / 4.0).sqrt();
        assert!((same as f64 - KEYS as f64 / 2.0).abs() < 4.0 * sigma, "{same} of {KEYS}");
    }
}

#[test]
fn without_a_value_each_request_is_drawn_by_itself() {
    let targets = targets(&[1, 1]);
    let fleet = serving(targets.iter().map(|(target, _)| target));
    let policy = compiled(&split(&targets, "labels[\"absent\"]"));
    let of_seed = |seed| homes(&policy, &fleet, Asker("acme", "chat", seed));
    let drawn: Vec<Vec<String>> = (0..64).map(of_seed).collect();
    assert!(drawn.iter().all(|homes| homes.iter().all(|home| *home == homes[0])), "only the seed decides");
    assert!(drawn.iter().any(|homes| homes[0] != drawn[0][0]));
}
