//! A policy, checked for meaning and made quick to look things up in.

pub(crate) mod limits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pointsman_proto::policy::v1 as proto;
use pointsman_types::is_segment;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::condition::{Condition, compile_fact};
use crate::rule::{DEFAULT_MAX_ATTEMPTS, Fallback, Rule, StaticAnswer, WeightedTarget};
use crate::{Cause, Causes, Fact};
use limits::{budget, is_target, timeouts, within};

/// A policy that can be decided by.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// The first 12 hexadecimal digits of the SHA-256 of the policy's message; empty if there is none.
    pub revision: Arc<str>,
    /// Whether callers may use nothing but virtual models.
    pub virtual_models_only: bool,
    /// How much a target may be retried.
    pub retry_budget: Budget,
    /// How much a target may be hedged.
    pub hedge_budget: Budget,
    /// The rule of what is named directly; its target is the name itself.
    pub(crate) direct: Arc<Rule>,
    virtual_models: BTreeMap<Box<str>, Vec<Arc<Rule>>>,
}

/// How many extra attempts are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// As a share of requests.
    pub ratio: f64,
    /// In each second, whatever the share.
    pub min_per_second: u32,
}

/// Something wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `virtual_models[0].rules[1].when`.
    pub path: String,
    /// The byte within the field's text, where it is known.
    pub offset: Option<usize>,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// The other field that this one cannot stand beside.
    pub(crate) beside: Option<String>,
}

impl CompiledPolicy {
    /// Returns the policy of a mesh that has none: models and targets by their own names.
    pub fn none() -> Self {
        Self {
            revision: "".into(),
            virtual_models_only: false,
            retry_budget: Budget::default(),
            hedge_budget: Budget::default(),
            direct: Arc::new(Rule::direct("")),
            virtual_models: BTreeMap::new(),
        }
    }

    /// Returns the names of the virtual models.
    pub fn virtual_models(&self) -> impl Iterator<Item = &str> {
        self.virtual_models.keys().map(|name| &**name)
    }

    /// Returns the rules of a virtual model.
    pub fn rules(&self, name: &str) -> Option<&[Arc<Rule>]> {
        self.virtual_models.get(name).map(Vec::as_slice)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 3 }
    }
}

/// Compiles a policy. Fails with everything that is wrong with it.
pub fn compile(policy: &proto::Policy) -> Result<CompiledPolicy, Vec<Problem>> {
    let mut problems = Problems::default();
    problems.require(policy.virtual_models.len() <= 1024, "virtual_models", "there may be at most 1,024");
    problems.contradicts(
        policy.virtual_models_only && policy.virtual_models.is_empty(),
        "virtual_models_only",
        "virtual_models",
        "leaves callers nothing, without virtual models",
    );
    let mut virtual_models = BTreeMap::new();
    for (index, model) in policy.virtual_models.iter().enumerate() {
        let at = format!("virtual_models[{index}]");
        problems.require(
            is_segment(&model.name),
            format!("{at}.name"),
            "must be 1 to 63 letters, digits, `-`, `_`, `.` and `:`",
        );
        let rules = compile_rules(model, &at, &mut problems);
        if virtual_models.insert(model.name.as_str().into(), rules).is_some() {
            problems.add(format!("{at}.name"), format!("`{}` is there twice", model.name));
        }
    }
    let retry_budget = budget(policy.retry_budget.as_ref(), "retry_budget", &mut problems);
    let hedge_budget = budget(policy.hedge_budget.as_ref(), "hedge_budget", &mut problems);
    if !problems.0.is_empty() {
        return Err(problems.0);
    }
    let digest = Sha256::digest(policy.encode_to_vec());
    let revision: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let virtual_models_only = policy.virtual_models_only;
    Ok(CompiledPolicy {
        revision: revision.into(),
        virtual_models_only,
        retry_budget,
        hedge_budget,
        virtual_models,
        ..CompiledPolicy::none()
    })
}

/// The problems found so far, at most [`Problems::LIMIT`].
#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    const LIMIT: usize = 100;

    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Problem { path: path.into(), offset: None, message: message.into(), beside: None });
    }

    fn require(&mut self, kept: bool, path: impl Into<String>, message: &str) {
        if !kept {
            self.add(path, message);
        }
    }

    /// Adds what is wrong with a field only because of what another one says.
    fn contradicts(&mut self, wrong: bool, path: impl Into<String>, beside: impl Into<String>, message: &str) {
        if wrong {
            let beside = Some(beside.into());
            self.push(Problem { path: path.into(), offset: None, message: message.to_owned(), beside });
        }
    }

    fn add_in_text(&mut self, path: &str, offset: usize, message: String) {
        self.push(Problem { path: path.to_owned(), offset: Some(offset), message, beside: None });
    }

    fn push(&mut self, problem: Problem) {
        if self.0.len() < Self::LIMIT {
            self.0.push(problem);
        }
    }
}

fn compile_rules(model: &proto::VirtualModel, at: &str, problems: &mut Problems) -> Vec<Arc<Rule>> {
    problems.require((1..=64).contains(&model.rules.len()), format!("{at}.rules"), "there must be 1 to 64");
    let mut names = HashSet::new();
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    for (index, rule) in model.rules.iter().enumerate() {
        let at = format!("{at}.rules[{index}]");
        problems.require(
            is_segment(&rule.name) && names.insert(&rule.name),
            format!("{at}.name"),
            "must be 1 to 63 letters, digits, `-`, `_`, `.` and `:`, and unlike the others",
        );
        let when = compile_condition(&rule.when, &at, (&model.name, &rules), problems);
        rules.push(Arc::new(compile_rule(rule, when, &at, problems)));
    }
    rules
}

/// Compiles a condition of a virtual model's rule, and proves that it can hold behind the rules before it.
fn compile_condition(
    text: &str,
    at: &str,
    (model, before): (&str, &[Arc<Rule>]),
    problems: &mut Problems,
) -> Condition {
    let path = format!("{at}.when");
    let when = match Condition::compile(text) {
        Ok(when) => when,
        Err(mistakes) => {
            for mistake in mistakes {
                problems.add_in_text(&path, mistake.offset, mistake.message);
            }
            // Not `always`, which would make the rules behind it look as if nothing reached them.
            return Condition::never();
        }
    };
    let before: Vec<&Condition> = before.iter().map(|rule| &rule.when).collect();
    // Where the field is absent, its rule's own place is the nearest.
    let (rules, _) = at.rsplit_once('[').unwrap_or((at, ""));
    if !when.can_hold(None, &[]) {
        let bounds: String = when.facts().filter_map(Fact::bounds_in_words).map(|words| format!("; {words}")).collect();
        problems.add(path, format!("no request can meet this condition{bounds}"));
    } else if !when.can_hold(Some(model), &[]) {
        let virtual_model = rules.rsplit_once('.').map_or("", |(model, _)| model);
        let message = format!(
            "no request can meet this condition: `request.model` is the name that the caller asked for, here always `{model}`"
        );
        problems.contradicts(true, path, format!("{virtual_model}.name"), &message);
    } else {
        let is_taken = !when.can_hold(Some(model), &before);
        let message = "the rules before this one take every request that it could apply to";
        problems.contradicts(is_taken, path, rules, message);
    }
    when
}

fn compile_rule(rule: &proto::Rule, when: Condition, at: &str, problems: &mut Problems) -> Rule {
    let targets = compile_targets(rule, at, problems);
    let fallbacks = compile_fallbacks(rule, at, problems);
    let max_attempts = rule.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS);
    let allowed = limits::MAX_ATTEMPTS.contains(&max_attempts);
    problems.require(allowed, format!("{at}.max_attempts"), &limits::must_be("max_attempts"));
    let one_attempt = max_attempts == 1;
    problems.require(
        !one_attempt || rule.fallbacks.is_empty(),
        format!("{at}.fallbacks"),
        "are never tried, with max_attempts 1",
    );
    let hedge_after = rule.hedge.as_ref().and_then(|hedge| {
        let at = format!("{at}.hedge");
        problems.require(!one_attempt, &at, "never happens, with max_attempts 1");
        within(hedge.after.as_ref(), &format!("{at}.after"), (1, 600_000), problems)
    });
    let timeouts = timeouts(rule.timeouts.as_ref(), &format!("{at}.timeouts"), problems);
    let ends = [("first_token", timeouts.first_token), ("total", timeouts.total)];
    let before = ends.into_iter().find(|(_, end)| hedge_after.is_some_and(|after| after >= *end));
    if let Some((end, _)) = before {
        let message = format!("never happens: `timeouts.{end}` is not longer");
        problems.contradicts(true, format!("{at}.hedge.after"), format!("{at}.timeouts.{end}"), &message);
    }
    let sticky_by = (!rule.sticky_by.is_empty()).then(|| compile_fact(&rule.sticky_by)).and_then(|fact| {
        let path = format!("{at}.sticky_by");
        fact.map_err(|mistake| problems.add_in_text(&path, mistake.offset, mistake.message)).ok()
    });
    for (index, zone) in rule.allowed_zones.iter().enumerate() {
        let path = format!("{at}.allowed_zones[{index}]");
        problems.require(!zone.is_empty(), &path, "must not be empty");
        let twice = !zone.is_empty() && rule.allowed_zones[..index].contains(zone);
        problems.require(!twice, path, "is there twice");
    }
    Rule {
        name: rule.name.as_str().into(),
        when,
        targets,
        sticky_by,
        fallbacks,
        static_answer: compile_static_answer(rule, at, problems),
        hedge_after,
        timeouts,
        max_attempts,
        allowed_zones: rule.allowed_zones.iter().map(|zone| zone.as_str().into()).collect(),
    }
}

fn compile_targets(rule: &proto::Rule, at: &str, problems: &mut Problems) -> Vec<WeightedTarget> {
    problems.require((1..=16).contains(&rule.targets.len()), format!("{at}.targets"), "there must be 1 to 16");
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (index, target) in rule.targets.iter().enumerate() {
        let at = format!("{at}.targets[{index}]");
        problems.require(is_target(&target.target), format!("{at}.target"), limits::NO_TARGET);
        problems.require(seen.insert(&target.target), format!("{at}.target"), "is there twice");
        let weight = target.weight.unwrap_or(1);
        let allowed = limits::WEIGHT.contains(&weight);
        let message = format!("{}; leave the target out instead of 0", limits::must_be("weight"));
        problems.require(allowed, format!("{at}.weight"), &message);
        targets.push(WeightedTarget::new(&target.target, weight));
    }
    targets
}

fn compile_fallbacks(rule: &proto::Rule, at: &str, problems: &mut Problems) -> Vec<Fallback> {
    problems.require(rule.fallbacks.len() <= 16, format!("{at}.fallbacks"), "there may be at most 16");
    let mut fallbacks: Vec<Fallback> = Vec::new();
    for (index, fallback) in rule.fallbacks.iter().enumerate() {
        let at = format!("{at}.fallbacks[{index}]");
        problems.require(is_target(&fallback.target), format!("{at}.target"), limits::NO_TARGET);
        let causes = compile_causes(&fallback.causes, &format!("{at}.causes"), Causes::CAPACITY, problems);
        let is_only_target = rule.targets.len() == 1 && rule.targets[0].target == fallback.target;
        problems.require(!is_only_target, format!("{at}.target"), "is the target that it would stand in for");
        let twice = fallbacks.iter().any(|before| *before.target == *fallback.target);
        problems.require(!twice, format!("{at}.target"), "is there twice: a target is tried once");
        fallbacks.push(Fallback { target: fallback.target.as_str().into(), causes });
    }
    fallbacks
}

fn compile_static_answer(rule: &proto::Rule, at: &str, problems: &mut Problems) -> Option<StaticAnswer> {
    let answer = rule.static_answer.as_ref()?;
    let at = format!("{at}.static_answer");
    let kept = (1..=16 << 10).contains(&answer.text.len());
    problems.require(kept, format!("{at}.text"), "must be there, and have at most 16 KiB");
    let causes = compile_causes(&answer.causes, &format!("{at}.causes"), Causes::ALL, problems);
    Some(StaticAnswer { text: answer.text.as_str().into(), causes })
}

fn compile_causes(causes: &[i32], at: &str, default: Causes, problems: &mut Problems) -> Causes {
    if causes.is_empty() {
        return default;
    }
    let known = |cause: &i32| Cause::try_from(*cause).ok().filter(|cause| *cause != Cause::Unspecified);
    let found: Vec<Cause> = causes.iter().filter_map(known).collect();
    problems.require(found.len() == causes.len(), at, "may not hold CAUSE_UNSPECIFIED or a number of a later version");
    for (index, cause) in causes.iter().enumerate() {
        problems.require(!causes[..index].contains(cause), format!("{at}[{index}]"), "is there twice");
    }
    found.into_iter().collect()
}
