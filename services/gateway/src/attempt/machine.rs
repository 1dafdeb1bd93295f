//! The attempt machine: events and time in, actions out. No I/O, no clock, no chance.
//!
//! Until the first piece of an answer is there, an attempt that fails is followed by another instance of its
//! target, then by the fallbacks whose causes fit, then by the static answer; all within one number of attempts.
//! A slow first attempt may be hedged. From the first piece on there is one attempt, and its end is the end.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;

use std::collections::VecDeque;
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_policy::{Cause, Causes, Rule, cause_of};
use pointsman_proto::inference::v1::AttemptKind;

/// Time since the request was accepted.
pub(super) type Time = Duration;

/// The place of an attempt among those of its request.
pub(super) type Number = usize;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// An instance was asked for this attempt.
    Asked(Number),
    /// No instance could be asked for this attempt.
    /// A retry or hedge then was none, and its number is given again.
    NotAsked(Number, Error),
    /// The instance has taken the request.
    Taken(Number),
    /// The first piece of an answer is there.
    Content(Number),
    /// The reader waits for the next piece.
    Waiting,
    /// A piece of the answer came.
    Piece,
    /// The answer is whole.
    Finished,
    /// The attempt ended with an error.
    Failed(Number, Error),
    /// Time passed.
    Tick,
    /// The request is to end now, with this error.
    Stop(Error),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// Ask an instance of this step's target.
    Ask {
        /// The new attempt.
        attempt: Number,
        /// The step of the decision.
        step: usize,
        /// Why.
        kind: AttemptKind,
        /// Whether instances that were tried before may be asked again.
        again: bool,
    },
    /// Drop this attempt; this is its outcome.
    Drop(Number, Outcome),
    /// Give this attempt's frames to the caller.
    Answer(Number),
    /// Give the rule's static answer.
    AnswerStatically,
    /// Fail the request.
    Fail(Error),
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Its answer was whole.
    Finished,
    /// Another attempt was faster, or the request ended without it.
    LostRace,
    /// With an error of its own.
    Failed(Error),
    /// It was stopped with its request, whose error this is.
    Stopped(Error),
}

impl Outcome {
    /// `FINISHED`, `LOST_RACE`, or the reason of an error.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::LostRace => "LOST_RACE",
            Self::Failed(error) | Self::Stopped(error) => error.reason().name(),
        }
    }

    /// Whether it is an error, whoever's.
    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Stopped(_))
    }
}

/// What bounds a request's attempts.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// From the policy.
    pub(super) rule: std::sync::Arc<Rule>,
    /// Of each step of the decision, the causes that lead to it.
    pub(super) steps: Vec<Causes>,
    /// When the caller stops waiting.
    pub(super) deadline: Option<Time>,
}

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Machine {
    limits: Limits,
    /// What is to be done, in order.
    actions: VecDeque<Action>,
    attempts: Vec<Attempt>,
    state: State,
    hedged: bool,
    /// Of the attempt that failed last.
    last_error: Option<Error>,
}

#[derive(Debug)]
struct Attempt {
    step: usize,
    kind: AttemptKind,
    /// Whether it follows a pause.
    again: bool,
    /// Whether an instance was asked.
    asked: bool,
    begin: Time,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An instance is to be found.
    New,
    Asked,
    Taken,
    Over,
}

#[derive(Debug)]
enum State {
    Trying,
    /// Every instance said when to come back.
    Pausing {
        until: Time,
        step: usize,
        error: Error,
    },
    Answering {
        attempt: Number,
        waiting_since: Option<Time>,
    },
    Ended,
}

/// A hint that is longer is given to the caller, who has better things to do than to wait for us.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Machine {
    /// Begins with the first attempt, or with the static answer where there is no target.
    pub(super) fn begin(limits: Limits) -> Self {
        let mut machine = Self {
            limits,
            actions: VecDeque::with_capacity(2),
            attempts: Vec::with_capacity(1),
            state: State::Trying,
            hedged: false,
            last_error: None,
        };
        if machine.limits.steps.is_empty() {
            machine.end(Action::AnswerStatically, None);
        } else {
            machine.ask(0, AttemptKind::First, false, Time::ZERO);
        }
        machine
    }

    /// What is to be done next, if anything is.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes in what happened.
    pub(super) fn on(&mut self, event: Event, now: Time) {
        match (&mut self.state, event) {
            (State::Ended, _) => {}
            (_, Event::Tick) => self.tick(now),
            (_, Event::Stop(error)) => self.end(Action::Fail(error), None),
            (State::Answering { waiting_since, .. }, Event::Waiting) => {
                waiting_since.get_or_insert(now);
            }
            (State::Answering { waiting_since, .. }, Event::Piece) => *waiting_since = None,
            (State::Answering { attempt, .. }, Event::Finished) => {
                let attempt = *attempt;
                self.drop_attempt(attempt, Outcome::Finished);
                self.state = State::Ended;
            }
            (State::Answering { attempt, .. }, Event::Failed(failed, error)) if *attempt == failed => {
                self.end(Action::Fail(error.clone()), Some((failed, error)));
            }
            (_, Event::Asked(attempt)) => {
                self.attempts[attempt].asked = true;
                self.reached(attempt, Phase::Asked);
            }
            (_, Event::Taken(attempt)) => self.reached(attempt, Phase::Taken),
            (State::Trying, Event::Content(attempt)) => self.answer(attempt),
            (State::Trying, Event::NotAsked(attempt, error)) => self.not_asked(attempt, error, now),
            (State::Trying, Event::Failed(attempt, error)) => self.failed(attempt, error, now),
            // Of an attempt that was dropped meanwhile.
            _ => {}
        }
    }

    /// When a [`Event::Tick`] is due, if nothing else happens before.
    pub(super) fn wakes_at(&self) -> Time {
        let timeouts = &self.limits.rule.timeouts;
        let next = match &self.state {
            State::Pausing { until, .. } => *until,
            State::Answering { waiting_since, .. } => {
                waiting_since.map_or(Time::MAX, |since| since.saturating_add(timeouts.idle_gap))
            }
            State::Trying => {
                let due = self.running().map(|(_, attempt)| self.due(attempt));
                due.chain(self.hedge_at()).min().unwrap_or(Time::MAX)
            }
            State::Ended => return Time::MAX,
        };
        next.min(self.end_at())
    }

    fn running(&self) -> impl Iterator<Item = (Number, &Attempt)> + use<'_> {
        self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.phase != Phase::Over)
    }

    /// When an attempt has taken too long.
    fn due(&self, attempt: &Attempt) -> Time {
        let timeouts = &self.limits.rule.timeouts;
        let first_token = attempt.begin.saturating_add(timeouts.first_token);
        match attempt.phase {
            Phase::Taken => first_token,
            _ => first_token.min(attempt.begin.saturating_add(timeouts.connect)),
        }
    }

    fn end_at(&self) -> Time {
        self.limits.rule.timeouts.total.min(self.limits.deadline.unwrap_or(Time::MAX))
    }

    /// When the one running attempt is joined by another.
    fn hedge_at(&self) -> Option<Time> {
        let after = self.limits.rule.hedge_after?;
        let mut running = self.running();
        let (_, only) = running.next().filter(|_| running.next().is_none())?;
        let at = only.begin.saturating_add(after);
        Some(at).filter(|at| !self.hedged && self.may_ask(*at))
    }

    /// Whether another attempt may begin. One that found nobody to ask, or would end with the request, is none.
    fn may_ask(&self, now: Time) -> bool {
        let asked = self.attempts.iter().filter(|attempt| attempt.asked).count();
        asked < self.limits.rule.max_attempts as usize && now < self.end_at()
    }

    fn ask(&mut self, step: usize, kind: AttemptKind, again: bool, now: Time) {
        self.state = State::Trying;
        let attempt = self.attempts.len();
        self.attempts.push(Attempt { step, kind, again, asked: false, begin: now, phase: Phase::New });
        self.actions.push_back(Action::Ask { attempt, step, kind, again });
    }

    fn reached(&mut self, attempt: Number, phase: Phase) {
        let attempt = &mut self.attempts[attempt];
        // What is over does not come back, however late it says so.
        if attempt.phase != Phase::Over {
            attempt.phase = phase;
        }
    }

    fn answer(&mut self, winner: Number) {
        if self.attempts[winner].phase == Phase::Over {
            return;
        }
        let losers: Vec<Number> = self.running().map(|(number, _)| number).filter(|number| *number != winner).collect();
        for loser in losers {
            self.drop_attempt(loser, Outcome::LostRace);
        }
        self.state = State::Answering { attempt: winner, waiting_since: None };
        self.actions.push_back(Action::Answer(winner));
    }

    fn drop_attempt(&mut self, attempt: Number, outcome: Outcome) {
        self.attempts[attempt].phase = Phase::Over;
        self.actions.push_back(Action::Drop(attempt, outcome));
    }

    /// Nobody could be asked. A retry or hedge that cannot be is no failure of its own.
    fn not_asked(&mut self, attempt: Number, error: Error, now: Time) {
        let Attempt { step, kind, again, .. } = self.attempts[attempt];
        match kind {
            AttemptKind::Hedge => self.attempts.truncate(attempt),
            AttemptKind::Retry => {
                self.attempts.truncate(attempt);
                let error = self.last_error.clone().unwrap_or(error);
                // Whoever has waited in vain is told so, and does not wait for ever.
                if again { self.give_up(error) } else { self.move_on(step, error, now) }
            }
            _ => {
                self.drop_attempt(attempt, Outcome::Failed(error.clone()));
                self.move_on(step, error, now);
            }
        }
    }

    fn failed(&mut self, attempt: Number, error: Error, now: Time) {
        if self.attempts[attempt].phase == Phase::Over {
            return;
        }
        let step = self.attempts[attempt].step;
        self.drop_attempt(attempt, Outcome::Failed(error.clone()));
        self.last_error = Some(error.clone());
        let Some(cause) = cause_of(error.reason()) else {
            // The request is wrong, or its caller's time is over: nobody else can do better.
            return self.end(Action::Fail(error), None);
        };
        if self.running().next().is_some() {
            return;
        }
        if Causes::CAPACITY.contains(cause) && self.may_ask(now) {
            self.ask(step, AttemptKind::Retry, false, now);
        } else {
            self.move_on(step, error, now);
        }
    }

    /// Leaves a target: for a fallback, for the same once more after a pause, for the static answer.
    fn move_on(&mut self, step: usize, error: Error, now: Time) {
        let cause = cause_of(error.reason()).unwrap_or(Cause::Unavailable);
        if self.may_ask(now) {
            let fallback = (step + 1..self.limits.steps.len()).find(|next| self.limits.steps[*next].contains(cause));
            if let Some(fallback) = fallback {
                return self.ask(fallback, AttemptKind::Fallback, false, now);
            }
            if let Some(until) = self.pause_until(cause, &error, now) {
                self.state = State::Pausing { until, step, error };
                return;
            }
        }
        self.give_up(error);
    }

    /// Ends with the static answer, or with this error.
    fn give_up(&mut self, error: Error) {
        let cause = cause_of(error.reason()).unwrap_or(Cause::Unavailable);
        let answer = self.limits.rule.static_answer.as_ref().filter(|answer| answer.causes.contains(cause));
        let last = if answer.is_some() { Action::AnswerStatically } else { Action::Fail(error) };
        self.end(last, None);
    }

    /// A rate limit passes by itself, and whoever has it says when. A full queue does not: overload is told at
    /// once, so that the caller slows down.
    fn pause_until(&self, cause: Cause, error: &Error, now: Time) -> Option<Time> {
        let hint = error.retry_delay().filter(|hint| cause == Cause::RateLimited && *hint <= LONGEST_PAUSE)?;
        let until = now.saturating_add(hint);
        (until < self.end_at()).then_some(until)
    }

    fn tick(&mut self, now: Time) {
        if now >= self.end_at() {
            return self.end_late();
        }
        match &self.state {
            State::Pausing { until, step, .. } if now >= *until => {
                let step = *step;
                self.ask(step, AttemptKind::Retry, true, now);
            }
            State::Answering { attempt, waiting_since: Some(since) } => {
                let gap = self.limits.rule.timeouts.idle_gap;
                if now >= since.saturating_add(gap) {
                    let (attempt, error) = (*attempt, slow("fell silent for", gap));
                    self.end(Action::Fail(error.clone()), Some((attempt, error)));
                }
            }
            State::Trying => self.tick_trying(now),
            _ => {}
        }
    }

    fn tick_trying(&mut self, now: Time) {
        let late: Vec<Number> =
            self.running().filter(|(_, attempt)| now >= self.due(attempt)).map(|(number, _)| number).collect();
        for number in late {
            let timeouts = &self.limits.rule.timeouts;
            let error = match self.attempts[number].phase {
                Phase::Taken => slow("did not begin to answer in", timeouts.first_token),
                _ => slow("did not take the request in", timeouts.connect.min(timeouts.first_token)),
            };
            self.failed(number, error, now);
        }
        let hedge_is_due = matches!(self.state, State::Trying) && self.hedge_at().is_some_and(|at| now >= at);
        let step = self.running().map(|(_, attempt)| attempt.step).next();
        if let Some(step) = step.filter(|_| hedge_is_due) {
            self.hedged = true;
            self.ask(step, AttemptKind::Hedge, false, now);
        }
    }

    /// Nobody waits any longer: the caller does not, or the rule, which may have an answer of its own for that.
    fn end_late(&mut self) {
        let total = self.limits.rule.timeouts.total;
        if self.limits.deadline.is_some_and(|deadline| deadline <= total) {
            let error = Error::new(Reason::DeadlineExceeded, "the deadline passed before the answer was complete");
            return self.end(Action::Fail(error), None);
        }
        let error = match &self.state {
            State::Pausing { error, .. } => error.clone(),
            _ => {
                let message = format!("all attempts together took longer than {total:?}; try again");
                Error::new(Reason::AttemptTimeout, message)
            }
        };
        if matches!(self.state, State::Answering { .. }) {
            return self.end(Action::Fail(error), None);
        }
        let running: Vec<Number> = self.running().map(|(number, _)| number).collect();
        for number in running {
            self.drop_attempt(number, Outcome::Stopped(error.clone()));
        }
        self.give_up(error);
    }

    /// Ends the request. `own` is the attempt whose error that is; the others are dropped.
    fn end(&mut self, last: Action, own: Option<(Number, Error)>) {
        if let Some((attempt, error)) = own {
            self.drop_attempt(attempt, Outcome::Failed(error));
        }
        let running: Vec<Number> = self.running().map(|(number, _)| number).collect();
        for number in running {
            let outcome = match &last {
                Action::Fail(error) => Outcome::Stopped(error.clone()),
                _ => Outcome::LostRace,
            };
            self.drop_attempt(number, outcome);
        }
        self.state = State::Ended;
        self.actions.push_back(last);
    }
}

fn slow(what: &str, limit: Duration) -> Error {
    let message = format!("the instance {what} {limit:?}; try again");
    Error::new(Reason::AttemptTimeout, message).retry_after(Duration::from_secs(1))
}
