//! How instances fare, and what their answers look like then.

use std::time::Duration;

use pointsman_errors::{Error, Reason};

use super::chance::Chance;

/// How an instance fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Healthy,
    /// The process is gone.
    Down,
    /// The process stands still; what was under way too.
    Hung,
    /// It takes requests, and that is all.
    Stalled,
    Slow,
    /// Its streams end early, or before they begin.
    Cutting,
    /// Its streams fall silent after the first piece.
    Muted,
    /// Its queue is full, and it says for how long.
    Full,
    /// A provider's limit is reached, and it says for how long.
    Limited,
}

impl Mode {
    pub(super) const FAULTS: [Mode; 8] =
        [Mode::Down, Mode::Hung, Mode::Stalled, Mode::Slow, Mode::Cutting, Mode::Muted, Mode::Full, Mode::Limited];

    /// Whether an honest health check would say so.
    pub(super) fn is_unready(self) -> bool {
        matches!(self, Mode::Down | Mode::Hung)
    }
}

/// What is wrong with a request, wherever it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    Wrong,
    TooLong,
    Refused,
}

/// How an instance answers one attempt: taken, some pieces, the end; unless it stops before.
#[derive(Clone, Debug)]
pub(super) struct Script {
    taken_after: u64,
    first_after: u64,
    gap: u64,
    pub(super) pieces: u64,
    /// At this step it stops: with an error, or in silence.
    stop: Option<(u64, Option<Error>)>,
}

/// One step of an answer.
pub(super) enum Step {
    Taken,
    Piece,
    Finished,
    Failed(Error),
}

impl Script {
    pub(super) fn of(mode: Mode, flaw: Flaw, chance: &mut Chance) -> Self {
        let slow = mode == Mode::Slow;
        let mut between = |usual: (u64, u64), slowly: (u64, u64)| {
            let (from, to) = if slow { slowly } else { usual };
            chance.number(from, to)
        };
        let mut script = Self {
            taken_after: between((1, 5), (5, 400)),
            first_after: between((20, 200), (500, 5000)),
            gap: between((1, 20), (50, 900)),
            pieces: between((1, 12), (1, 12)),
            stop: None,
        };
        let hint = Duration::from_millis(chance.choose(&[0, 1, 50, 700, 1900, 5000]));
        let fail = |reason| Some(Error::new(reason, "simulated"));
        script.stop = match (mode, flaw) {
            (Mode::Down, _) => Some((0, fail(Reason::InstanceUnreachable))),
            (Mode::Hung, _) => Some((0, None)),
            (Mode::Full, _) => Some((0, fail(Reason::QueueFull).map(|error| error.retry_after(hint)))),
            (Mode::Limited, _) => Some((0, fail(Reason::RateLimited).map(|error| error.retry_after(hint)))),
            (_, Flaw::Wrong) => Some((0, fail(Reason::InvalidRequest))),
            (_, Flaw::TooLong) => Some((0, fail(Reason::ContextTooLong))),
            (_, Flaw::Refused) => Some((1, fail(Reason::ContentRefused))),
            (Mode::Stalled, _) => Some((1, None)),
            (Mode::Muted, _) => Some((2, None)),
            (Mode::Cutting, _) => Some((chance.number(0, script.pieces + 2), fail(Reason::StreamTruncated))),
            (Mode::Healthy | Mode::Slow, Flaw::None) => None,
        };
        script
    }

    /// What comes as this step, and when after the one before; `None` for silence.
    pub(super) fn step(&self, number: u64) -> Option<(u64, Step)> {
        if let Some((_, error)) = self.stop.as_ref().filter(|(at, _)| *at == number) {
            return error.as_ref().map(|error| (1, Step::Failed(error.clone())));
        }
        Some(match number {
            0 => (self.taken_after, Step::Taken),
            1 => (self.first_after, Step::Piece),
            piece if piece <= self.pieces => (self.gap, Step::Piece),
            _ => (self.gap, Step::Finished),
        })
    }
}
