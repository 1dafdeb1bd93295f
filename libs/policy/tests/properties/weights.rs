//! Shares come out as they are written.

use std::collections::BTreeMap;

use pointsman_policy::{CompiledPolicy, Facts, Fleet, decide};
use pointsman_proto::inference::v1::GenerateRequest;

use crate::random::{compiled, given, serving, split};

const DRAWS: u64 = 10_000;

/// How often each target was first.
fn counts(policy: &CompiledPolicy, fleet: &Fleet, draw: impl Fn(u64) -> (String, u64)) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for index in 0..DRAWS {
        let (end_user, seed) = draw(index);
        let request = GenerateRequest { model: "chat".into(), end_user, ..GenerateRequest::default() };
        let decision = decide(policy, fleet, &Facts::new(&request, "acme", "key"), given(&[], seed)).unwrap();
        *counts.entry(decision.steps[0].target.name.to_string()).or_default() += 1;
    }
    counts
}

fn check(weights: &[u32], draw: impl Fn(u64) -> (String, u64)) {
    let targets: Vec<(String, u32)> =
        weights.iter().enumerate().map(|(number, weight)| (format!("models/m{number}/versions/1"), *weight)).collect();
    let fleet = serving(targets.iter().map(|(target, _)| target));
    let counts = counts(&compiled(&split(&targets, "request.end_user")), &fleet, draw);
    let total: u32 = weights.iter().sum();
    for (target, weight) in &targets {
        let share = f64::from(*weight) / f64::from(total);
        let sigma = (DRAWS as f64 * share * (1.0 - share)).sqrt();
        let found = counts.get(target).copied().unwrap_or_default() as f64;
        assert!((found - DRAWS as f64 * share).abs() <= 4.0 * sigma, "{weights:?}: {target} {found}, sigma {sigma}");
    }
}

const WEIGHTS: [&[u32]; 6] = [&[1], &[1, 1], &[9, 1], &[1, 2, 3], &[97, 1, 1, 1], &[1_000_000, 1]];

#[test]
fn chance_follows_the_weights() {
    for weights in WEIGHTS {
        // Seeds that are as unlike as those of a generator, and seeds that are as alike as can be.
        check(weights, |index| (String::new(), index.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        check(weights, |index| (String::new(), index));
    }
}

#[test]
fn users_follow_the_weights() {
    for weights in WEIGHTS {
        check(weights, |index| (format!("user-{index}"), 7));
    }
}
