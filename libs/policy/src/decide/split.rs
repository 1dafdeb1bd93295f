//! Which target of a split is first.

use std::sync::Arc;

use super::Decision;
use crate::fleet::Target;
use crate::hash::{hash, hash_after, weighted_rank};
use crate::rule::Rule;
use crate::{Facts, Fleet};

impl Decision {
    /// Draws one of the rule's targets by weight, among those that the request may and can go to. Requests
    /// that share the value of `sticky_by` draw the same, as long as targets and weights stay; when they
    /// change, as few as possible move.
    pub(super) fn split(&mut self, rule: &Rule, fleet: &Fleet, facts: &Facts<'_>, needed: u64) -> Option<Arc<Target>> {
        let key = self.key(rule, facts);
        let mut best: Option<(f64, Arc<Target>)> = None;
        for weighted in &rule.targets {
            let Some(target) = self.admitted(&weighted.target, fleet, facts, needed) else { continue };
            let rank = weighted_rank(key, weighted.hash, weighted.weight);
            if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
                best = Some((rank, target));
            }
        }
        best.map(|(_, target)| target)
    }

    fn key(&self, rule: &Rule, facts: &Facts<'_>) -> u64 {
        match rule.sticky_by.as_ref().map(|fact| facts.text(fact)) {
            // With the name, so that two virtual models draw independently.
            Some(value) if !value.is_empty() => {
                let tenant = hash_after(hash(facts.tenant().as_bytes()), facts.model().as_bytes());
                hash_after(tenant, value.as_bytes())
            }
            _ => self.seed,
        }
    }
}
