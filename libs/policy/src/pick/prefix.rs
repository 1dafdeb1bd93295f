//! Prefers the instance that has read the beginning of this prompt before, and may have it in its cache.
//!
//! Nobody is asked: every gateway ranks the instances by the prefix (rendezvous hashing) and takes the
//! highest that is not much busier than the others (consistent hashing with bounded loads, Mirrokni, Thorup
//! and Zadimoghaddam, 2018). So a prefix that everybody sends spreads over as many instances as it needs.

use pointsman_proto::inference::v1::{GenerateRequest, Message, Role, part};

use super::load::Total;
use super::{Candidate, Wish, filter};
use crate::hash::{hash, hash_after, rank};

/// The beginning of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    key: u64,
    tokens: u32,
}

/// Instructions as long as this are worth an affinity of their own, whoever continues them.
const LONG_INSTRUCTIONS: usize = 2048;
/// Bytes of a token, about.
const BYTES_PER_TOKEN: usize = 4;
/// A cached prefix of so many tokens is worth as much as an idle instance.
const FULL: f64 = 1024.0;

impl Prefix {
    /// Finds the beginning of a request's prompt that others are likely to share: long instructions by
    /// themselves, otherwise instructions and the first word of the user, which later turns repeat.
    pub fn of(request: &GenerateRequest, tenant: &str) -> Self {
        let (mut key, mut bytes) = (hash(tenant.as_bytes()), 0);
        for message in &request.messages {
            let is_instruction = matches!(message.role(), Role::System | Role::Developer);
            if !is_instruction && bytes >= LONG_INSTRUCTIONS {
                break;
            }
            for text in texts(message) {
                key = hash_after(key, text.as_bytes());
                bytes += text.len();
            }
            if !is_instruction {
                break;
            }
        }
        Self { key, tokens: u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX) }
    }
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match &part.kind {
        Some(part::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    })
}

/// Finds the instance that the prefix belongs to.
pub(super) fn home(wish: &Wish<'_>, candidates: &[Candidate<'_>], eligible: &Total) -> Option<usize> {
    if wish.prefix.tokens == 0 {
        return None;
    }
    let bound = eligible.bound();
    let fits = |candidate: &Candidate<'_>| candidate.load.per_slot() <= bound && filter::out(wish, candidate).is_none();
    let mut highest: Option<(u64, usize)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        // The rank first: it costs least, and few are higher than all before them.
        let rank = rank(wish.prefix.key, candidate.hash);
        if highest.is_none_or(|(highest, _)| rank >= highest) && fits(candidate) {
            highest = Some((rank, index));
        }
    }
    highest.map(|(_, index)| index)
}

/// The prefix's share of a full affinity for its home, 0 for the others.
pub(super) fn score(prefix: Prefix, is_home: bool) -> f64 {
    if is_home { (f64::from(prefix.tokens) / FULL).min(1.0) } else { 0.0 }
}
