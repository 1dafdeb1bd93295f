//! What makes an instance the one.

use pointsman_policy::pick::{Candidate, Load, Picked, Prefix, State, Wish, instance_hash, pick};
use pointsman_policy::{CompiledPolicy, Decision, Fleet};
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, TargetDescription, part};
use proptest::prelude::*;

use crate::random::{decided, given};

fn decision() -> Decision {
    let mut fleet = Fleet::new(1, false);
    fleet.add(&TargetDescription { target: "models/a/versions/1".into(), ..TargetDescription::default() }, "");
    let request = GenerateRequest { model: "a".into(), ..GenerateRequest::default() };
    decided(&CompiledPolicy::none(), &fleet, &request, given(&[], 1)).unwrap()
}

fn prefix(instructions: &str) -> Prefix {
    let text = part::Kind::Text(instructions.into());
    let message = Message { role: Role::System.into(), parts: vec![Part { kind: Some(text) }], ..Message::default() };
    Prefix::of(&GenerateRequest { messages: vec![message], ..GenerateRequest::default() }, "acme")
}

/// Instances `i0`, `i1`, … with so many tokens before them and so many slots; every third is in `home`.
fn candidates(loads: &[(u64, u32)]) -> Vec<Candidate<'static>> {
    let candidate = |(index, (tokens, slots)): (usize, &(u64, u32))| Candidate {
        hash: instance_hash(&format!("i{index}")),
        zone: if index % 3 == 0 { "home" } else { "away" },
        state: State::Ready,
        load: Load { tokens: *tokens, slots: *slots },
    };
    loads.iter().enumerate().map(candidate).collect()
}

fn per_slot((tokens, slots): (u64, u32)) -> f64 {
    tokens as f64 / f64::from(slots.max(1))
}

fn picked(wish: Wish<'_>, loads: &[(u64, u32)]) -> Picked {
    pick(&wish, &candidates(loads)).unwrap()
}

fn loads() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((0_u64..5000, 0_u32..5), 1..12)
}

proptest! {
    #[test]
    fn the_least_work_before_it_wins(loads in loads(), seed in any::<u64>()) {
        let decision = decision();
        let picked = picked(Wish { decision: &decision, home_zone: "", prefix: Prefix::default(), seed }, &loads);
        let least = loads.iter().map(|load| per_slot(*load)).fold(f64::INFINITY, f64::min);
        prop_assert!((per_slot(loads[picked.index]) - least).abs() < 1e-9);
        prop_assert!(picked.score > 0.0 && picked.score <= 1.0);
    }

    #[test]
    fn locality_breaks_ties(load in (0_u64..5000, 0_u32..5), count in 1_usize..12, seed in any::<u64>()) {
        let (decision, loads) = (decision(), vec![load; count]);
        let picked = picked(Wish { decision: &decision, home_zone: "home", prefix: Prefix::default(), seed }, &loads);
        prop_assert_eq!(picked.index % 3, 0);
    }

    #[test]
    fn a_prefix_stays_at_home_and_moves_only_to_a_newcomer(
        text in "[a-z]{4096,5000}",
        count in 1_usize..12,
        seeds in any::<(u64, u64)>(),
    ) {
        let decision = decision();
        let of = |seed, count| {
            picked(Wish { decision: &decision, home_zone: "", prefix: prefix(&text), seed }, &vec![(0, 1); count]).index
        };
        let home = of(seeds.0, count);
        prop_assert_eq!(home, of(seeds.1, count));
        let grown = of(seeds.0, count + 1);
        prop_assert!(grown == home || grown == count);
    }

    #[test]
    fn no_preference_outweighs_much_more_work(text in "[a-z]{4,5000}", loads in loads(), seed in any::<u64>()) {
        let decision = decision();
        let wish = Wish { decision: &decision, home_zone: "home", prefix: prefix(&text), seed };
        let found = picked(wish, &loads);
        let mean = loads.iter().map(|load| per_slot(*load)).sum::<f64>() / loads.len() as f64;
        // As `pick/load.rs` says. Neither prefix nor zone leads further away from the least work.
        prop_assert!(per_slot(loads[found.index]) <= mean * 1.25 + 64.0, "{found:?} {loads:?}");
    }

    #[test]
    fn the_order_of_candidates_does_not_matter(loads in loads(), text in "[a-z]{0,3000}", seed in any::<u64>()) {
        let decision = decision();
        let wish = Wish { decision: &decision, home_zone: "home", prefix: prefix(&text), seed };
        let (forward, mut backward) = (candidates(&loads), candidates(&loads));
        backward.reverse();
        let (one, other) = (pick(&wish, &forward).unwrap(), pick(&wish, &backward).unwrap());
        prop_assert_eq!(forward[one.index].hash, backward[other.index].hash);
    }
}

#[test]
fn a_little_waiting_costs_less_than_another_zone_and_much_costs_more() {
    let decision = decision();
    let wish = Wish { decision: &decision, home_zone: "home", prefix: Prefix::default(), seed: 1 };
    for (home, away, expected) in [(0, 0, 0), (10, 0, 0), (500, 0, 1), (1200, 1100, 0), (4000, 1100, 1)] {
        assert_eq!(picked(wish, &[(home, 1), (away, 1)]).index, expected, "{home} tokens at home, {away} away");
    }
}

#[test]
fn prefixes_and_ties_spread_over_the_fleet() {
    let (decision, loads) = (decision(), [(0, 1); 10]);
    let mut homes = [0_u32; 10];
    let mut ties = [0_u32; 10];
    for number in 0..1000 {
        let prefix = prefix(&format!("{number} {}", "x".repeat(4096)));
        let wish = Wish { decision: &decision, home_zone: "", prefix, seed: number };
        homes[picked(wish, &loads).index] += 1;
        ties[picked(Wish { prefix: Prefix::default(), ..wish }, &loads).index] += 1;
    }
    // 100 each, and 4 sigma of nearly 10.
    assert!(homes.iter().chain(&ties).all(|count| (62..=138).contains(count)), "{homes:?} {ties:?}");
}
