//! What store processes tell each other of turns that run: that one is to be broken off, that its session is no more.
//!
//! A process that runs turns looks for it with one question, however many they are; one that runs none does not look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use pointsman_errors::Error;
use tokio::sync::Notify;

use crate::error::{self, of_store};
use crate::places::Leave;
use crate::sessions::Sessions;
use crate::store::{SessionKey, Signal, SignalKind, micros};

/// How often a process looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it takes, at most, until what was told is done.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Further apart than the clocks of two processes are, and longer than an erasure takes.
const CLOCKS_DIFFER: Duration = Duration::from_secs(10);
/// How old a signal becomes whose sender has died.
pub(crate) const LIVES: Duration = Duration::from_secs(60);

/// The turns that run in this process, by the `uid` of their session.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    turns: Mutex<HashMap<String, Turn>>,
    first: Notify,
}

#[derive(Debug)]
struct Turn {
    key: SessionKey,
    request_id: String,
}

/// A turn that listens. It does so until this is dropped, which must be before it leaves its place.
#[derive(Debug)]
pub(crate) struct Listening {
    listeners: Arc<Listeners>,
    uid: String,
}

impl Listeners {
    pub(crate) fn listen(self: &Arc<Self>, uid: &str, key: &SessionKey, request_id: &str) -> Listening {
        let turn = Turn { key: key.clone(), request_id: request_id.to_owned() };
        self.turns().insert(uid.to_owned(), turn);
        self.first.notify_one();
        Listening { listeners: Arc::clone(self), uid: uid.to_owned() }
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<String, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody listens.
    async fn some(&self) {
        while self.turns().is_empty() {
            self.first.notified().await;
        }
    }

    /// The session of the turn that a signal is for, if it runs here.
    fn session_of(&self, signal: &Signal) -> Option<SessionKey> {
        let turns = self.turns();
        let turn = turns.get(&signal.uid).filter(|turn| turn.request_id == signal.request_id)?;
        Some(turn.key.clone())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.turns().remove(&self.uid);
    }
}

/// Looks, for as long as the service lives.
pub(crate) async fn run(sessions: Arc<Sessions>) {
    loop {
        sessions.listeners.some().await;
        tokio::time::sleep(LOOK_EVERY).await;
        sessions.look().await;
    }
}

impl Sessions {
    async fn look(self: &Arc<Self>) {
        // What fails now is found by the next look; what stands before the database has said why.
        let Ok(told) = self.stores.signals.read(micros(SystemTime::now() - CLOCKS_DIFFER)).await else { return };
        for uid in &told.erased {
            // Whoever listens has its place still: nobody else is asked to leave it.
            let turns = self.listeners.turns();
            if let Some(turn) = turns.get(uid) {
                self.places.ask_to_leave(&turn.key, Leave::Erased);
            }
        }
        for signal in told.signals {
            if let Some(key) = self.listeners.session_of(&signal) {
                let sessions = Arc::clone(self);
                self.work.begin(async move { sessions.act(&key, &signal).await });
            }
        }
    }

    /// Does what another process was asked for.
    async fn act(self: &Arc<Self>, key: &SessionKey, signal: &Signal) {
        // Another look may have taken it.
        let Ok(Some(heard)) = self.stores.signals.take(signal).await else { return };
        let done = match signal.kind {
            SignalKind::Interrupted => {
                let heard = String::from_utf8_lossy(&heard).into_owned();
                self.interrupt_here(key, &signal.request_id, heard).await.map(drop)
            }
            SignalKind::Cancelled => {
                self.places.ask_to_leave_run(key, &signal.request_id, Leave::Cancelled);
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::debug!(error = &error as &dyn std::error::Error, "what another process asked for was not done");
        }
    }

    /// Tells the process that runs the turn of a request.
    pub(crate) async fn tell_others(
        self: &Arc<Self>,
        key: &SessionKey,
        (request_id, kind): (&str, SignalKind),
        heard: &str,
    ) -> Result<Sent, Error> {
        let now = micros(SystemTime::now());
        let sent = self.stores.signals.send(key, (request_id, kind), heard.as_bytes(), now).await;
        let signal = sent.map_err(|error| of_store(&error))?.ok_or_else(|| error::not_found(key))?;
        Ok(Sent { sessions: Arc::clone(self), signal: Some(signal) })
    }
}

/// A signal that was sent. On drop it is withdrawn.
pub(crate) struct Sent {
    sessions: Arc<Sessions>,
    signal: Option<Signal>,
}

impl Sent {
    /// Leaves it to whoever hears it. Where nobody does, it is swept.
    pub(crate) fn stay(mut self) {
        self.signal = None;
    }

    /// Withdraws it. False: somebody has heard it, and acts.
    pub(crate) async fn withdraw(mut self) -> Result<bool, Error> {
        let Some(signal) = self.signal.take() else { return Ok(false) };
        let taken = self.sessions.stores.signals.take(&signal).await.map_err(|error| of_store(&error))?;
        Ok(taken.is_some())
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(signal) = self.signal.take() {
            let signals = Arc::clone(&self.sessions.stores.signals);
            // What fails here is swept.
            self.sessions.work.begin(async move { drop(signals.take(&signal).await) });
        }
    }
}
