//! Random policies and requests.

use std::time::Duration;

use pointsman_policy::{Cause, CompiledPolicy, compile};
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Priority, Role, part};
use pointsman_proto::policy::v1 as proto;

use super::chance::Chance;
use super::faults::Flaw;

pub(super) const ZONES: [&str; 3] = ["north", "south", "west"];

/// One request, before it arrives.
pub(super) struct Planned {
    pub(super) at: u64,
    pub(super) request: GenerateRequest,
    pub(super) caller_zones: Vec<&'static str>,
    pub(super) deadline: Option<u64>,
    /// When its caller leaves, after its arrival.
    pub(super) leaves: Option<u64>,
    pub(super) flaw: Flaw,
}

pub(super) fn target(number: usize) -> String {
    format!("models/m{number}/versions/1")
}

pub(super) fn target_number(name: &str) -> usize {
    name[8..9].parse().unwrap()
}

pub(super) fn policy(targets: usize, chance: &mut Chance) -> CompiledPolicy {
    let virtual_models =
        (0..3).map(|number| proto::VirtualModel { name: format!("v{number}"), rules: vec![rule(targets, chance)] });
    let policy = proto::Policy {
        virtual_models: virtual_models.collect(),
        retry_budget: Some(budget(chance)),
        hedge_budget: Some(budget(chance)),
        ..proto::Policy::default()
    };
    compile(&policy).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn budget(chance: &mut Chance) -> proto::Budget {
    let ratio = Some(chance.choose(&[0.0, 0.2, 1.0]));
    proto::Budget { ratio, min_per_second: Some(chance.choose(&[0, 3, 50, 50])) }
}

/// Some of the targets, in any order.
fn some(targets: usize, most: u64, chance: &mut Chance) -> Vec<String> {
    let mut numbers: Vec<usize> = (0..targets).collect();
    let wanted = chance.number(0, most + 1);
    (0..wanted.min(targets as u64)).map(|_| target(numbers.swap_remove(chance.index(numbers.len())))).collect()
}

fn rule(targets: usize, chance: &mut Chance) -> proto::Rule {
    let mut split = some(targets, 3, chance);
    if split.is_empty() {
        split.push(target(0));
    }
    let max_attempts = chance.choose(&[1, 2, 3, 3, 5, 8]);
    let mut fallbacks = if max_attempts == 1 { Vec::new() } else { some(targets, 3, chance) };
    fallbacks.retain(|fallback| split.len() > 1 || *fallback != split[0]);
    let millis = |millis| Duration::from_millis(millis).try_into().ok();
    let causes = |chance: &mut Chance| match chance.percent(70) {
        true => Vec::new(),
        false => {
            vec![i32::from(Cause::Unavailable), i32::from(chance.choose(&[Cause::Saturated, Cause::ContextTooLong]))]
        }
    };
    proto::Rule {
        name: "rule".into(),
        targets: split
            .into_iter()
            .map(|target| proto::WeightedTarget { target, weight: Some(u32::try_from(chance.number(1, 10)).unwrap()) })
            .collect(),
        fallbacks: fallbacks.into_iter().map(|target| proto::Fallback { target, causes: causes(chance) }).collect(),
        static_answer: chance
            .percent(20)
            .then(|| proto::StaticAnswer { text: "Sorry.".into(), causes: causes(chance) }),
        hedge: (max_attempts > 1 && chance.percent(30)).then(|| proto::Hedge { after: millis(chance.number(50, 500)) }),
        timeouts: Some(timeouts(chance)),
        max_attempts: Some(max_attempts),
        allowed_zones: zones(30, chance).into_iter().map(Into::into).collect(),
        ..proto::Rule::default()
    }
}

fn timeouts(chance: &mut Chance) -> proto::Timeouts {
    let millis = |millis| Duration::from_millis(millis).try_into().ok();
    let (connect, first_token) = (chance.number(100, 1000), chance.number(510, 3000));
    proto::Timeouts {
        // A longer one would never be reached, and no policy may say so.
        connect: millis(connect.min(first_token)),
        first_token: millis(first_token),
        idle_gap: millis(chance.number(200, 1000)),
        total: millis(chance.number(3000, 20_000)),
    }
}

/// So often in a hundred, one or two zones.
fn zones(often: u64, chance: &mut Chance) -> Vec<&'static str> {
    if !chance.percent(often) {
        return Vec::new();
    }
    let first = chance.index(ZONES.len());
    ZONES.iter().cycle().skip(first).take(chance.index(2) + 1).copied().collect()
}

/// A request for one of the virtual models, or for a model of the fleet; many share their beginnings.
pub(super) fn request(targets: usize, at: u64, chance: &mut Chance) -> Planned {
    let model = match chance.percent(85) {
        true => format!("v{}", chance.index(3)),
        false => format!("m{}", chance.index(targets)),
    };
    let text = "x".repeat(chance.index(3) * 1500 + chance.index(4));
    let parts = vec![Part { kind: Some(part::Kind::Text(text)) }];
    let messages = vec![Message { role: Role::User.into(), parts, ..Message::default() }];
    let flaw = match chance.number(0, 100) {
        0..4 => Flaw::Wrong,
        4..7 => Flaw::TooLong,
        7..10 => Flaw::Refused,
        _ => Flaw::None,
    };
    Planned {
        at,
        request: GenerateRequest {
            model,
            messages,
            // The instances themselves are the judges of their queues.
            priority: Priority::Interactive.into(),
            ..GenerateRequest::default()
        },
        caller_zones: zones(20, chance),
        deadline: chance.percent(40).then(|| chance.number(100, 8000)),
        leaves: chance.percent(15).then(|| chance.number(0, 4000)),
        flaw,
    }
}
