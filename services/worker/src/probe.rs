//! Keeps the health of an engine true: it works once a real generation has succeeded, and again after each loss
//! of it, until it is given up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pointsman_engine::{Engine, EngineError, try_out};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::WatchdogConfig;
use crate::metrics::Metrics;
use crate::served::Member;
use crate::watchdog::Watchdog;

/// Pauses between probes: doubling, from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Losses are counted for so long.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// So many failed answers in a row, with no good one between them, are a reason to look.
const FAILURES_IN_A_ROW: u32 = 3;

/// Whether the engine lives. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EngineHealth(Arc<Shared>);

/// The number of a probe, and of what the engine was asked for since that probe began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Round(u64);

#[derive(Debug)]
struct Shared {
    member: Member,
    metrics: Metrics,
    /// Held while it is said whether the engine works, so that a loss and a success are told in their order.
    state: Mutex<State>,
    news: Notify,
    hang: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last probe that began.
    round: Round,
    /// The last probe that succeeded.
    proven: Round,
    /// The latest round that has told of a loss.
    lost: Option<Round>,
    /// Nothing can be asked of it any more.
    stuck: bool,
    /// Somebody has a reason to doubt.
    suspected: bool,
    failures_in_a_row: u32,
}

impl State {
    /// Whether there is a loss that no probe has disproved. What was asked before a probe began cannot tell
    /// of a loss after it: it died with the engine then.
    fn is_lost(&self) -> bool {
        self.lost >= Some(self.proven)
    }
}

/// What there is to do about the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Lost,
    Suspected,
}

impl EngineHealth {
    pub(crate) fn new(member: Member, metrics: Metrics) -> Self {
        Self(Arc::new(Shared { member, metrics, state: Mutex::default(), news: Notify::new(), hang: Notify::new() }))
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
            self.set_ready(false);
            self.0.news.notify_one();
        }
    }

    /// Says that the engine hangs, or is given up for another reason: its target is never available again.
    pub(crate) fn stuck(&self) {
        let mut state = self.state();
        state.stuck = true;
        self.set_ready(false);
        self.0.hang.notify_one();
    }

    /// Says that there is a reason to look.
    pub(crate) fn suspect(&self) {
        self.state().suspected = true;
        self.0.news.notify_one();
    }

    /// Says that a probe has failed. The engine is not lost by that alone, if it has worked before.
    fn unproven(&self) {
        let state = self.state();
        if state.proven == Round::default() {
            self.set_ready(false);
        }
    }

    /// Says that an answer failed. Several in a row may have one cause.
    pub(crate) fn failed(&self) {
        let mut state = self.state();
        state.failures_in_a_row += 1;
        if state.failures_in_a_row < FAILURES_IN_A_ROW {
            return;
        }
        state.failures_in_a_row = 0;
        drop(state);
        self.suspect();
    }

    /// Says that an answer came to a good end.
    pub(crate) fn finished(&self) {
        self.state().failures_in_a_row = 0;
    }

    /// Says that a probe begins.
    fn begin(&self) -> Round {
        let mut state = self.state();
        state.round.0 += 1;
        state.suspected = false;
        state.round
    }

    /// Says that this probe has succeeded. Returns whether the engine works, then: it does not, if it was lost
    /// by then to somebody who came after the probe had begun.
    fn proven(&self, round: Round) -> bool {
        let mut state = self.state();
        state.proven = round;
        let ready = !state.is_lost() && !state.stuck;
        self.set_ready(ready);
        ready
    }

    /// Waits until there is something to do.
    async fn news(&self) -> News {
        loop {
            if let Some(news) = self.newest() {
                return news;
            }
            self.0.news.notified().await;
        }
    }

    fn newest(&self) -> Option<News> {
        let state = self.state();
        if state.is_lost() { Some(News::Lost) } else { state.suspected.then_some(News::Suspected) }
    }

    /// Waits until the engine hangs.
    async fn until_stuck(&self) {
        while !self.state().stuck {
            self.0.hang.notified().await;
        }
    }

    /// The state is held meanwhile.
    fn set_ready(&self, ready: bool) {
        if self.works() != ready {
            self.0.metrics.engine_ready(ready);
        }
        self.0.member.set(ready);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps the health true.
pub(crate) struct Keeper {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) health: EngineHealth,
    pub(crate) watchdog: Watchdog,
    pub(crate) limits: WatchdogConfig,
    pub(crate) metrics: Metrics,
}

impl Keeper {
    /// Probes at the start, after each loss, and where there is doubt. Returns why the engine was given up.
    pub(crate) async fn run(self) -> String {
        let why = tokio::select! {
            // Who hangs is asked nothing more.
            biased;
            () = self.health.until_stuck() => "the engine hangs: nothing came from it within `worker.watchdog`'s limits".to_owned(),
            why = self.keep() => why,
        };
        // The worker's other targets do not wait for it.
        self.health.stuck();
        self.metrics.engine_given_up();
        let target = &self.engine.description().target;
        format!("{target}: {why}; it was given up, and only a new process can help")
    }

    async fn keep(&self) -> String {
        let mut losses: Vec<Instant> = Vec::new();
        loop {
            let since = Instant::now();
            if timeout_at(since + self.limits.recovery, self.recover()).await.is_err() {
                return format!("the engine did not generate within {:?}", self.limits.recovery);
            }
            if !losses.is_empty() {
                self.metrics.engine_restarted();
            }
            let target_name = &self.engine.description().target;
            tracing::info!(target_name, "a probe generation succeeded; this target is ready");
            self.until_lost().await;
            losses.retain(|loss| loss.elapsed() < HOUR);
            losses.push(Instant::now());
            if losses.len() > self.limits.restarts {
                let lost = pointsman_types::counted(losses.len(), "time");
                return format!("the engine was lost {lost} within an hour");
            }
        }
    }

    /// Probes until the engine works.
    async fn recover(&self) {
        let mut pause = BACKOFF.0;
        while !self.probe().await {
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Waits until the engine is lost. A doubt is settled meanwhile, and the target available.
    async fn until_lost(&self) {
        loop {
            match self.health.news().await {
                News::Lost => return,
                News::Suspected => {
                    if !self.probe().await {
                        self.health.lost(self.health.round());
                    }
                }
            }
        }
    }

    /// Has the engine generate one token. Returns whether it works.
    async fn probe(&self) -> bool {
        let round = self.health.begin();
        let mut watch = self.watchdog.begin(0, 1);
        let outcome = tokio::select! {
            biased;
            outcome = try_out(self.engine.as_ref()) => outcome,
            verdict = watch.verdict() => Err(EngineError::Lost { detail: format!("{verdict:?}") }),
        };
        self.metrics.probed(outcome.is_ok());
        match outcome {
            Ok(()) => {
                watch.event();
                self.health.proven(round)
            }
            Err(error) => {
                let target_name = &self.engine.description().target;
                tracing::warn!(?error, target_name, "a probe generation failed; this target is not ready");
                self.health.unproven();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
