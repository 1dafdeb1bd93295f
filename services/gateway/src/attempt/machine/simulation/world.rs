//! Time, instances and what happens to them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pointsman_client::{Channel, Config, in_process};
use pointsman_errors::{Error, Reason};
use pointsman_policy::CompiledPolicy;
use pointsman_policy::pick::State;
use pointsman_proto::inference::v1::{DescribeResponse, Load, TargetDescription};
use tonic::service::Routes;

use super::super::{Event, Number};
use super::chance::Chance;
use super::driver::{Exchange, Outcome};
use super::faults::{Flaw, Mode, Step};
use super::plan::{self, Planned, ZONES};
use crate::fleet::Fleet;

/// Every eighth fleet is large; in the small ones the same instances meet more.
const INSTANCES: usize = 50;
/// Longer than a breaker stays open, and than any request lasts.
const SETTLED: u64 = 65_000;

/// What happens next. Compared only to make an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Arrive(usize),
    Leave(usize),
    Tick(usize),
    /// An instance changes how it fares.
    Fault(usize),
    /// Its health is looked at.
    Health(usize),
    /// The next step of a call's answer.
    Step {
        exchange: usize,
        attempt: Number,
        call: u64,
        step: u64,
    },
}

/// A simulated instance.
pub(super) struct Process {
    pub(super) mode: Mode,
    lies: bool,
    /// What the gateway was told last.
    ready: bool,
    pub(super) zone: &'static str,
    targets: Vec<usize>,
    /// Its breaker opened, and nothing has succeeded since.
    pub(super) opened: bool,
    /// The call that finds out whether it is well again.
    pub(super) probe: Option<u64>,
    pub(super) last_probe_end: Option<u64>,
    running: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) chance: Chance,
    pub(super) fleet: Fleet,
    pub(super) policy: CompiledPolicy,
    pub(super) processes: Vec<Process>,
    targets: usize,
    planned: Vec<Planned>,
    /// By the number of the plan; `None` before its arrival, and where nothing was decided.
    pub(super) exchanges: Vec<Option<Exchange>>,
    pub(super) live: Vec<usize>,
    pub(super) calls: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    happenings: u64,
    /// Requests and granted extra attempts: the second, the target, what.
    pub(super) spent: Vec<(u64, usize, Spent)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    Request,
    Retry,
    Hedge,
}

impl World {
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let instances = if seed.is_multiple_of(8) { INSTANCES } else { chance.index(12) + 8 };
        let targets = chance.index(7) + 2;
        let channel = in_process(Routes::default(), &Config::default());
        let channels: Vec<(String, Channel)> = (0..instances).map(|index| (name(index), channel.clone())).collect();
        let processes = (0..instances).map(|index| Process {
            mode: Mode::Healthy,
            lies: chance.percent(30),
            ready: false,
            zone: chance.choose(&ZONES),
            targets: if chance.percent(20) { vec![index % targets, 0] } else { vec![index % targets] },
            opened: false,
            probe: None,
            last_probe_end: None,
            running: 0,
        });
        let processes = processes.collect();
        let policy = plan::policy(targets, &mut chance);
        let (policy, fleet) = (policy, Fleet::new(channels));
        let mut world = Self {
            now: 0,
            chance,
            fleet,
            policy,
            processes,
            targets,
            planned: Vec::new(),
            exchanges: Vec::new(),
            live: Vec::new(),
            calls: 0,
            queue: BinaryHeap::new(),
            happenings: 0,
            spent: Vec::new(),
        };
        (0..instances).for_each(|index| world.look_at(index));
        world
    }

    /// Trouble, then peace.
    pub(super) fn run(mut self) {
        let (requests, span) = (self.chance.number(30, 150), self.chance.number(2000, 15_000));
        // How many of a hundred instances a fault meets.
        let trouble = self.chance.choose(&[20, 60, 90, 100]);
        for index in 0..self.processes.len() {
            if self.chance.percent(trouble) {
                let at = self.chance.number(0, span / 4);
                self.after(at, Happening::Fault(index));
            }
        }
        for _ in 0..requests {
            let at = self.chance.number(0, span);
            self.plan(at, |_| ());
        }
        self.go_on();
        for index in 0..self.processes.len() {
            self.processes[index].mode = Mode::Healthy;
            self.look_at(index);
        }
        self.now += SETTLED;
        for (index, instance) in self.fleet.instances().iter().enumerate() {
            let is_out = (0..self.targets).any(|target| self.state(index, target) != State::Ready);
            assert!(!is_out, "{} stays out for ever: {:?}", instance.name, self.processes[index].probe);
        }
        // One after the other: a breaker that is half open lets no second one through.
        let now = self.now;
        for place in 0..20 {
            self.plan(now + place * 1000, |planned| {
                (planned.deadline, planned.leaves) = (None, None);
                planned.flaw = Flaw::None;
            });
        }
        let first = self.planned.len() - 20;
        self.go_on();
        for exchange in self.exchanges[first..].iter().flatten() {
            assert_eq!(exchange.outcome, Some(Outcome::Answered), "in a healthy fleet");
        }
        assert!(self.live.is_empty());
        self.check_budgets();
    }

    fn plan(&mut self, at: u64, change: impl FnOnce(&mut Planned)) {
        let mut planned = plan::request(self.targets, at, &mut self.chance);
        change(&mut planned);
        self.planned.push(planned);
        self.exchanges.push(None);
        self.after(at - self.now, Happening::Arrive(self.planned.len() - 1));
    }

    pub(super) fn after(&mut self, delay: u64, happening: Happening) {
        self.happenings += 1;
        self.queue.push(Reverse((self.now + delay, self.happenings, happening)));
    }

    /// Milliseconds on the fleet's clock.
    pub(super) fn clock(&self) -> u64 {
        self.now + 1
    }

    fn go_on(&mut self) {
        while let Some(Reverse((at, _, happening))) = self.queue.pop() {
            assert!(at >= self.now);
            self.now = at;
            match happening {
                Happening::Arrive(number) => self.arrive(number),
                Happening::Leave(number) => self.leave(number),
                Happening::Tick(number) => self.tick(number),
                Happening::Fault(index) => self.fault(index),
                Happening::Health(index) => self.look_at(index),
                Happening::Step { exchange, attempt, call, step } => self.step(exchange, attempt, (call, step)),
            }
        }
    }

    fn arrive(&mut self, number: usize) {
        let planned = &self.planned[number];
        let leaves = planned.leaves;
        let Some(exchange) = Exchange::decide(self, planned) else { return };
        self.exchanges[number] = Some(exchange);
        self.live.push(number);
        if let Some(leaves) = leaves {
            self.after(leaves, Happening::Leave(number));
        }
        self.act(number);
    }

    /// An instance falls ill, or recovers; whatever it is now, it will change again.
    fn fault(&mut self, index: usize) {
        let recovers = self.processes[index].mode != Mode::Healthy && self.chance.percent(60);
        let mode = if recovers { Mode::Healthy } else { self.chance.choose(&Mode::FAULTS) };
        self.processes[index].mode = mode;
        if !recovers {
            self.blemish(index);
            let lasts = self.chance.number(200, 15_000);
            self.after(lasts, Happening::Fault(index));
        }
        let seen_after = self.chance.number(0, 2000);
        self.after(seen_after, Happening::Health(index));
        if mode == Mode::Down {
            self.lose_calls(index);
        }
    }

    /// Everything under way at an instance fails at once.
    fn lose_calls(&mut self, index: usize) {
        let name = name(index);
        for number in self.live.clone() {
            let calls = self.exchanges[number].as_ref().map_or(0, |exchange| exchange.calls.len());
            for attempt in 0..calls {
                let Some(exchange) = &self.exchanges[number] else { continue };
                let call = exchange.calls.get(attempt).and_then(Option::as_ref);
                if call.is_some_and(|call| *call.picked.name == *name) {
                    self.tell(number, Event::Failed(attempt, Error::new(Reason::EngineLost, "the process is gone")));
                }
            }
        }
    }

    fn look_at(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let ready = !process.mode.is_unready() || (process.lies && process.ready);
        if ready == process.ready {
            return;
        }
        process.ready = ready;
        if !ready {
            self.fleet.unready(index);
            return self.blemish(index);
        }
        let describe = |target: &usize| TargetDescription { target: plan::target(*target), ..Default::default() };
        let mut targets: Vec<TargetDescription> = process.targets.iter().map(describe).collect();
        targets.dedup();
        let described =
            DescribeResponse { instance: name(index), zone: process.zone.into(), targets, ..Default::default() };
        self.fleet.describe(index, described);
    }

    /// Whether the gateway keeps requests for a target from an instance.
    fn state(&self, index: usize, target: usize) -> State {
        self.fleet.state(index, &plan::target(target), self.clock())
    }

    pub(super) fn is_broken(&self, index: usize) -> bool {
        self.state(index, 0) == State::Broken
    }

    /// Whether an instance does its work, and the gateway may know that.
    fn is_good(&self, index: usize, target: usize) -> bool {
        let process = &self.processes[index];
        process.mode == Mode::Healthy && process.ready && self.state(index, target) == State::Ready
    }

    /// The instances that are good for each target at this moment, as bits.
    pub(super) fn good(&self) -> Vec<u64> {
        let all = 0..self.processes.len();
        let good = |target| all.clone().filter(move |index| self.is_good(*index, target));
        (0..self.targets).map(|target| good(target).fold(0, |bits, index| bits | 1 << index)).collect()
    }

    /// The instances that serve a target, as bits.
    pub(super) fn serving(&self, target: &str, only_ready: bool) -> u64 {
        let number = plan::target_number(target);
        let serves = |process: &Process| process.targets.contains(&number);
        let processes = self.processes.iter().enumerate();
        let found = processes.filter(|(_, process)| serves(process) && (process.ready || !only_ready));
        found.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    /// No request that is under way can count on this instance any more.
    pub(super) fn blemish(&mut self, index: usize) {
        for number in &self.live {
            if let Some(exchange) = &mut self.exchanges[*number] {
                exchange.good.iter_mut().for_each(|good| *good &= !(1 << index));
            }
        }
    }

    /// Notes for which targets an instance is out.
    pub(super) fn look_at_state(&mut self, index: usize) {
        let out: Vec<usize> = (0..self.targets).filter(|target| self.state(index, *target) != State::Ready).collect();
        for target in out {
            for number in &self.live {
                if let Some(exchange) = &mut self.exchanges[*number] {
                    exchange.good[target] &= !(1 << index);
                }
            }
        }
    }

    fn step(&mut self, number: usize, attempt: Number, (id, step): (u64, u64)) {
        let Some(exchange) = &self.exchanges[number] else { return };
        let call = exchange.calls.get(attempt).and_then(Option::as_ref).filter(|call| call.id == id);
        let Some(call) = call else { return };
        let index = call.process;
        // A process that stands still says nothing, and what it had to say is lost.
        if self.processes[index].mode == Mode::Hung {
            return;
        }
        let Some((_, what)) = call.script.step(step) else { return };
        let is_last = matches!(what, Step::Finished | Step::Failed(_));
        if !is_last && let Some((after, _)) = call.script.step(step + 1) {
            self.after(after, Happening::Step { exchange: number, attempt, call: id, step: step + 1 });
        }
        if matches!(what, Step::Taken) && self.chance.percent(50) {
            let running_tokens = 300 * self.processes[index].running;
            self.fleet.instances()[index].says(&Load { running_tokens, slots: 4, ..Load::default() });
        }
        self.progress(number, attempt, what);
    }

    pub(super) fn count_running(&mut self, index: usize, more: bool) {
        let running = &mut self.processes[index].running;
        *running = if more { *running + 1 } else { *running - 1 };
    }

    /// In no ten seconds were there more extra attempts than the policy's share.
    fn check_budgets(&self) {
        for (what, budget) in [(Spent::Retry, self.policy.retry_budget), (Spent::Hedge, self.policy.hedge_budget)] {
            for (second, target, _) in self.spent.iter().filter(|(_, _, spent)| *spent == what) {
                let window = second.saturating_sub(9)..=*second;
                let count = |what| {
                    let same = |(second, of, spent): &&(u64, usize, Spent)| {
                        window.contains(second) && of == target && *spent == what
                    };
                    self.spent.iter().filter(same).count() as f64
                };
                let allowed = count(Spent::Request) * budget.ratio + f64::from(budget.min_per_second) * 10.0;
                assert!(count(what) <= allowed, "{what:?} at {target} in second {second}: more than {allowed}");
            }
        }
    }
}

pub(super) fn name(index: usize) -> String {
    format!("i{index:02}")
}
