//! Ways to pick an instance, each with what a gateway knows: what it sent, what ended, and what instances say.

use std::error::Error;
use std::time::SystemTime;

use pointsman_policy::decide::{Circumstances, Decision};
use pointsman_policy::pick::{Candidate, Load, Prefix, State, Wish, instance_hash};
use pointsman_policy::{CompiledPolicy, Facts, Fleet, decide, pick};
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, TargetDescription, part};

use crate::chance::Chance;
use crate::instance::SLOTS;
use crate::workload::{self, Request};

/// What the gateway counts for an answer (services/gateway/src/exchange.rs).
const USUAL_ANSWER: u64 = 256;
const MODEL: &str = "simulated";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Ours,
    PowerOfTwo,
    LeastRequest,
    RoundRobin,
    Random,
}

impl Way {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ours, Self::PowerOfTwo, Self::LeastRequest, Self::RoundRobin, Self::Random];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::PowerOfTwo => "power of two",
            Self::LeastRequest => "least request",
            Self::RoundRobin => "round robin",
            Self::Random => "random",
        }
    }
}

/// A gateway, and what it knows of each instance.
pub(crate) struct Gateway {
    way: Way,
    chance: Chance,
    instances: Vec<Known>,
    decision: Decision,
    prefixes: Vec<Prefix>,
    /// The report that each request was sent after, and the tokens it was counted with.
    credits: Vec<(u64, u64)>,
    turn: usize,
}

#[derive(Clone, Debug, Default)]
struct Known {
    hash: u64,
    /// Requests that were sent and have not ended.
    open: u32,
    said_tokens: u64,
    sent_tokens: u64,
    reports: u64,
}

impl Gateway {
    pub(crate) fn new(way: Way, instances: usize, seed: u64) -> Result<Self, Box<dyn Error>> {
        let known = |index| Known { hash: instance_hash(&format!("worker-{index}")), ..Known::default() };
        Ok(Self {
            way,
            chance: Chance::new(seed ^ 0x9A7E),
            instances: (0..instances).map(known).collect(),
            decision: decision()?,
            prefixes: workload::prefixes().iter().enumerate().map(|(index, tokens)| prefix(index, *tokens)).collect(),
            credits: Vec::new(),
            turn: 0,
        })
    }

    /// An instance says how busy it is. What was sent to it before is in that.
    pub(crate) fn hear(&mut self, index: usize, tokens: u64) {
        let known = &mut self.instances[index];
        (known.said_tokens, known.sent_tokens) = (tokens, 0);
        known.reports += 1;
    }

    pub(crate) fn pick(&mut self, id: usize, request: &Request) -> usize {
        let count = self.instances.len();
        let index = match self.way {
            Way::Ours => self.ours(request),
            Way::PowerOfTwo => {
                let (one, other) = (self.chance.below(count), self.chance.below(count));
                if self.instances[other].open < self.instances[one].open { other } else { one }
            }
            Way::LeastRequest => {
                let least = self.instances.iter().map(|known| known.open).min().unwrap_or_default();
                let least: Vec<usize> = (0..count).filter(|index| self.instances[*index].open == least).collect();
                least[self.chance.below(least.len())]
            }
            Way::RoundRobin => {
                self.turn += 1;
                self.turn % count
            }
            Way::Random => self.chance.below(count),
        };
        let tokens = u64::from(request.prompt_tokens) + USUAL_ANSWER;
        let known = &mut self.instances[index];
        known.open += 1;
        known.sent_tokens += tokens;
        debug_assert_eq!(id, self.credits.len(), "requests come in order");
        self.credits.push((known.reports, tokens));
        index
    }

    pub(crate) fn ended(&mut self, id: usize, index: usize) {
        let (report, tokens) = self.credits[id];
        let known = &mut self.instances[index];
        known.open -= 1;
        if known.reports == report {
            known.sent_tokens = known.sent_tokens.saturating_sub(tokens);
        }
    }

    fn ours(&mut self, request: &Request) -> usize {
        let candidates: Vec<Candidate<'_>> = self
            .instances
            .iter()
            .map(|known| Candidate {
                hash: known.hash,
                zone: "",
                state: State::Ready,
                load: Load { tokens: known.said_tokens + known.sent_tokens, slots: SLOTS as u32 },
            })
            .collect();
        let wish = Wish {
            decision: &self.decision,
            home_zone: "",
            prefix: self.prefixes[request.prefix],
            seed: self.chance.bits(),
        };
        pick(&wish, &candidates).map_or(0, |picked| picked.index)
    }
}

fn message(role: Role, text: String) -> Message {
    let parts = vec![Part { kind: Some(part::Kind::Text(text)) }];
    Message { role: role.into(), parts, ..Message::default() }
}

/// What the gateway makes of instructions of so many tokens. What the user says is left out: it is after them.
fn prefix(index: usize, tokens: u32) -> Prefix {
    let instructions = format!("{index:>width$}", width = 4 * tokens as usize);
    let messages = vec![message(Role::System, instructions)];
    Prefix::of(&GenerateRequest { messages, ..GenerateRequest::default() }, "tenant")
}

/// A decision for the only model that there is.
fn decision() -> Result<Decision, Box<dyn Error>> {
    let description =
        TargetDescription { target: format!("models/{MODEL}/versions/1"), ..TargetDescription::default() };
    let mut fleet = Fleet::new(1, false);
    fleet.add(&description, "");
    let request = GenerateRequest { model: MODEL.to_owned(), ..GenerateRequest::default() };
    let facts = Facts::new(&request, "tenant", "");
    let given = Circumstances { caller_zones: Vec::new().into(), time: SystemTime::UNIX_EPOCH, seed: 0 };
    Ok(decide(&CompiledPolicy::none(), &fleet, &facts, given)?)
}
