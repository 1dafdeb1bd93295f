//! What the ledger is to know of an attempt.

use pointsman_policy::Decision;
use pointsman_proto::ledger::v1::UsageRecord;

use super::Order;
use super::call::Call;
use super::machine::Number;
use crate::trail::Record;

/// Makes the record of an attempt that is over.
pub(super) fn record(attempt: &Record, number: Number, order: &Order, call: &Call) -> UsageRecord {
    let (context, decision) = (&order.context, &order.decision);
    UsageRecord {
        attempt_id: attempt_id(decision, number),
        request_id: order.request.request_id.clone(),
        tenant: context.tenant.clone(),
        key: context.key.clone(),
        model: order.request.model.clone(),
        decision_id: context.decision_id.clone(),
        policy_revision: decision.policy_revision.to_string(),
        attempt: Some(attempt.to_message()),
        start_time: Some(attempt.start_time.into()),
        usage: call.usage,
        pieces: call.pieces,
        since_accept: order.accept.elapsed().try_into().ok(),
    }
}

/// Names an attempt: `{decision id}-{number}`, from 1. Not by the request's id, which its caller may give again.
pub(super) fn attempt_id(decision: &Decision, number: Number) -> String {
    format!("{}-{}", decision.id, number + 1)
}
