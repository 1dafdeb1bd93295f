//! Notices when the engine goes silent: who waits for it says so, and what it owes has a limit.
//!
//! The limit is the engine's, not an answer's: while anybody gets anything, nobody accuses it. It counts from
//! the moment when the engine was asked, so waiting in the queue is not in it, and it grows with the prompts that
//! are to be read.

mod ledger;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use self::ledger::Ledger;
pub(crate) use self::ledger::Verdict;
use crate::config::WatchdogConfig;
use crate::metrics::{Metrics, Silence};
use crate::probe::EngineHealth;

/// How often it looks while somebody waits.
const TICK: Duration = Duration::from_secs(1);
/// A look that comes later than this was kept from looking, and so was whoever takes the engine's events.
const ASLEEP: Duration = Duration::from_secs(1);
/// It looks twice: on a machine that was busy otherwise, events may lie there that nobody had time to take.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Watches one engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    health: EngineHealth,
    silence: Silence,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// Where each that waits is told the verdict.
    told: HashMap<u64, oneshot::Sender<Verdict>>,
    /// Since when it looks stuck.
    doubted: Option<Instant>,
    /// Once and for all: nothing brings back a thread that hangs.
    stuck: bool,
}

impl Watchdog {
    pub(crate) fn new(limits: WatchdogConfig, health: EngineHealth, metrics: &Metrics) -> Self {
        let state =
            State { ledger: Ledger::new(limits, Instant::now()), told: HashMap::new(), doubted: None, stuck: false };
        let silence = metrics.silence();
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), health, silence }))
    }

    /// Says that the engine is asked now for so many answers to a prompt.
    pub(crate) fn begin(&self, prompt_tokens: u32, answers: u32) -> Watch {
        let (teller, verdict) = oneshot::channel();
        let mut state = self.state();
        let id = state.ledger.begin(u64::from(prompt_tokens) * u64::from(answers), Instant::now());
        if state.stuck {
            // The receiver is here.
            let _ = teller.send(Verdict::Stuck);
        } else {
            state.told.insert(id, teller);
        }
        drop(state);
        self.0.changed.notify_one();
        Watch { id, answers, watchdog: self.clone(), verdict }
    }

    /// Looks, for as long as the worker lives.
    pub(crate) async fn run(self) {
        loop {
            let Some(next) = self.look() else {
                self.0.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if now - next > ASLEEP {
                        self.state().ledger.forgive(now);
                    }
                }
                () = self.0.changed.notified() => {}
            }
        }
    }

    /// Tells verdicts. Returns when to look again.
    fn look(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        self.0.silence.set(state.ledger.silence(now));
        if state.stuck {
            return None;
        }
        if !state.ledger.is_stuck(now) {
            state.doubted = None;
        } else if now - *state.doubted.get_or_insert(now) < SECOND_LOOK {
            return state.doubted.map(|since| since + SECOND_LOOK);
        } else {
            state.stuck = true;
            // Before anybody is told: who hears of it finds the worker not ready.
            self.0.health.stuck();
            // Whoever does not listen any more has left.
            for (_, teller) in state.told.drain() {
                let _ = teller.send(Verdict::Stuck);
            }
            return None;
        }
        for id in state.ledger.stalled(now) {
            state.told.remove(&id).map(|teller| teller.send(Verdict::Stalled));
            state.ledger.end(id, now);
        }
        state.ledger.due().map(|due| due.min(now + TICK))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody that waits for the engine. Dropping it says that nobody does any more.
#[derive(Debug)]
pub(crate) struct Watch {
    id: u64,
    answers: u32,
    watchdog: Watchdog,
    verdict: oneshot::Receiver<Verdict>,
}

impl Watch {
    /// Says that something has come.
    pub(crate) fn event(&self) {
        self.watchdog.state().ledger.event(self.id, false, Instant::now());
    }

    /// Says that a piece of an answer has come. From a single answer only the next is waited for then; of
    /// several each has the prompt to be read, whenever its turn comes.
    pub(crate) fn piece(&self) {
        if self.watchdog.state().ledger.event(self.id, self.answers == 1, Instant::now()) {
            self.watchdog.0.changed.notify_one();
        }
    }

    /// Waits until the wait has become too long.
    pub(crate) async fn verdict(&mut self) -> Verdict {
        match (&mut self.verdict).await {
            Ok(verdict) => verdict,
            // It is told before its teller is dropped.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.watchdog.state();
        state.told.remove(&self.id);
        let doubt = state.ledger.end(self.id, Instant::now()) && !state.stuck;
        drop(state);
        if doubt {
            self.watchdog.0.health.suspect();
        }
    }
}

#[cfg(test)]
mod tests;
