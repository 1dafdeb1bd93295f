//! Rendezvous hashing: each key ranks all candidates by itself, so that one which comes or goes moves only
//! the keys that rank it first (Thaler and Ravishankar, 1998).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Hashes bytes. The same on every gateway, and in every version.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Hashes bytes after others.
pub(crate) fn hash_after(before: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, before)
}

/// How high a key ranks a candidate.
pub(crate) fn rank(key: u64, candidate: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): mixes two hashes in a few nanoseconds.
    let mut mixed = key ^ candidate.rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The rank of a candidate that is to be first for a share of keys in proportion to its weight: the
/// logarithmic method of weighted rendezvous hashing (Schindelhauer and Schomaker, 2005).
pub(crate) fn weighted_rank(key: u64, candidate: u64, weight: u32) -> f64 {
    // 53 bits make a number between 0 and 1, never 0 itself.
    let uniform = ((rank(key, candidate) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}
