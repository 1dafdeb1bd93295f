//! How far an answer is, for whoever reads it: mistral.rs does not tell all of it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many tokens were chosen, and whether the last of them ends the answer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    chosen: AtomicU32,
    ended: AtomicBool,
}

impl Progress {
    /// Counts a token, and returns how many there were before.
    pub(crate) fn count(&self) -> u32 {
        self.chosen.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that an end was chosen.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn chosen(&self) -> u32 {
        self.chosen.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
