//! What the end of an attempt says of its instance.

use pointsman_errors::Reason;
use pointsman_policy::{Cause, cause_of};

use super::machine::Outcome;
use crate::fleet::Picked;

/// Tells the instance how an attempt at it ended: its breaker, or its cool-down for the target. `now` is on the
/// fleet's clock.
pub(super) fn give(instance: &Picked, outcome: &Outcome, now: u64) {
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
