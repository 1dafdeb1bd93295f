//! Which instance of a target gets an attempt: filter → score → pick.
//!
//! Each filter and scorer is one file and one function. A filter says why a candidate is out; a scorer gives
//! a number from 0 to 1, and the highest weighted sum wins. Chance breaks ties.

mod filter;
mod load;
mod locality;
mod prefix;
#[cfg(test)]
mod tests;

use crate::Decision;
use crate::hash::rank;

pub use filter::Out;
pub use load::Load;
pub use prefix::Prefix;

/// An instance, as it is at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The hash of its name: [`instance_hash`].
    pub hash: u64,
    /// Where it runs.
    pub zone: &'a str,
    /// Whether it may be asked.
    pub state: State,
    /// How busy it is.
    pub load: Load,
}

/// Whether an instance may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Ready,
    /// It does not serve, or cannot be reached.
    NotReady,
    /// It has said when to come back, and it is not yet that time.
    Cooling,
    /// It failed too often lately.
    Broken,
    /// What room it has is kept for requests of a higher priority.
    Reserved,
    /// This request has tried it.
    Tried,
}

/// What an attempt needs of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The decision that it belongs to.
    pub decision: &'a Decision,
    /// Where the gateway runs. Empty: nowhere in particular.
    pub home_zone: &'a str,
    /// The beginning of the prompt.
    pub prefix: Prefix,
    /// Chance: 64 random bits.
    pub seed: u64,
}

/// The instance that was picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picked {
    /// Its place among the candidates.
    pub index: usize,
    /// Its score.
    pub score: f64,
}

/// Why none was picked: how many candidates were out for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonePicked {
    counts: [u32; Out::COUNT],
}

impl NonePicked {
    /// Returns how many candidates were out for this reason.
    pub fn count(&self, why: Out) -> u32 {
        self.counts[why as usize]
    }
}

/// Returns the hash of an instance's name, for [`Candidate::hash`].
pub fn instance_hash(name: &str) -> u64 {
    crate::hash::hash(name.as_bytes())
}

/// Returns the place of the candidate that a key ranks first, by the hashes of their names. `None` if there is
/// none.
pub fn first_by_rank(key: &str, candidates: impl Iterator<Item = u64>) -> Option<usize> {
    let key = crate::hash::hash(key.as_bytes());
    candidates.enumerate().max_by_key(|(_, candidate)| rank(key, *candidate)).map(|(index, _)| index)
}

/// Picks an instance. The same arguments give the same instance.
pub fn pick(wish: &Wish<'_>, candidates: &[Candidate<'_>]) -> Result<Picked, NonePicked> {
    let mut none = NonePicked::default();
    let mut eligible = load::Total::default();
    for candidate in candidates {
        match filter::out(wish, candidate) {
            Some(why) => none.counts[why as usize] += 1,
            None => eligible.add(candidate.load),
        }
    }
    let home = prefix::home(wish, candidates, &eligible);
    let mut best: Option<(f64, u64, usize)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if filter::out(wish, candidate).is_some() {
            continue;
        }
        let score = load::score(candidate.load)
            + prefix::score(wish.prefix, home == Some(index))
            + locality::WEIGHT * locality::score(wish.home_zone, candidate, &eligible);
        // Most candidates are worse than one before them, and need no chance.
        if best.is_some_and(|(highest, ..)| score < highest) {
            continue;
        }
        let tie = rank(wish.seed, candidate.hash);
        if best.is_none_or(|(highest, chance, _)| score > highest || tie > chance) {
            best = Some((score, tie, index));
        }
    }
    best.map(|(score, _, index)| Picked { index, score }).ok_or(none)
}
