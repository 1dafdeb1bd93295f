//! One turn, from its begin to its commit.

mod begin;
mod commit;
mod partial;

pub(crate) use self::begin::{Coming, as_expected};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::Frame;
use pointsman_proto::sessions::v1::{Fence, MergedRequest, Session, Turn, TurnBegun, TurnCommitted};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error;
use crate::leases::Held;
use crate::merge::Followers;
use crate::places::{Leave, Running, Seat};
use crate::run::{self, GATEWAY_LOST};
use crate::sessions::Sessions;
use crate::signals::Listening;
use crate::store::{Memory, SessionKey, Window, micros, stamp};
use commit::Asked;
use partial::Partial;

/// What a begin comes to.
pub(crate) enum Begun {
    /// The turn may be generated.
    Running(Box<RunningTurn>, Box<TurnBegun>),
    /// It was committed before.
    Committed(Box<TurnCommitted>),
}

/// What a turn that runs is to do.
pub(crate) enum Urge {
    Leave(Leave),
    Renew,
}

impl Urge {
    /// Does it. Fails where the turn is over.
    pub(crate) async fn obey(self, turn: &mut RunningTurn) -> Result<(), Error> {
        match self {
            Self::Leave(leave) => Err(error::left(leave)),
            Self::Renew => turn.renew().await,
        }
    }
}

/// A turn that runs. On drop its lease is given back, and nothing else is left of it.
pub(crate) struct RunningTurn {
    sessions: Arc<Sessions>,
    key: SessionKey,
    session: Session,
    request_id: String,
    digest: u64,
    /// The other requests that it answers, and who waits for that.
    merged: Vec<MergedRequest>,
    followers: Followers,
    /// What is remembered already, if it is.
    remembered: Option<u64>,
    history: Vec<Turn>,
    lease: Option<Held>,
    /// From its history on. Before the seat: whoever listens has one.
    listening: Option<Listening>,
    seat: Seat,
    /// When the lease is to be renewed.
    renewal: Instant,
    /// What has come of it so far, where the session keeps that.
    partial: Option<Partial>,
    run: Option<run::LiveRun>,
    /// Closed with it: whoever handed it over waits for that.
    handed_over: Option<oneshot::Sender<()>>,
}

impl RunningTurn {
    /// Goes on with what another turn answered.
    pub(crate) fn takes_over(&mut self, merged: Vec<MergedRequest>, followers: Followers) {
        (self.merged, self.followers) = (merged, followers);
    }

    /// What it is, for whoever breaks it off.
    pub(crate) fn running(&self) -> Option<Running> {
        self.seat.running()
    }

    /// The request that it answers.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Waits until the turn must be given up, and says why.
    pub(crate) async fn given_up(&mut self) -> Error {
        loop {
            if let Err(error) = self.urged().await.obey(self).await {
                return error;
            }
        }
    }

    /// Waits until there is something to do for a turn that runs. May be left at any time.
    pub(crate) async fn urged(&mut self) -> Urge {
        tokio::select! {
            leave = self.seat.asked_to_leave() => Urge::Leave(leave),
            () = tokio::time::sleep_until(self.renewal) => Urge::Renew,
        }
    }

    async fn renew(&mut self) -> Result<(), Error> {
        self.renewal = Instant::now() + self.sessions.config.lease / 3;
        if let Some(error) = self.lost().await {
            return Err(error);
        }
        match &mut self.run {
            Some(run) => run.renew().await,
            None => Ok(()),
        }
    }

    /// It is given up: if it is a run, that is on record.
    pub(crate) async fn end_run(&self, reason: Reason) {
        if let Some(run) = &self.run {
            run.fail(reason.name()).await;
        }
    }

    /// Gives its place to whoever breaks it off, with all that it has, and waits until that is done. Where nobody does, it
    /// leaves.
    pub(crate) async fn hand_over(mut self: Box<Self>) {
        let Some(heir) = self.seat.heir() else { return };
        let (lives, over) = oneshot::channel();
        self.handed_over = Some(lives);
        // Who has gone meanwhile drops it.
        let _ = heir.send(self);
        let _ = over.await;
    }

    /// Keeps frames that have come. Returns the last that is durable, of a run.
    pub(crate) async fn record(&mut self, frames: Vec<Frame>) -> Result<Option<u64>, Error> {
        if let Some(partial) = &mut self.partial {
            frames.iter().cloned().for_each(|frame| partial.push(frame));
        }
        match &mut self.run {
            Some(run) => run.record(frames).await.map(Some),
            None => Ok(None),
        }
    }

    /// The turn has failed, or its stream was lost (no reason): keeps what came of it, where that is wanted.
    pub(crate) async fn abandon(mut self: Box<Self>, reason: Option<String>) {
        if reason.is_none() {
            // Its gateway may come back, and commit it.
            self.followers.failed(&error::not_known());
            if let Some(run) = &self.run
                && !run.is_gone().await
            {
                return;
            }
        }
        let reason = reason.unwrap_or_else(|| GATEWAY_LOST.name().to_owned());
        if let Some(run) = &self.run {
            run.fail(&reason).await;
            if run.is_cancelled().await {
                return;
            }
        }
        if self.seat.leave().is_some() {
            // Somebody else says what is kept of it.
            return self.hand_over().await;
        }
        if let Some(partial) = self.partial.take().and_then(|partial| partial.turn(&self.request_id, &reason)) {
            let (sessions, fence) = (Arc::clone(&self.sessions), self.fence());
            // Alone: the others send theirs again.
            let asked = Asked { digest: self.digest, merged: &[], is_run: false };
            match sessions.commit(&self.key, (&fence, &self.session), partial, asked).await {
                Ok(TurnCommitted { turn: Some(turn), .. }) => self.leave(&turn).await,
                Ok(_) => {}
                Err(error) => tracing::debug!(reason = error.reason().name(), "what came of a turn is not kept"),
            }
        }
    }

    /// Renews the lease. If another has it, somebody may have superseded this turn, or erased the session: only then it is
    /// in vain.
    async fn lost(&self) -> Option<Error> {
        match self.lease.as_ref()?.renew().await {
            Ok(true) | Err(_) => return None,
            Ok(false) => {}
        }
        match self.sessions.stores.sessions.get(&self.key).await {
            Ok(Some(now)) if now.uid != self.session.uid => Some(error::not_found(&self.key)),
            Ok(Some(now)) if now.epoch != self.session.epoch => Some(error::superseded()),
            Ok(Some(now)) if now.revision != self.session.revision => Some(error::conflict()),
            Ok(None) => Some(error::not_found(&self.key)),
            Ok(Some(_)) | Err(_) => None,
        }
    }

    fn fence(&self) -> Fence {
        Fence { uid: self.session.uid.clone(), epoch: self.session.epoch, revision: self.session.revision }
    }

    /// Gives the lease back, and the turns to be remembered with this one.
    async fn leave(&mut self, turn: &Turn) {
        let Some(lease) = self.lease.take() else { return };
        let uid = &stamp(&self.session);
        if self.remembered == Some(self.session.revision) {
            return lease.give_back(Memory::Added(uid, turn)).await;
        }
        let mut turns = std::mem::take(&mut self.history);
        turns.push(turn.clone());
        let window = Window { uid: uid.clone(), revision: turn.revision, turns };
        lease.give_back(Memory::Whole(&window)).await;
    }
}

impl Drop for RunningTurn {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.sessions.work.begin(async move { lease.give_back(Memory::Unchanged).await });
        }
    }
}

/// When a session that changes now will be erased.
pub(crate) fn expires(now: SystemTime, session: &Session, default: Duration) -> i64 {
    let own = session.retention.and_then(|retention| Duration::try_from(retention).ok());
    micros(now).saturating_add(retention(own.unwrap_or(default)))
}

/// In microseconds, so few that a time can be added to them.
fn retention(retention: Duration) -> i64 {
    i64::try_from(retention.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}
