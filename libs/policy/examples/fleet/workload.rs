//! What callers send: skewed lengths after shared beginnings, at random times.

use crate::chance::Chance;

/// Beginnings that callers share, such as the instructions of an application.
pub(crate) const PREFIXES: usize = 200;
/// Their lengths in tokens.
const PREFIX_TOKENS: (u32, u32) = (500, 4000);
/// What follows a beginning, and the answer: median in tokens, sigma of the log-normal distribution, most.
const OWN: (f64, f64, f64) = (200.0, 1.0, 8000.0);
const ANSWER: (f64, f64, f64) = (150.0, 0.8, 2000.0);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// In microseconds.
    pub(crate) arrival: u64,
    pub(crate) prefix: usize,
    pub(crate) prefix_tokens: u32,
    /// The prefix with it.
    pub(crate) prompt_tokens: u32,
    pub(crate) answer_tokens: u32,
}

/// The tokens of each prefix. The same in every run.
pub(crate) fn prefixes() -> [u32; PREFIXES] {
    let (least, most) = PREFIX_TOKENS;
    let mut chance = Chance::new(7);
    std::array::from_fn(|_| least + chance.below((most - least + 1) as usize) as u32)
}

/// Draws the requests of so many seconds: a Poisson process, the prefixes by Zipf's law (exponent 1).
pub(crate) fn requests(seed: u64, rate: f64, seconds: u64) -> Vec<Request> {
    let (prefixes, mut chance) = (prefixes(), Chance::new(seed));
    let mut share = 0.0;
    let shares: [f64; PREFIXES] = std::array::from_fn(|rank| {
        share += 1.0 / (rank + 1) as f64;
        share
    });
    let length = |(median, sigma, most): (f64, f64, f64), chance: &mut Chance| {
        chance.log_normal(median, sigma).clamp(1.0, most) as u32
    };
    let (mut requests, mut time) = (Vec::new(), 0.0);
    loop {
        time += chance.exponential(rate);
        if time > seconds as f64 {
            return requests;
        }
        let drawn = chance.uniform() * share;
        let prefix = shares.partition_point(|until| *until < drawn).min(PREFIXES - 1);
        let prefix_tokens = prefixes[prefix];
        requests.push(Request {
            arrival: (time * 1e6) as u64,
            prefix,
            prefix_tokens,
            prompt_tokens: prefix_tokens + length(OWN, &mut chance),
            answer_tokens: length(ANSWER, &mut chance),
        });
    }
}
