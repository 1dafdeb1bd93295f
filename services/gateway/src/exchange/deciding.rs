//! Where a request may go: what is asked of it before the first attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_policy::compile::CompiledPolicy;
use pointsman_policy::decide::Circumstances;
use pointsman_policy::{Decision, Fact, Facts, decide};
use pointsman_proto::inference::v1::{GenerateRequest, MeshContext, Priority};
use tonic_types::FieldViolation;
use tracing::Span;

use super::{Exchange, Gateway};
use crate::caller::Caller;
use crate::fleet::View;
use crate::limits::{Limiter, Running};
use crate::span;
use crate::trail::Trail;

/// Where a request may go, and what was looked at for that.
pub(super) struct Decided {
    pub(super) decision: Decision,
    pub(super) tokens: u64,
    pub(super) policy: Arc<CompiledPolicy>,
    pub(super) view: Arc<View>,
    pub(super) running: Option<Running>,
}

impl Gateway {
    pub(super) fn decide(&self, exchange: &Exchange) -> Result<Decided, Error> {
        let running = exchange.caller.limiter.as_ref().map(Limiter::enter).transpose()?;
        self.has_room()?;
        let (policy, view) = (self.policy.get(), self.fleet.view());
        let facts = Facts::new(&exchange.request, &exchange.caller.tenant, &exchange.caller.key);
        let decision = decision(&facts, &exchange.caller, (&exchange.trail, &exchange.span), &policy, &view)?;
        let tokens = tokens(&exchange.request, &facts);
        Ok(Decided { decision, tokens, policy, view, running })
    }

    /// Fails where no usage can be recorded.
    pub(super) fn has_room(&self) -> Result<(), Error> {
        if self.spool.has_room() {
            return Ok(());
        }
        let message = "this gateway cannot record usage at the moment; try another";
        Err(Error::new(Reason::UsageSpoolFull, message).retry_after(Duration::from_secs(5)))
    }
}

/// Decides, and says so where it is told: on the span and in the trail.
pub(super) fn decision(
    facts: &Facts<'_>,
    caller: &Caller,
    (trail, span): (&Trail, &Span),
    policy: &CompiledPolicy,
    view: &View,
) -> Result<Decision, Error> {
    let given = Circumstances {
        caller_zones: Arc::clone(&caller.allowed_zones),
        time: SystemTime::now(),
        seed: rand::random(),
    };
    // A refusal is a decision, too.
    trail.deciding(given.id(), &policy.revision);
    span::deciding(span, &given.id(), &policy.revision);
    let decision = decide(policy, &view.fleet, facts, given)?;
    span::decided(span, &decision);
    Ok(decision)
}

/// Refuses a priority that would overtake everybody, unless it comes from the mesh itself.
pub(super) fn own_priority(caller: &Caller, priority: Priority) -> Result<(), Error> {
    if caller.hops > 0 || priority != Priority::System {
        return Ok(());
    }
    let message =
        "must not be PRIORITY_SYSTEM, which is for the mesh's own work; PRIORITY_INTERACTIVE is the highest of callers";
    Err(Error::invalid(vec![FieldViolation::new("priority", message)]))
}

/// Tokens that a request will need, about: its prompt, and answers of usual length.
fn tokens(request: &GenerateRequest, facts: &Facts<'_>) -> u64 {
    const USUAL_ANSWER: u64 = 256;
    let limit = request.limits.and_then(|limits| limits.max_output_tokens).map_or(USUAL_ANSWER, u64::from);
    let answers = limit.min(USUAL_ANSWER) * u64::from(request.choice_count.unwrap_or(1));
    facts.number(&Fact::EstimatedPromptTokens).saturating_add(answers)
}

/// What instances are told about a request.
pub(super) fn context(caller: &Caller, data_class: i32, priority: i32, decision: &Decision) -> MeshContext {
    let zones: &[Box<str>] =
        if decision.rule.allowed_zones.is_empty() { &caller.allowed_zones } else { &decision.rule.allowed_zones };
    MeshContext {
        tenant: caller.tenant.to_string(),
        key: caller.key.to_string(),
        decision_id: decision.id.to_string(),
        // Both sets where both bind: whoever is next may use what is in one and was allowed by the other.
        allowed_zones: zones.iter().filter(|zone| decision.allows_zone(zone)).map(|zone| zone.to_string()).collect(),
        data_class,
        priority,
        hops: caller.hops,
        ..MeshContext::default()
    }
}

#[cfg(test)]
mod tests {
    use pointsman_policy::Facts;
    use pointsman_proto::inference::v1::{GenerateRequest, Limits};

    use super::tokens;

    #[test]
    fn each_of_several_answers_counts() {
        for (limit, choice_count, want) in
            [(None, None, 256), (Some(100), Some(1), 100), (Some(1_000), Some(128), 128 * 256)]
        {
            let limits = limit.map(|limit| Limits { max_output_tokens: Some(limit) });
            let request = GenerateRequest { limits, choice_count, ..GenerateRequest::default() };
            assert_eq!(tokens(&request, &Facts::new(&request, "", "")), want);
        }
    }
}
