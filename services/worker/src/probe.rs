//! Keeps the health of an engine true: it works once a real generation has succeeded, and again after each loss
//! of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pointsman_engine::{Engine, try_out};
use tokio::sync::Notify;

use crate::served::Member;

/// How long one probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// Pauses between probes: doubling, from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Whether the engine lives. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EngineHealth(Arc<Shared>);

/// The number of a probe, and of what the engine was asked for since that probe began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Round(u64);

#[derive(Debug)]
struct Shared {
    member: Member,
    /// Held while it is said whether the engine works, so that a loss and a success are told in their order.
    state: Mutex<State>,
    lost: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last probe that began.
    round: Round,
    /// The last probe that succeeded.
    proven: Round,
    /// The latest round that has told of a loss.
    lost: Option<Round>,
}

impl State {
    /// Whether there is a loss that no probe has disproved. What was asked before a probe began cannot tell
    /// of a loss after it: it died with the engine then.
    fn is_lost(&self) -> bool {
        self.lost >= Some(self.proven)
    }
}

impl EngineHealth {
    pub(crate) fn new(member: Member) -> Self {
        Self(Arc::new(Shared { member, state: Mutex::default(), lost: Notify::new() }))
    }

    /// Whether the engine has shown that it works, and was not lost since.
    pub(crate) fn works(&self) -> bool {
        self.0.member.works()
    }

    /// Returns the round in which the engine is asked now.
    pub(crate) fn round(&self) -> Round {
        self.state().round
    }

    /// Says that the engine was lost while it did what it was asked for in this round: its target is
    /// unavailable until a probe succeeds, unless one has since.
    pub(crate) fn lost(&self, round: Round) {
        let mut state = self.state();
        state.lost = state.lost.max(Some(round));
        if state.is_lost() {
            self.0.member.set(false);
            self.0.lost.notify_one();
        }
    }

    /// Says that a probe begins.
    fn begin(&self) -> Round {
        let mut state = self.state();
        state.round.0 += 1;
        state.round
    }

    /// Says that this probe has failed. The engine is not lost by that alone, if it has worked before.
    fn failed(&self) {
        let state = self.state();
        if state.proven == Round::default() {
            self.0.member.set(false);
        }
    }

    /// Says that this probe has succeeded. Returns whether the engine works, then: it does not, if it was lost
    /// by then to somebody who came after the probe had begun.
    fn proven(&self, round: Round) -> bool {
        let mut state = self.state();
        state.proven = round;
        let ready = !state.is_lost();
        self.0.member.set(ready);
        ready
    }

    /// Waits until the engine is lost.
    async fn until_lost(&self) {
        loop {
            self.0.lost.notified().await;
            // It may have been told of a loss that was over by then.
            if self.state().is_lost() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Probes at the start, and after each loss.
pub(crate) async fn run(engine: Arc<dyn Engine>, health: EngineHealth) {
    loop {
        let mut pause = BACKOFF.0;
        while !probe(engine.as_ref(), &health).await {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        tracing::info!(target_name = engine.description().target, "a probe generation succeeded; this target is ready");
        health.until_lost().await;
    }
}

/// Has the engine generate one token. Returns whether it works.
async fn probe(engine: &dyn Engine, health: &EngineHealth) -> bool {
    let round = health.begin();
    match tokio::time::timeout(PROBE_LIMIT, try_out(engine)).await {
        Ok(Ok(())) => health.proven(round),
        Ok(Err(error)) => {
            let target_name = &engine.description().target;
            tracing::warn!(?error, target_name, "a probe generation failed; this target is not ready");
            health.failed();
            false
        }
        Err(_) => {
            let target_name = &engine.description().target;
            tracing::warn!(limit = ?PROBE_LIMIT, target_name, "a probe generation took too long; this target is not ready");
            health.failed();
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use pointsman_server::Readiness;

    use super::EngineHealth;
    use crate::served::Engines;

    #[tokio::test]
    async fn a_loss_and_a_success_are_told_in_their_order() {
        let readiness = Readiness::default();
        let engines = Engines::new(readiness.clone(), 1);
        let health = EngineHealth::new(engines.member(0));
        assert!(health.proven(health.begin()) && readiness.is_ready());
        assert!(health.until_lost().now_or_never().is_none());

        let before = health.round();
        health.lost(before);
        assert!(!readiness.is_ready());
        assert!(health.until_lost().now_or_never().is_some());

        // Whoever was asked before the probe died of the loss that it is about, however late it says so.
        let probe = health.begin();
        health.lost(before);
        assert!(health.proven(probe) && readiness.is_ready());
        health.lost(before);
        assert!(readiness.is_ready(), "a late report unsettles nobody");
        assert!(health.until_lost().now_or_never().is_none());

        // Whoever was asked after it began may have died after its success.
        let probe = health.begin();
        let during = health.round();
        health.lost(during);
        assert!(!health.proven(probe) && !readiness.is_ready(), "a loss is not overwritten");
        assert!(health.until_lost().now_or_never().is_some());
        let probe = health.begin();
        assert!(health.proven(probe) && readiness.is_ready());
        health.lost(health.round());
        assert!(!readiness.is_ready());
    }
}
