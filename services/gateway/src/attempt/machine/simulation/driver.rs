//! What `Attempts` does, without streams: asks as the machine says, and tells it what comes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_policy::decide::Circumstances;
use pointsman_policy::pick::{Prefix, Wish};
use pointsman_policy::{Cause, Causes, Decision, Facts, cause_of, decide};
use pointsman_proto::inference::v1::{AttemptKind, Priority};

use super::super::super::verdict;
use super::super::{Action, Event, Limits, Machine, Number, Outcome as AttemptOutcome};
use super::faults::{Flaw, Script, Step};
use super::plan::{Planned, target_number};
use super::world::{Happening, Process, Spent, World};
use crate::fleet::{Asking, Picked, View};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Statically,
    Failed(Reason),
    /// Its caller left.
    Left,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Exchange {
    machine: Machine,
    decision: Decision,
    view: Arc<View>,
    prefix: Prefix,
    flaw: Flaw,
    caller_zones: Vec<&'static str>,
    deadline: Option<u64>,
    begin: u64,
    pub(super) calls: Vec<Option<Call>>,
    tried: Vec<Arc<str>>,
    /// The instances that were good for each target all the time, as bits.
    pub(super) good: Vec<u64>,
    /// How many instances of each step's target the view has.
    members: Vec<usize>,
    asked: u32,
    over_budget: bool,
    /// Why attempts failed so far.
    causes: Vec<Cause>,
    answering: Option<Number>,
    pieces: u64,
    /// When its next tick is in the queue.
    tick_at: Option<u64>,
    pub(super) outcome: Option<Outcome>,
}

/// One attempt under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) picked: Picked,
    pub(super) process: usize,
    pub(super) script: Script,
    is_probe: bool,
}

impl Exchange {
    pub(super) fn decide(world: &World, planned: &Planned) -> Option<Self> {
        let (view, request) = (world.fleet.view(), &planned.request);
        let given = Circumstances {
            caller_zones: planned.caller_zones.iter().map(|zone| (*zone).into()).collect(),
            time: SystemTime::UNIX_EPOCH,
            // The order of arrival is chance enough.
            seed: planned.at.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        let decided = decide(&world.policy, &view.fleet, &Facts::new(request, "acme", "key"), given);
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => {
                assert_eq!(error.reason(), Reason::NoTargetAllowed, "everything is served somewhere");
                return None;
            }
        };
        let limits = Limits {
            rule: Arc::clone(&decision.rule),
            steps: decision.steps.iter().map(|step| step.causes).collect(),
            deadline: planned.deadline.map(Duration::from_millis),
        };
        let members = decision.steps.iter().map(|step| {
            let serving = world.serving(&step.target.name, true);
            let allowed =
                |(number, process): (usize, &Process)| serving >> number & 1 == 1 && decision.allows_zone(process.zone);
            world.processes.iter().enumerate().filter(|one| allowed(*one)).count()
        });
        Some(Self {
            machine: Machine::begin(limits),
            members: members.collect(),
            decision,
            view,
            prefix: Prefix::of(request, "acme"),
            flaw: planned.flaw,
            caller_zones: planned.caller_zones.clone(),
            deadline: planned.deadline,
            begin: world.now,
            calls: Vec::new(),
            tried: Vec::new(),
            good: world.good(),
            asked: 0,
            over_budget: false,
            causes: Vec::new(),
            answering: None,
            pieces: 0,
            tick_at: None,
            outcome: None,
        })
    }

    /// Whether its rule and its caller let it run there.
    fn allows(&self, zone: &str) -> bool {
        let rule = &self.decision.rule.allowed_zones;
        (rule.is_empty() || rule.iter().any(|allowed| **allowed == *zone))
            && (self.caller_zones.is_empty() || self.caller_zones.contains(&zone))
    }

    /// When its time is over, whatever comes.
    fn end_at(&self) -> u64 {
        let total = u64::try_from(self.decision.rule.timeouts.total.as_millis()).unwrap();
        self.begin + total.min(self.deadline.unwrap_or(u64::MAX))
    }
}

impl World {
    fn exchange(&mut self, number: usize) -> &mut Exchange {
        self.exchanges[number].as_mut().unwrap()
    }

    pub(super) fn tell(&mut self, number: usize, event: Event) {
        let now = self.now;
        let exchange = self.exchange(number);
        exchange.machine.on(event, Duration::from_millis(now - exchange.begin));
        self.act(number);
    }

    pub(super) fn leave(&mut self, number: usize) {
        if self.exchange(number).outcome.is_none() {
            self.exchange(number).outcome = Some(Outcome::Left);
            self.tell(number, Event::Stop(Error::new(Reason::Cancelled, "the caller left")));
        }
    }

    pub(super) fn tick(&mut self, number: usize) {
        let now = self.now;
        let exchange = self.exchange(number);
        if exchange.tick_at != Some(now) {
            return;
        }
        exchange.tick_at = None;
        self.tell(number, Event::Tick);
    }

    pub(super) fn progress(&mut self, number: usize, attempt: Number, step: Step) {
        let is_answering = self.exchange(number).answering == Some(attempt);
        match step {
            Step::Taken => self.tell(number, Event::Taken(attempt)),
            Step::Failed(error) => self.tell(number, Event::Failed(attempt, error)),
            Step::Piece if is_answering => self.tell(number, Event::Piece),
            Step::Piece => self.tell(number, Event::Content(attempt)),
            Step::Finished => {
                let exchange = self.exchange(number);
                assert_eq!(exchange.pieces, exchange.calls[attempt].as_ref().unwrap().script.pieces, "a truncated end");
                exchange.outcome = Some(Outcome::Answered);
                self.tell(number, Event::Finished);
            }
        }
        let exchange = self.exchange(number);
        if exchange.answering == Some(attempt) && exchange.outcome.is_none() {
            exchange.pieces += 1;
            self.tell(number, Event::Waiting);
        }
    }

    pub(super) fn act(&mut self, number: usize) {
        while let Some(action) = self.exchange(number).machine.next_action() {
            match action {
                Action::Ask { attempt, step, kind, again } => {
                    if again {
                        self.exchange(number).tried.clear();
                    }
                    let event = self.ask(number, attempt, (step, kind));
                    let now = self.now;
                    let exchange = self.exchange(number);
                    exchange.machine.on(event, Duration::from_millis(now - exchange.begin));
                }
                Action::Drop(attempt, outcome) => self.drop_call(number, attempt, &outcome),
                Action::Answer(attempt) => self.exchange(number).answering = Some(attempt),
                Action::AnswerStatically => self.end(number, Outcome::Statically),
                Action::Fail(error) => self.end(number, Outcome::Failed(error.reason())),
            }
        }
        let now = self.now;
        let exchange = self.exchange(number);
        if exchange.outcome.is_some() {
            assert!(exchange.calls.iter().all(Option::is_none), "an attempt outlives its request");
            self.live.retain(|live| *live != number);
            return;
        }
        let at = exchange.begin + u64::try_from(exchange.machine.wakes_at().as_millis()).unwrap();
        let at = at.max(now);
        if exchange.tick_at.is_none_or(|tick_at| at < tick_at) {
            exchange.tick_at = Some(at);
            self.after(at - now, Happening::Tick(number));
        }
    }

    fn ask(&mut self, number: usize, attempt: Number, (step, kind): (usize, AttemptKind)) -> Event {
        let exchange = self.exchanges[number].as_mut().unwrap();
        exchange.calls.truncate(attempt);
        let picked = match self.pick(number, step, kind) {
            Ok(picked) => picked,
            Err(error) => {
                let exchange = self.exchange(number);
                exchange.calls.push(None);
                exchange.causes.extend(cause_of(error.reason()));
                return Event::NotAsked(attempt, error);
            }
        };
        let process: usize = picked.name[1..].parse().unwrap();
        self.calls += 1;
        let id = self.calls;
        let is_alone = self.exchange(number).members[step] == 1;
        let is_probe = self.processes[process].opened && !is_alone;
        if is_probe {
            let process = &mut self.processes[process];
            assert_eq!(process.probe, None, "one probe at a time");
            assert!(process.last_probe_end.is_none_or(|end| self.now >= end + 1000), "no rest between probes");
            process.probe = Some(id);
        }
        self.look_at_state(process);
        self.count_running(process, true);
        let mode = self.processes[process].mode;
        let zone = self.processes[process].zone;
        let flaw = self.exchange(number).flaw;
        let script = Script::of(mode, flaw, &mut self.chance);
        if let Some((after, _)) = script.step(0) {
            self.after(after, Happening::Step { exchange: number, attempt, call: id, step: 0 });
        }
        let now = self.now;
        let exchange = self.exchange(number);
        exchange.asked += 1;
        assert!(exchange.allows(zone), "asked in a zone that is not allowed");
        assert!(exchange.asked <= exchange.decision.rule.max_attempts, "too many attempts");
        assert!(now < exchange.end_at(), "asked when its time was over");
        assert_eq!(exchange.answering, None, "asked after its answer began");
        assert!(!exchange.tried.contains(&picked.name), "asked {} again", picked.name);
        exchange.tried.push(Arc::clone(&picked.name));
        exchange.calls.push(Some(Call { id, picked, process, script, is_probe }));
        Event::Asked(attempt)
    }

    fn pick(&mut self, number: usize, step: usize, kind: AttemptKind) -> Result<Picked, Error> {
        let now = self.clock();
        let exchange = self.exchanges[number].as_mut().unwrap();
        let target = Arc::clone(&exchange.decision.steps[step].target.name);
        let extras = exchange.view.extras(&target).unwrap();
        let (allowed, spent) = match kind {
            AttemptKind::Retry => (extras.retries.extra(now, self.policy.retry_budget), Spent::Retry),
            AttemptKind::Hedge => (extras.hedges.extra(now, self.policy.hedge_budget), Spent::Hedge),
            _ => {
                extras.retries.request(now);
                extras.hedges.request(now);
                (true, Spent::Request)
            }
        };
        if !allowed {
            exchange.over_budget = true;
            return Err(Error::new(Reason::NoInstanceReady, "too many extra attempts"));
        }
        self.spent.push((now / 1000, target_number(&target), spent));
        let wish = Wish {
            decision: &exchange.decision,
            home_zone: "north",
            prefix: exchange.prefix,
            seed: exchange.decision.seed.wrapping_add(exchange.calls.len() as u64),
        };
        let priority = Priority::Interactive;
        exchange.view.pick(&Asking { wish, target: &target, tried: &exchange.tried, tokens: 300, priority, now })
    }

    fn drop_call(&mut self, number: usize, attempt: Number, outcome: &AttemptOutcome) {
        let clock = self.clock();
        let exchange = self.exchange(number);
        if let AttemptOutcome::Failed(error) = outcome {
            exchange.causes.extend(cause_of(error.reason()));
        }
        let Some(call) = exchange.calls[attempt].take() else { return };
        let Call { id, picked, process: index, is_probe, .. } = call;
        verdict::give(&picked, outcome, clock);
        drop(picked);
        let broke = self.is_broken(index);
        self.count_running(index, false);
        let now = self.now;
        let process = &mut self.processes[index];
        if is_probe && process.probe == Some(id) {
            process.probe = None;
            let failed = matches!(outcome, AttemptOutcome::Failed(error)
                if cause_of(error.reason()) == Some(Cause::Unavailable) && error.reason() != Reason::ShuttingDown);
            process.last_probe_end = failed.then_some(now);
        }
        if matches!(outcome, AttemptOutcome::Finished) {
            (process.opened, process.probe, process.last_probe_end) = (false, None, None);
        } else if broke {
            process.opened = true;
        }
        self.look_at_state(index);
    }

    fn end(&mut self, number: usize, outcome: Outcome) {
        let now = self.now;
        let exchange = self.exchange(number);
        if exchange.outcome == Some(Outcome::Left) {
            return;
        }
        assert_eq!(exchange.outcome, None, "a second end");
        exchange.outcome = Some(outcome);
        if let Outcome::Failed(reason) = outcome {
            let is_honest = match reason {
                Reason::InvalidRequest => exchange.flaw == Flaw::Wrong,
                Reason::ContextTooLong => exchange.flaw == Flaw::TooLong,
                Reason::ContentRefused => exchange.flaw == Flaw::Refused,
                Reason::DeadlineExceeded => exchange.deadline.is_some() && now >= exchange.end_at(),
                _ => cause_of(reason).is_some_and(|cause| Causes::CAPACITY.contains(cause)),
            };
            assert!(is_honest, "{reason:?} of {:?}", exchange.flaw);
        }
        let began_to_answer = exchange.answering.is_some();
        let was_late = now >= exchange.end_at();
        // What is not asked for want of an instance counts too, where it was the first of its target.
        let had_attempts = exchange.calls.len() < exchange.decision.rule.max_attempts as usize;
        if began_to_answer || was_late || !had_attempts || exchange.over_budget || exchange.flaw != Flaw::None {
            return;
        }
        let exchange = self.exchanges[number].as_ref().unwrap();
        for (place, step) in exchange.decision.steps.iter().enumerate() {
            let leads = place == 0 || exchange.causes.iter().all(|cause| step.causes.contains(*cause));
            let allowed = (0..self.processes.len()).filter(|index| exchange.allows(self.processes[*index].zone));
            let allowed = allowed.fold(0, |bits: u64, index| bits | 1 << index);
            let able =
                exchange.good[target_number(&step.target.name)] & allowed & self.serving(&step.target.name, false);
            assert!(
                !leads || able == 0,
                "request {number} ended with {outcome:?}, and {able:b} of {} could have answered; {:?}",
                step.target.name,
                exchange.causes
            );
        }
    }
}
