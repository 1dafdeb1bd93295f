//! Prefers the gateway's own zone, as long as it costs little.

use super::Candidate;
use super::load::Total;

/// Crossing zones costs about a millisecond and money; it is worth a little waiting, not much.
pub(super) const WEIGHT: f64 = 0.1;

/// 1 in the gateway's own zone, unless the instance is much busier than the others; 0 elsewhere. In a busy
/// fleet the scores of the load lie closer together than any weight: without the bound nothing but the zone
/// would count there.
pub(super) fn score(home_zone: &str, candidate: &Candidate<'_>, eligible: &Total) -> f64 {
    let is_home = !home_zone.is_empty() && home_zone == candidate.zone;
    if is_home && candidate.load.per_slot() <= eligible.bound() { 1.0 } else { 0.0 }
}
