//! The fleet in virtual time: arrivals, steps of instances, and their reports to one gateway.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;

use crate::chance::Chance;
use crate::figures::{Figures, Outcome};
use crate::instance::{Event, Instance, Tally};
use crate::pickers::{Gateway, Way};
use crate::workload::{self, Request};

/// What is measured, in seconds, after as many for the caches to fill.
pub(crate) const SECONDS: u64 = 180;
const BEFORE: u64 = 60;
/// How often an instance says how busy it is, in microseconds.
const REPORT: u64 = 50_000;

pub(crate) struct Run {
    pub(crate) instances: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
    pub(crate) way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Step(usize),
    Report(usize),
}

pub(crate) fn run(run: &Run) -> Result<Figures, Box<dyn Error>> {
    let requests = workload::requests(run.seed, run.rate, BEFORE + SECONDS);
    let mut fleet = Fleet::new(run, &requests)?;
    for (id, request) in requests.iter().enumerate() {
        fleet.advance(request.arrival);
        fleet.arrive(id, *request);
    }
    // What has not ended a minute after the last arrival counts as never.
    fleet.advance((BEFORE + SECONDS + 60) * 1_000_000);
    Ok(fleet.figures())
}

struct Fleet<'a> {
    requests: &'a [Request],
    instances: Vec<Instance>,
    gateway: Gateway,
    /// Where each request went, and what came of it.
    sent: Vec<usize>,
    outcomes: Vec<Outcome>,
    events: BinaryHeap<Reverse<(u64, Next)>>,
    ended_in_time: u64,
    tally: Tally,
    before: Tally,
}

impl<'a> Fleet<'a> {
    fn new(run: &Run, requests: &'a [Request]) -> Result<Self, Box<dyn Error>> {
        let mut chance = Chance::new(run.seed ^ 0xF1EE7);
        let report = |index| Reverse((chance.below(REPORT as usize) as u64, Next::Report(index)));
        let never = Outcome { first: u64::MAX, total: u64::MAX, answer_tokens: 0 };
        Ok(Self {
            requests,
            instances: (0..run.instances).map(|_| Instance::default()).collect(),
            gateway: Gateway::new(run.way, run.instances, run.seed)?,
            sent: vec![0; requests.len()],
            outcomes: vec![never; requests.len()],
            events: (0..run.instances).map(report).collect(),
            ended_in_time: 0,
            tally: Tally::default(),
            before: Tally::default(),
        })
    }

    fn arrive(&mut self, id: usize, request: Request) {
        let index = self.gateway.pick(id, &request);
        self.sent[id] = index;
        self.instances[index].accept(id, request);
        if request.arrival < BEFORE * 1_000_000 {
            self.before = self.tally;
        }
        self.step(index, request.arrival);
    }

    /// Begins a step, unless one is under way.
    fn step(&mut self, index: usize, now: u64) {
        let instance = &mut self.instances[index];
        if !instance.stepping
            && let Some(time) = instance.begin_step(&mut self.tally)
        {
            instance.stepping = true;
            self.events.push(Reverse((now + time, Next::Step(index))));
        }
    }

    /// Lets everything happen that happens before this moment.
    fn advance(&mut self, until: u64) {
        while let Some(Reverse((now, next))) = self.events.peek().copied()
            && now <= until
        {
            self.events.pop();
            match next {
                Next::Report(index) => {
                    self.gateway.hear(index, self.instances[index].tokens());
                    self.events.push(Reverse((now + REPORT, next)));
                }
                Next::Step(index) => {
                    self.end_step(index, now);
                    self.step(index, now);
                }
            }
        }
    }

    fn end_step(&mut self, index: usize, now: u64) {
        let Self { instances, gateway, requests, outcomes, ended_in_time, sent, .. } = self;
        instances[index].stepping = false;
        instances[index].end_step(|event| match event {
            Event::First(id) => outcomes[id].first = now - requests[id].arrival,
            Event::Ended(id) => {
                outcomes[id].total = now - requests[id].arrival;
                outcomes[id].answer_tokens = requests[id].answer_tokens;
                gateway.ended(id, sent[id]);
                let measured = BEFORE * 1_000_000..(BEFORE + SECONDS) * 1_000_000;
                *ended_in_time += u64::from(measured.contains(&now));
            }
        });
    }

    fn figures(self) -> Figures {
        let first = self.requests.partition_point(|request| request.arrival < BEFORE * 1_000_000);
        let cached = (self.tally.cached - self.before.cached) as f64;
        let prompts = (self.tally.prompts - self.before.prompts) as f64;
        Figures::of(&self.outcomes[first..], self.ended_in_time, cached / prompts, SECONDS)
    }
}
