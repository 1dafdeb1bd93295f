//! What the ledger is to know of an attempt.

use pointsman_policy::Decision;
use pointsman_proto::inference::v1::{MeshContext, Usage};
use pointsman_proto::ledger::v1::UsageRecord;
use tokio::time::Instant;

use super::machine::Number;
use crate::trail::Record;

/// What every record of a request says.
pub(super) struct Billed<'a> {
    pub(super) request_id: &'a str,
    /// As the caller named it.
    pub(super) model: &'a str,
    pub(super) context: &'a MeshContext,
    pub(super) decision: &'a Decision,
    pub(super) accept: Instant,
}

/// What an attempt took.
pub(super) struct Consumed {
    /// As the instance reported it, or as far as it is known without that.
    pub(super) usage: Option<Usage>,
    /// Pieces of the answer that came.
    pub(super) pieces: u64,
}

/// Makes the record of an attempt that is over.
pub(super) fn record(attempt: &Record, number: Number, billed: &Billed<'_>, consumed: Consumed) -> UsageRecord {
    let Billed { context, decision, .. } = billed;
    UsageRecord {
        attempt_id: attempt_id(decision, number),
        request_id: billed.request_id.to_owned(),
        tenant: context.tenant.clone(),
        key: context.key.clone(),
        model: billed.model.to_owned(),
        decision_id: context.decision_id.clone(),
        policy_revision: decision.policy_revision.to_string(),
        attempt: Some(attempt.to_message()),
        start_time: Some(attempt.start_time.into()),
        usage: consumed.usage,
        pieces: consumed.pieces,
        since_accept: billed.accept.elapsed().try_into().ok(),
    }
}

/// Names an attempt: `{decision id}-{number}`, from 1. Not by the request's id, which its caller may give again.
pub(super) fn attempt_id(decision: &Decision, number: Number) -> String {
    format!("{}-{}", decision.id, number + 1)
}
