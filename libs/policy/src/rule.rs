//! A rule, compiled: what is looked at for each request.

use std::sync::Arc;
use std::time::Duration;

use crate::condition::Condition;
use crate::{Causes, Fact};

/// Where requests go, and what happens when that fails.
#[derive(Debug)]
pub struct Rule {
    /// Its name; empty for a model of the fleet that was named directly.
    pub name: Arc<str>,
    /// When it applies.
    pub when: Condition,
    /// One of these is first.
    pub targets: Vec<WeightedTarget>,
    /// What decides which; without it, chance.
    pub sticky_by: Option<Fact>,
    /// What is next, in order.
    pub fallbacks: Vec<Fallback>,
    /// What is last.
    pub static_answer: Option<StaticAnswer>,
    /// When a second attempt joins a slow first one.
    pub hedge_after: Option<Duration>,
    /// How long what may take.
    pub timeouts: Timeouts,
    /// Attempts in all.
    pub max_attempts: u32,
    /// Where the request may run. Empty: anywhere.
    pub allowed_zones: Vec<Box<str>>,
}

/// One target of a split.
#[derive(Clone, Debug)]
pub struct WeightedTarget {
    /// A target's resource name, or a model's name.
    pub target: Arc<str>,
    /// Its share, against the others.
    pub weight: u32,
    pub(crate) hash: u64,
}

impl WeightedTarget {
    pub(crate) fn new(target: &str, weight: u32) -> Self {
        Self { target: target.into(), weight, hash: crate::hash::hash(target.as_bytes()) }
    }
}

/// A target that is tried after a failure.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// A target's resource name, or a model's name.
    pub target: Arc<str>,
    /// The failures after which it is tried.
    pub causes: Causes,
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub struct StaticAnswer {
    /// Its text.
    pub text: Arc<str>,
    /// The failures after which it is given.
    pub causes: Causes,
}

/// How long the parts of an attempt, and all of them together, may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until an instance has taken the request.
    pub connect: Duration,
    /// Until the first piece of the answer.
    pub first_token: Duration,
    /// Between two pieces.
    pub idle_gap: Duration,
    /// From accepting the request to the end of its answer.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(60),
            idle_gap: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}

/// How many attempts a request may have unless its rule says otherwise.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

impl Rule {
    /// Returns the targets that the rule names, as it names them: those of the split, then the fallbacks.
    pub fn target_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let split = self.targets.iter().map(|weighted| &weighted.target);
        split.chain(self.fallbacks.iter().map(|fallback| &fallback.target))
    }

    /// Makes the rule of a model or target that a caller names directly: every default.
    pub(crate) fn direct(target: &str) -> Self {
        Self {
            name: "".into(),
            when: Condition::always(),
            targets: vec![WeightedTarget::new(target, 1)],
            sticky_by: None,
            fallbacks: Vec::new(),
            static_answer: None,
            hedge_after: None,
            timeouts: Timeouts::default(),
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            allowed_zones: Vec::new(),
        }
    }
}
