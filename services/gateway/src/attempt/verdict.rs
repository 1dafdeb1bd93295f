//! What the end of an attempt says: on its span, and of its instance.

use pointsman_errors::Reason;
use pointsman_policy::{Cause, cause_of};
use tracing::Span;

use super::machine::Outcome;
use crate::fleet::Picked;
use crate::span;

/// Tells the attempt's span and the instance's breaker how it ended. `now` is on the fleet's clock.
pub(super) fn give(span: &Span, instance: &Picked, outcome: &Outcome, now: u64) {
    let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Stopped(_));
    span::attempt_ended(span, outcome.name(), failed);
    let name = &*instance.name;
    match outcome {
        Outcome::Finished => {
            if instance.succeeded() {
                tracing::info!(instance = name, "an instance does its work again: its breaker is closed");
            }
        }
        // The instance may have done well: a long answer is no stall.
        Outcome::LostRace | Outcome::Stopped(_) => {}
        Outcome::Failed(error) => match cause_of(error.reason()) {
            // Full, or at a limit: it said so itself, and lives.
            Some(Cause::Saturated | Cause::RateLimited) => {
                if let Some(hint) = error.retry_delay() {
                    let cause = cause_of(error.reason()).unwrap_or(Cause::Saturated);
                    instance.cooling.begin(now, hint, cause);
                }
            }
            // Going down as it should: its health says the same in a moment.
            Some(Cause::Unavailable) if error.reason() == Reason::ShuttingDown => {}
            Some(Cause::Unavailable) => {
                if let Some(open) = instance.failed(now) {
                    let reason = error.reason().name();
                    tracing::warn!(instance = name, reason, ?open, "an instance failed too often: its breaker is open");
                }
            }
            // The caller's mistake, or its time: the instance did what it should.
            _ => {}
        },
    }
}
