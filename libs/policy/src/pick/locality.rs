//! Prefers the gateway's own zone, as long as it costs little.

/// Crossing zones costs about a millisecond and money; it is worth a little waiting, not much.
pub(super) const WEIGHT: f64 = 0.1;

/// 1 in the gateway's own zone, 0 elsewhere.
pub(super) fn score(home_zone: &str, zone: &str) -> f64 {
    if !home_zone.is_empty() && home_zone == zone { 1.0 } else { 0.0 }
}
