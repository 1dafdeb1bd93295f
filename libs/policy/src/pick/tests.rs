use proptest::prelude::*;

use super::load::{self, Total};
use super::{Candidate, Load, Prefix, State, instance_hash, locality, prefix};

proptest! {
    #[test]
    fn every_score_is_from_0_to_1(
        loads in prop::collection::vec(any::<(u64, u32)>(), 1..8),
        text in ".{0,200}",
        repeats in 0_usize..100,
        home in prop::sample::select(vec!["", "a", "b"]),
    ) {
        use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, part};
        let kind = Some(part::Kind::Text(text.repeat(repeats)));
        let messages = vec![Message { parts: vec![Part { kind }], ..Message::default() }];
        let prefix = Prefix::of(&GenerateRequest { messages, ..GenerateRequest::default() }, "acme");
        let loads: Vec<Load> = loads.into_iter().map(|(tokens, slots)| Load { tokens, slots }).collect();
        let mut total = Total::default();
        loads.iter().for_each(|load| total.add(*load));
        for load in loads {
            let candidate = Candidate { hash: instance_hash("i"), zone: "a", state: State::Ready, load };
            let scores = [
                load::score(load),
                prefix::score(prefix, true),
                prefix::score(prefix, false),
                locality::score(home, &candidate, &total),
            ];
            prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        }
    }

    #[test]
    fn more_work_never_scores_higher(one in any::<(u64, u32)>(), more in any::<u64>()) {
        let load = |tokens| load::score(Load { tokens, slots: one.1 });
        prop_assert!(load(one.0.saturating_add(more)) <= load(one.0));
    }
}
