//! What holds for every rule and every order of events: those that a driver may send, those of attempts that
//! are over, and those that come late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_policy::condition::Condition;
use pointsman_policy::rule::{Rule, StaticAnswer, Timeouts};
use pointsman_policy::{Cause, Causes, cause_of};
use pointsman_proto::inference::v1::AttemptKind;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::{Action, Event, Limits, Machine, Number, Outcome, Time};

const CAUSES: [Cause; 5] =
    [Cause::Unavailable, Cause::Saturated, Cause::RateLimited, Cause::ContextTooLong, Cause::ContentRefused];

const REASONS: [Reason; 11] = [
    Reason::InstanceUnreachable,
    Reason::EngineLost,
    Reason::StreamTruncated,
    Reason::ShuttingDown,
    Reason::QueueFull,
    Reason::RateLimited,
    Reason::RateLimited,
    Reason::ContextTooLong,
    Reason::ContentRefused,
    Reason::InvalidRequest,
    Reason::DeadlineExceeded,
];

/// Something that may happen; what it is about is drawn from what there is.
#[derive(Clone, Debug)]
struct Chance {
    what: What,
    which: Index,
    error: Error,
    /// Time that passes before.
    passes: Duration,
    /// Whether the ticks that are due in it are sent.
    on_time: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Taken,
    Content,
    Waiting,
    Piece,
    Finished,
    Failed,
    Tick,
    Stop,
    /// Of an attempt that is over.
    Stale,
}

fn causes() -> impl Strategy<Value = Causes> {
    prop_oneof![
        2 => Just(Causes::CAPACITY),
        1 => subsequence(CAUSES.to_vec(), 1..5).prop_map(|causes| causes.into_iter().collect()),
    ]
}

fn error() -> impl Strategy<Value = Error> {
    let hint = select(vec![None, Some(0), Some(1), Some(700), Some(2000), Some(60_000)]);
    (select(&REASONS[..]), hint).prop_map(|(reason, hint)| {
        let error = Error::new(reason, "a fault");
        hint.map_or(error.clone(), |hint| error.retry_after(Duration::from_millis(hint)))
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let millis = |most: u64| (1..most).prop_map(Duration::from_millis);
    let timeouts = (millis(3000), millis(5000), millis(3000), millis(20_000));
    let timeouts =
        timeouts.prop_map(|(connect, first_token, idle_gap, total)| Timeouts { connect, first_token, idle_gap, total });
    let static_answer = prop::option::of(causes());
    let hedge_after = prop::option::of(millis(2000));
    let deadline = prop::option::of((0_u64..20_000).prop_map(Duration::from_millis));
    let steps = prop::collection::vec(causes(), 0..5);
    (timeouts, static_answer, hedge_after, 1_u32..=16, deadline, steps).prop_map(
        |(timeouts, static_answer, hedge_after, max_attempts, deadline, mut steps)| {
            if let Some(first) = steps.first_mut() {
                *first = Causes::default();
            }
            let rule = Rule {
                name: "rule".into(),
                when: Condition::always(),
                targets: Vec::new(),
                sticky_by: None,
                fallbacks: Vec::new(),
                static_answer: static_answer.map(|causes| StaticAnswer { text: "Sorry.".into(), causes }),
                hedge_after,
                timeouts,
                max_attempts,
                allowed_zones: Vec::new(),
            };
            Limits { rule: Arc::new(rule), steps, deadline }
        },
    )
}

fn chance() -> impl Strategy<Value = Chance> {
    let what = prop_oneof![
        4 => Just(What::Taken),
        2 => Just(What::Content),
        2 => Just(What::Waiting),
        2 => Just(What::Piece),
        1 => Just(What::Finished),
        5 => Just(What::Failed),
        3 => Just(What::Tick),
        1 => Just(What::Stop),
        4 => Just(What::Stale),
    ];
    let passes = prop_oneof![2 => Just(0), 3 => 0_u64..500, 1 => 0_u64..6000].prop_map(Duration::from_millis);
    (what, any::<Index>(), error(), passes, prop::bool::weighted(0.8))
        .prop_map(|(what, which, error, passes, on_time)| Chance { what, which, error, passes, on_time })
}

/// Does what the machine says, and checks that it may say so.
struct Driver<'a> {
    limits: &'a Limits,
    machine: Machine,
    now: Time,
    /// Whether an instance is found, in turn: `None`, or the error that there is none.
    refusals: std::iter::Cycle<std::slice::Iter<'a, Option<Error>>>,
    /// Attempts that were asked and are not over, with their steps.
    running: Vec<(Number, usize)>,
    over: BTreeSet<Number>,
    asked: u32,
    hedges: u32,
    answering: Option<Number>,
    ended: bool,
    /// The step that was asked last, and the cause that must lead on from it.
    step: usize,
    last_failure: Option<Error>,
    cause: Option<Cause>,
    /// A caller's mistake was seen, or a pause was in vain: nobody may be asked any more.
    hopeless: bool,
    asks_at_once: usize,
}

impl<'a> Driver<'a> {
    fn begin(limits: &'a Limits, refusals: &'a [Option<Error>]) -> Self {
        let mut driver = Self {
            limits,
            machine: Machine::begin(limits.clone()),
            now: Time::ZERO,
            refusals: refusals.iter().cycle(),
            running: Vec::new(),
            over: BTreeSet::new(),
            asked: 0,
            hedges: 0,
            answering: None,
            ended: false,
            step: 0,
            last_failure: None,
            cause: Some(Cause::Unavailable),
            hopeless: false,
            asks_at_once: 0,
        };
        driver.act();
        driver
    }

    fn end_at(&self) -> Time {
        self.limits.rule.timeouts.total.min(self.limits.deadline.unwrap_or(Time::MAX))
    }

    fn tell(&mut self, event: Event) -> usize {
        self.machine.on(event, self.now);
        self.act()
    }

    /// Returns how much was done.
    fn act(&mut self) -> usize {
        let mut done = 0;
        while let Some(action) = self.machine.next_action() {
            assert!(!self.ended, "{action:?} after the end");
            done += 1;
            match action {
                Action::Ask { attempt, step, kind, again } => self.ask(attempt, (step, kind), again),
                Action::Drop(attempt, outcome) => self.drop_attempt(attempt, &outcome),
                Action::Answer(attempt) => {
                    assert_eq!(self.answering.replace(attempt), None, "a second beginning");
                    assert_eq!(self.running.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [attempt]);
                }
                Action::AnswerStatically => {
                    assert_eq!(self.answering, None, "a second beginning");
                    let causes = self.limits.rule.static_answer.as_ref().map(|answer| answer.causes);
                    let fits = causes.zip(self.cause).is_some_and(|(causes, cause)| causes.contains(cause));
                    // That all together took too long counts as unavailable.
                    let is_late =
                        self.now >= self.end_at() && causes.is_some_and(|all| all.contains(Cause::Unavailable));
                    assert!(fits || is_late || self.limits.steps.is_empty());
                    self.end();
                }
                Action::Fail(_) => self.end(),
            }
        }
        done
    }

    fn ask(&mut self, attempt: Number, (step, kind): (usize, AttemptKind), again: bool) {
        assert_eq!(self.answering, None, "an attempt after the answer began");
        assert!(!self.hopeless, "tried again after a caller's mistake, or a pause in vain");
        assert!(self.asked < self.limits.rule.max_attempts, "too many attempts");
        assert!(self.now < self.end_at() || self.now == Time::ZERO, "an attempt after the end of all time");
        assert!(self.running.iter().all(|(number, _)| *number < attempt) && !self.over.contains(&attempt));
        self.asks_at_once += 1;
        assert!(self.asks_at_once <= 64, "it asks for ever and no time passes");
        match kind {
            AttemptKind::Fallback => {
                let leads = |step: &usize| self.cause.is_some_and(|cause| self.limits.steps[*step].contains(cause));
                assert_eq!((self.step + 1..self.limits.steps.len()).find(leads), Some(step), "{:?}", self.cause);
            }
            AttemptKind::Hedge => {
                self.hedges += 1;
                assert_eq!((self.hedges, self.running.len()), (1, 1), "one hedge beside one attempt");
                assert_eq!(self.running[0].1, step);
            }
            AttemptKind::Retry => assert_eq!(step, self.step),
            _ => assert_eq!((attempt, step), (0, 0)),
        }
        self.step = step;
        let Some(Some(error)) = self.refusals.next() else {
            self.running.push((attempt, step));
            self.asked += 1;
            return self.machine.on(Event::Asked(attempt), self.now);
        };
        self.hopeless |= again;
        let own = matches!(kind, AttemptKind::First | AttemptKind::Fallback);
        if own {
            // It keeps its number, and a drop follows.
            self.running.push((attempt, step));
        }
        if kind != AttemptKind::Hedge {
            let error = self.last_failure.as_ref().filter(|_| !own).unwrap_or(error);
            self.cause = Some(cause_of(error.reason()).unwrap_or(Cause::Unavailable));
        }
        self.machine.on(Event::NotAsked(attempt, error.clone()), self.now);
    }

    fn drop_attempt(&mut self, attempt: Number, outcome: &Outcome) {
        let place = self.running.iter().position(|(number, _)| *number == attempt);
        self.running.remove(place.unwrap_or_else(|| panic!("{attempt} was dropped and did not run: {outcome:?}")));
        assert!(self.over.insert(attempt), "{attempt} was dropped twice");
        if let Outcome::Failed(error) = outcome
            && error.reason() == Reason::AttemptTimeout
        {
            // The machine's own.
            self.note(error);
        }
    }

    fn note(&mut self, error: &Error) {
        self.last_failure = Some(error.clone());
        self.cause = cause_of(error.reason());
        self.hopeless |= self.cause.is_none();
    }

    fn end(&mut self) {
        assert_eq!(self.running, [], "an attempt outlives its request");
        self.ended = true;
    }

    /// Sends what is due until then, if it is to be sent, and lets the rest of the time pass.
    fn pass(&mut self, until: Time, on_time: bool) {
        while on_time && !self.ended && self.machine.wakes_at() <= until {
            self.tick();
        }
        self.advance(until);
    }

    fn advance(&mut self, to: Time) {
        if to > self.now {
            (self.now, self.asks_at_once) = (to, 0);
        }
    }

    /// Waits for the next tick that is due, and sends it.
    fn tick(&mut self) {
        assert_ne!(self.machine.wakes_at(), Time::MAX, "nothing would ever end this request");
        self.advance(self.machine.wakes_at());
        let done = self.tell(Event::Tick);
        assert!(done > 0 || self.machine.wakes_at() > self.now, "it wakes for nothing, for ever");
        assert!(self.ended || self.now < self.end_at(), "it outlives its time");
    }

    fn take(&mut self, chance: &Chance) {
        self.pass(self.now + chance.passes, chance.on_time);
        if self.ended {
            return;
        }
        let Chance { which, error, .. } = chance;
        let running = self.running.get(which.index(self.running.len().max(1))).map(|(number, _)| *number);
        let answers = self.answering.is_some();
        let event = match (chance.what, running) {
            (What::Tick, _) => Event::Tick,
            (What::Stop, _) => Event::Stop(error.clone()),
            (What::Waiting, _) if answers => Event::Waiting,
            (What::Piece, _) if answers => Event::Piece,
            (What::Finished, _) if answers => Event::Finished,
            (What::Taken, Some(attempt)) if !answers => Event::Taken(attempt),
            (What::Content, Some(attempt)) if !answers => Event::Content(attempt),
            (What::Failed, Some(attempt)) => {
                self.note(error);
                Event::Failed(attempt, error.clone())
            }
            (What::Stale, _) if !self.over.is_empty() => {
                let over = self.over.iter().nth(which.index(self.over.len())).copied().unwrap();
                let stale = [Event::Taken(over), Event::Content(over), Event::Failed(over, error.clone())];
                let before = format!("{:?}", self.machine);
                for event in stale {
                    assert_eq!(self.tell(event), 0, "it listens to an attempt that is over");
                }
                assert_eq!(before, format!("{:?}", self.machine));
                return;
            }
            _ => return,
        };
        let is_finished = matches!(event, Event::Finished);
        let is_tick = matches!(event, Event::Tick);
        self.tell(event);
        if is_finished {
            self.end();
        }
        assert!(!is_tick || self.ended || self.now < self.end_at());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_request_ends_once(
        limits in limits(),
        refusals in prop::collection::vec(prop_oneof![3 => Just(None), 1 => error().prop_map(Some)], 1..12),
        chances in prop::collection::vec(chance(), 0..40),
    ) {
        let mut driver = Driver::begin(&limits, &refusals);
        for chance in &chances {
            driver.take(chance);
        }
        for _ in 0..20_000 {
            if driver.ended {
                break;
            }
            driver.tick();
        }
        prop_assert!(driver.ended, "it never ends");
        prop_assert_eq!(driver.machine.wakes_at(), Time::MAX);
        for event in [Event::Tick, Event::Stop(Error::new(Reason::Cancelled, "gone")), Event::Waiting, Event::Finished] {
            prop_assert_eq!(driver.tell(event), 0, "after the end, nothing");
        }
        prop_assert!(driver.asked <= limits.rule.max_attempts);
        prop_assert!(driver.running.is_empty());
    }
}
