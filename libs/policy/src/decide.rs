//! One decision: constraints → rule → split → ordered targets.

mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};

use crate::fleet::Target;
use crate::rule::Rule;
use crate::{Cause, Causes, CompiledPolicy, Facts, Fleet};

/// Where a request may go, in order, and from what that was decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Names the decision: its seed in 16 hexadecimal digits.
    pub id: Arc<str>,
    /// Repeats the decision: the chance that was used.
    pub seed: u64,
    /// When it was made.
    pub time: SystemTime,
    /// The fleet that it was made for.
    pub fleet_revision: u64,
    /// The policy's revision. Empty: there is none.
    pub policy_revision: Arc<str>,
    /// The rule that applied.
    pub rule: Arc<Rule>,
    /// The targets to try. Empty: the static answer at once.
    pub steps: Vec<Step>,
    /// Targets of the rule that this request may not or cannot go to.
    pub rejected: Vec<Rejected>,
    /// The zones that whoever sent the request allows. Empty: all.
    caller_zones: Arc<[Box<str>]>,
}

/// One target of a decision.
#[derive(Clone, Debug)]
pub struct Step {
    /// The target.
    pub target: Arc<Target>,
    /// The failures after which it is tried; of the first one, none.
    pub causes: Causes,
}

/// A target that was not taken into a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The target, as the rule names it.
    pub target: Arc<str>,
    /// Why.
    pub why: Rejection,
}

/// Why a target was not taken into a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No instance serves it.
    Unknown,
    /// It lacks something that the request asks for.
    LacksAbility,
    /// None of its instances is in an allowed zone.
    ZoneNotAllowed,
    /// It is other tenants'.
    TenantNotAllowed,
}

impl Rejection {
    /// Returns its name, as it is written in decisions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN_TARGET",
            Self::LacksAbility => "LACKS_ABILITY",
            Self::ZoneNotAllowed => "ZONE_NOT_ALLOWED",
            Self::TenantNotAllowed => "TENANT_NOT_ALLOWED",
        }
    }
}

impl Decision {
    /// Whether the request may run in this zone.
    pub fn allows_zone(&self, zone: &str) -> bool {
        let has = |zones: &[Box<str>]| zones.is_empty() || zones.iter().any(|allowed| **allowed == *zone);
        has(&self.rule.allowed_zones) && has(&self.caller_zones)
    }
}

/// What a decision is made from, beside policy and fleet.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The zones that whoever sent the request allows. Empty: all.
    pub caller_zones: Arc<[Box<str>]>,
    /// Now.
    pub time: SystemTime,
    /// Chance: 64 random bits.
    pub seed: u64,
}

impl Circumstances {
    /// Returns the id of the decision that is made from these, be it a refusal.
    pub fn id(&self) -> Arc<str> {
        format!("{:016x}", self.seed).into()
    }
}

/// Decides where a request may go. The same arguments give the same decision.
pub fn decide(
    policy: &CompiledPolicy,
    fleet: &Fleet,
    facts: &Facts<'_>,
    given: Circumstances,
) -> Result<Decision, Error> {
    let name = facts.model();
    let mut decision = Decision {
        id: given.id(),
        seed: given.seed,
        time: given.time,
        fleet_revision: fleet.revision,
        policy_revision: Arc::clone(&policy.revision),
        rule: Arc::clone(&policy.direct),
        steps: Vec::new(),
        rejected: Vec::new(),
        caller_zones: given.caller_zones,
    };
    let needed = facts.needed();
    match find(policy, fleet, name, facts.tenant())? {
        Found::VirtualModel(rules) => {
            let rule = rules.iter().find(|rule| rule.when.holds(facts)).ok_or_else(|| {
                let message = format!("no rule of `{name}` applies to this request: ask whoever owns the policy");
                Error::new(Reason::NoRuleApplies, message)
            })?;
            decision.rule = Arc::clone(rule);
            decision.plan(fleet, facts, needed);
        }
        Found::Target(target) => match decision.admits(target, facts, needed) {
            Ok(()) => decision.steps.push(Step { target: Arc::clone(target), causes: Causes::default() }),
            Err(why) => decision.rejected.push(Rejected { target: Arc::clone(&target.name), why }),
        },
    }
    if decision.steps.is_empty() && !decision.begins_with_static_answer() {
        return Err(decision.refusal(fleet, facts));
    }
    Ok(decision)
}

impl Decision {
    /// Orders the rule's targets: one of the split, then the fallbacks.
    fn plan(&mut self, fleet: &Fleet, facts: &Facts<'_>, needed: u64) {
        let rule = Arc::clone(&self.rule);
        if let Some(first) = self.split(&rule, fleet, facts, needed) {
            self.steps.push(Step { target: first, causes: Causes::default() });
        }
        for fallback in &rule.fallbacks {
            // Without a first target, what remains is what would follow after its failure.
            if self.steps.is_empty() && !fallback.causes.contains(Cause::Unavailable) {
                continue;
            }
            if let Some(target) = self.admitted(&fallback.target, fleet, facts, needed)
                && !self.steps.iter().any(|step| step.target.name == target.name)
            {
                self.steps.push(Step { target, causes: fallback.causes });
            }
        }
    }

    /// Finds a target that the request may and can go to; notes why it is not one.
    fn admitted(&mut self, name: &Arc<str>, fleet: &Fleet, facts: &Facts<'_>, needed: u64) -> Option<Arc<Target>> {
        let found = fleet.find(name).ok_or(Rejection::Unknown);
        match found.and_then(|target| self.admits(target, facts, needed).map(|()| target)) {
            Ok(target) => Some(Arc::clone(target)),
            Err(why) => {
                self.rejected.push(Rejected { target: Arc::clone(name), why });
                None
            }
        }
    }

    fn admits(&self, target: &Target, facts: &Facts<'_>, needed: u64) -> Result<(), Rejection> {
        if !target.is_for(facts.tenant()) {
            Err(Rejection::TenantNotAllowed)
        } else if needed & !target.abilities != 0 {
            Err(Rejection::LacksAbility)
        } else if !target.zones.iter().any(|zone| self.allows_zone(zone)) {
            Err(Rejection::ZoneNotAllowed)
        } else {
            Ok(())
        }
    }

    fn begins_with_static_answer(&self) -> bool {
        // A wall is no failure: what no target may do is not answered by a text either.
        self.rejected.iter().all(|rejected| rejected.why == Rejection::Unknown)
            && self.rule.static_answer.as_ref().is_some_and(|answer| answer.causes.contains(Cause::Unavailable))
    }

    /// Says why there is nothing to try: what the caller can change comes first.
    fn refusal(&self, fleet: &Fleet, facts: &Facts<'_>) -> Error {
        let name = facts.model();
        let rejected = |why| self.rejected.iter().find(move |rejected| rejected.why == why);
        if let Some(target) = rejected(Rejection::LacksAbility).and_then(|rejected| fleet.find(&rejected.target)) {
            return Error::unsupported(facts.lacking(&target.description));
        }
        if rejected(Rejection::ZoneNotAllowed).is_some() {
            return Error::new(Reason::NoTargetAllowed, self.walled(fleet, name));
        }
        if rejected(Rejection::TenantNotAllowed).is_some() {
            let message = format!("`{name}` leads to models of other tenants: ask whoever owns the policy");
            return Error::new(Reason::NoTargetAllowed, message);
        }
        // What is left is unknown to the fleet, or there would be a step.
        let unknown = listed(self.rejected.iter().map(|rejected| &*rejected.target));
        let message = if fleet.incomplete {
            format!("`{name}` leads to {unknown}, which no instance serves that was reached so far; try again")
        } else {
            format!("`{name}` leads to {unknown}, which no instance serves: ask whoever owns the policy, or try again")
        };
        Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1))
    }

    /// Says where the request may run, and where it could.
    fn walled(&self, fleet: &Fleet, name: &str) -> String {
        let by_policy = self.rule.allowed_zones.iter().map(|zone| &**zone);
        let by_caller = self.caller_zones.iter().map(|zone| &**zone);
        let either = by_policy.clone().chain(by_caller.clone());
        let allowed: Vec<&str> = either.filter(|zone| self.allows_zone(zone)).collect();
        let may = if allowed.is_empty() {
            let (policy, caller) = (listed(by_policy), listed(by_caller));
            format!("the policy allows {policy} and whoever sent it {caller}, which have no zone in common")
        } else {
            format!("it may run in {}", listed(allowed))
        };
        let outside = self.rejected.iter().filter(|rejected| rejected.why == Rejection::ZoneNotAllowed);
        let zones = outside.filter_map(|rejected| fleet.find(&rejected.target)).flat_map(|target| &target.zones);
        let there = listed(zones.map(|zone| &**zone));
        format!("`{name}` has no instance where this request may run: {may}; there are instances in {there}")
    }
}

/// Names of targets or zones, each once and in the order of the alphabet.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let quoted = |name: &str| if name.is_empty() { "no named zone".to_owned() } else { format!("`{name}`") };
    let mut names: Vec<String> = names.into_iter().map(quoted).collect();
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
        None => "none".to_owned(),
    }
}

/// What a name is that a caller uses.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A name of the policy, with its rules.
    VirtualModel(&'a [Arc<Rule>]),
    /// A target of the fleet.
    Target(&'a Arc<Target>),
}

/// Finds what a caller's name is, among what callers of this tenant may name. What is other tenants' is not there.
pub fn find<'a>(policy: &'a CompiledPolicy, fleet: &'a Fleet, name: &str, tenant: &str) -> Result<Found<'a>, Error> {
    if let Some(rules) = policy.rules(name) {
        return Ok(Found::VirtualModel(rules));
    }
    if !policy.virtual_models_only {
        if let Some(target) = fleet.find(name).filter(|target| target.is_for(tenant)) {
            return Ok(Found::Target(target));
        }
        if fleet.incomplete {
            let message = format!("no instance that serves `{name}` has been reached yet; try again");
            return Err(Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1)));
        }
    }
    Err(Error::new(Reason::ModelNotFound, format!("no model `{name}` is served here; the list of models says what is")))
}
