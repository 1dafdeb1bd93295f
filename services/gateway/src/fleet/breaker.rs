//! Keeps requests from an instance that fails them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row that open a breaker.
const THRESHOLD: u32 = 5;
/// How long it stays open: doubling with each probe that fails, from the first to the last.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A circuit breaker. Times are milliseconds on the fleet's clock; 0 means never.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: AtomicU32,
    /// How often it opened since the last success.
    openings: AtomicU32,
    open_until: AtomicU64,
    /// Whether a request is finding out if the instance is well again.
    probing: AtomicBool,
}

/// As what a request got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Freely,
    /// It finds out if the instance is well again.
    AsProbe,
}

impl Breaker {
    /// Whether a request is kept from the instance.
    pub(super) fn is_open(&self, now: u64) -> bool {
        let open_until = self.open_until.load(Ordering::Relaxed);
        open_until > now || (open_until > 0 && self.probing.load(Ordering::Relaxed))
    }

    /// Lets a request through, and says as what. `None` if it would be a second probe.
    pub(super) fn enter(&self) -> Option<Entry> {
        match self.open_until.load(Ordering::Relaxed) {
            0 => Some(Entry::Freely),
            _ => (!self.probing.swap(true, Ordering::Relaxed)).then_some(Entry::AsProbe),
        }
    }

    /// The instance did its work. Returns whether the breaker was open.
    pub(super) fn succeeded(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.openings.store(0, Ordering::Relaxed);
        let was_open = self.open_until.swap(0, Ordering::Relaxed) > 0;
        self.probing.store(false, Ordering::Relaxed);
        was_open
    }

    /// The instance failed a request that got through like this. Returns for how long the breaker is open now,
    /// if this opened it.
    pub(super) fn failed(&self, now: u64, entry: Entry) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let opens = match self.open_until.load(Ordering::Relaxed) {
            0 => failures >= THRESHOLD,
            // Those that were under way when it opened say nothing new.
            _ => entry == Entry::AsProbe,
        };
        if !opens {
            return None;
        }
        let openings = self.openings.fetch_add(1, Ordering::Relaxed).min(16);
        let open = OPEN.0.saturating_mul(1 << openings).min(OPEN.1);
        self.open_until.store(now + millis(open), Ordering::Relaxed);
        Some(open)
    }

    /// A request that got through like this is over, whatever became of it.
    pub(super) fn left(&self, entry: Entry) {
        if entry == Entry::AsProbe {
            self.probing.store(false, Ordering::Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Breaker, Entry};

    #[test]
    fn it_opens_and_lets_one_probe_through() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.failed(0, Entry::Freely), None);
        }
        breaker.succeeded();
        for _ in 0..4 {
            assert_eq!(breaker.failed(0, Entry::Freely), None, "the failures were not in a row");
        }
        assert_eq!(breaker.failed(100, Entry::Freely), Some(Duration::from_secs(1)));
        assert!(breaker.is_open(1099));
        assert!(!breaker.is_open(1100), "half open");
        assert_eq!(breaker.enter(), Some(Entry::AsProbe));
        assert_eq!((breaker.is_open(1100), breaker.enter()), (true, None), "one probe at a time");
        breaker.left(Entry::Freely);
        assert_eq!(breaker.failed(1150, Entry::Freely), None, "it was under way when the breaker opened");
        assert_eq!((breaker.is_open(1150), breaker.enter()), (true, None), "the probe is still out");
        assert_eq!(breaker.failed(1200, Entry::AsProbe), Some(Duration::from_secs(2)));
        breaker.left(Entry::AsProbe);
        assert_eq!((breaker.is_open(3199), breaker.is_open(3200)), (true, false));
        assert_eq!(breaker.enter(), Some(Entry::AsProbe));
        breaker.left(Entry::AsProbe);
        assert_eq!(breaker.enter(), Some(Entry::AsProbe), "a probe whose caller left has proven nothing");
        assert!(breaker.succeeded());
        assert!(!breaker.is_open(3200));
        assert_eq!(breaker.failed(3200, Entry::Freely), None);
    }
}
