//! Bounds the extra attempts at one target, so that trouble is not multiplied.

use std::sync::{Mutex, PoisonError};

use pointsman_policy::compile::Budget;

/// Seconds that are looked back on.
const SECONDS: usize = 10;

/// Requests and extra attempts of the last ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Spending(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// By second, as a ring.
    requests: [u32; SECONDS],
    extras: [u32; SECONDS],
    /// The newest second, on the fleet's clock.
    second: u64,
}

impl Spending {
    /// Counts a request.
    pub(crate) fn request(&self, now: u64) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = window.at(now);
        window.requests[slot] += 1;
    }

    /// Counts an extra attempt, if there may be one.
    pub(crate) fn extra(&self, now: u64, budget: Budget) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = window.at(now);
        let sum = |counts: &[u32; SECONDS]| counts.iter().map(|count| f64::from(*count)).sum::<f64>();
        let allowed = sum(&window.requests) * budget.ratio + f64::from(budget.min_per_second) * SECONDS as f64;
        let allows = sum(&window.extras) + 1.0 <= allowed;
        window.extras[slot] += u32::from(allows);
        allows
    }
}

impl Window {
    /// The slot of the current second; empties those that have passed since.
    fn at(&mut self, now: u64) -> usize {
        let second = now / 1000;
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for offset in 0..passed {
            let slot = slot(second - offset);
            (self.requests[slot], self.extras[slot]) = (0, 0);
        }
        self.second = self.second.max(second);
        slot(self.second)
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pointsman_policy::compile::Budget;

    use super::Spending;

    #[test]
    fn extras_are_a_share_of_requests() {
        let budget = Budget { ratio: 0.2, min_per_second: 1 };
        let spending = Spending::default();
        let spend = |now: u64| (0..1000).take_while(|_| spending.extra(now, budget)).count();
        assert_eq!(spend(0), 10, "without requests, the minimum");
        (0..100).for_each(|_| spending.request(1000));
        assert_eq!(spend(1000), 20);
        assert_eq!(spend(9999), 0, "still the same ten seconds");
        assert_eq!(spend(10_000), 10, "the first ten are forgotten");
        assert_eq!(spend(60_000), 10);
    }
}
