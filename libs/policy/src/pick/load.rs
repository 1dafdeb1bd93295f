//! Prefers who has the least work before it, counted in tokens: a request is no unit of work.

/// How busy an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Tokens to be read and written for what runs and waits there, and for what was sent since it last said.
    pub tokens: u64,
    /// How many requests it generates at the same time. 0 counts as 1.
    pub slots: u32,
}

/// Work per slot, in tokens, that halves a score: about a short answer.
const HALF: f64 = 128.0;

/// How much busier than the mean an instance may be that is preferred for anything but its load.
const BOUND: f64 = 1.25;
/// And by how many tokens per slot, so that an idle fleet has room.
const SLACK: f64 = 64.0;

impl Load {
    /// Returns the tokens before each slot.
    pub(super) fn per_slot(self) -> f64 {
        self.tokens as f64 / f64::from(self.slots.max(1))
    }
}

/// 1 for an idle instance, towards 0 with the work before it.
pub(super) fn score(load: Load) -> f64 {
    HALF / (HALF + load.per_slot())
}

/// The load of several instances together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Total {
    per_slot: f64,
    count: u32,
}

impl Total {
    pub(super) fn add(&mut self, load: Load) {
        self.per_slot += load.per_slot();
        self.count += 1;
    }

    /// Above this, in tokens per slot, an instance is much busier than the others.
    pub(super) fn bound(&self) -> f64 {
        self.per_slot / f64::from(self.count.max(1)) * BOUND + SLACK
    }
}
