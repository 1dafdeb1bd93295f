//! The time for which an instance wants to be left alone with one of its targets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pointsman_policy::Cause;

/// A hint to come back is followed no longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// A cool-down. Times are milliseconds on the fleet's clock; 0 means never.
#[derive(Debug, Default)]
pub(crate) struct Cooling {
    until: AtomicU64,
    rate_limited: AtomicBool,
}

impl Cooling {
    /// The instance asks to be left alone for a while.
    pub(crate) fn begin(&self, now: u64, hint: Duration, cause: Cause) {
        self.rate_limited.store(cause == Cause::RateLimited, Ordering::Relaxed);
        let hint = u64::try_from(hint.min(LONGEST).as_millis()).unwrap_or(u64::MAX);
        self.until.fetch_max(now + hint, Ordering::Relaxed);
    }

    /// When it ends, if it has begun.
    pub(super) fn until(&self, now: u64) -> Option<u64> {
        Some(self.until.load(Ordering::Relaxed)).filter(|until| *until > now)
    }

    /// Whether that is because of a rate limit, and not because the instance is full.
    pub(super) fn is_rate_limited(&self) -> bool {
        self.rate_limited.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pointsman_policy::Cause;

    use super::Cooling;

    #[test]
    fn a_cool_down_ends_by_itself() {
        let cooling = Cooling::default();
        cooling.begin(10, Duration::from_millis(100), Cause::Saturated);
        cooling.begin(10, Duration::from_millis(50), Cause::Saturated);
        assert_eq!((cooling.until(109), cooling.until(110)), (Some(110), None));
        cooling.begin(0, Duration::from_secs(3600), Cause::Saturated);
        assert_eq!(cooling.until(30_000), None, "no hint is followed for ever");
    }
}
