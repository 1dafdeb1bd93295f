//! What a run came to.

use serde::Serialize;
use serde_json::{Value, json};

/// What callers still call good: the first token, and each further one on the mean, in microseconds.
const FIRST_LIMIT: u64 = 1_000_000;
const EACH_LIMIT: u64 = 50_000;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Since arrival, in microseconds; `u64::MAX` if it never came.
    pub(crate) first: u64,
    pub(crate) total: u64,
    pub(crate) answer_tokens: u32,
}

impl Outcome {
    fn is_good(&self) -> bool {
        let each = self.total.saturating_sub(self.first) / u64::from(self.answer_tokens.saturating_sub(1).max(1));
        self.total != u64::MAX && self.first <= FIRST_LIMIT && each <= EACH_LIMIT
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Good requests a second.
    pub(crate) goodput: f64,
    pub(crate) good_share: f64,
    pub(crate) ended_per_second: f64,
    /// The median and the 99th percentile.
    pub(crate) first_ms: [f64; 2],
    pub(crate) total_ms: [f64; 2],
    /// The share of prompt tokens that was in a cache.
    pub(crate) cached: f64,
}

impl Figures {
    pub(crate) fn of(outcomes: &[Outcome], ended: u64, cached: f64, seconds: u64) -> Self {
        let quantiles = |time: fn(&Outcome) -> u64| {
            let mut times: Vec<u64> = outcomes.iter().map(time).collect();
            times.sort_unstable();
            [0.5, 0.99].map(|share| {
                let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
                // What never came is no number, and null in JSON.
                times
                    .get(index)
                    .filter(|micros| **micros != u64::MAX)
                    .map_or(f64::INFINITY, |micros| *micros as f64 / 1000.0)
            })
        };
        let good = outcomes.iter().filter(|outcome| outcome.is_good()).count() as f64;
        Self {
            goodput: good / seconds as f64,
            good_share: good / outcomes.len() as f64,
            ended_per_second: ended as f64 / seconds as f64,
            first_ms: quantiles(|outcome| outcome.first),
            total_ms: quantiles(|outcome| outcome.total),
            cached,
        }
    }
}

pub(crate) fn limits() -> Value {
    json!({ "first_ms": FIRST_LIMIT / 1000, "each_ms": EACH_LIMIT / 1000 })
}

/// The middle of several runs, and the ends.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
    }
}
