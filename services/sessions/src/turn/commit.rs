//! The commit of a turn: durable, once, or refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_proto::sessions::v1::{CommitTurn, Fence, MergedRequest, Session, Turn, TurnCommitted};
use tokio::time::Instant;

use super::{RunningTurn, retention};
use crate::error::{self, of_commit};
use crate::merge;
use crate::sessions::Sessions;
use crate::store::{Commit, Committed, SessionKey, StoreError, micros};
use crate::tools;

/// What a commit answers, beside what its turn says.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) digest: u64,
    /// The other requests.
    pub(super) merged: &'a [MergedRequest],
    /// Whether it ends a run.
    pub(super) is_run: bool,
}

impl RunningTurn {
    /// Commits the turn. Returns when it is durable, and its place free.
    pub(crate) async fn commit(self: Box<Self>, turn: Turn) -> Result<TurnCommitted, Error> {
        let (committed, leaving) = self.commit_first(turn).await;
        if let Some(leaving) = leaving {
            leaving.leave().await;
        }
        committed
    }

    /// The same, but returns when it is durable: who waits for that does not wait for Redis.
    pub(crate) async fn commit_first(
        mut self: Box<Self>,
        turn: Turn,
    ) -> (Result<TurnCommitted, Error>, Option<Leaving>) {
        let committed = self.try_to_commit(turn).await;
        let new = committed.as_ref().ok().filter(|committed| !committed.was_committed_before);
        let leaving = new.and_then(|committed| committed.turn.clone()).map(|turn| Leaving(self, turn));
        (committed, leaving)
    }

    async fn try_to_commit(&mut self, turn: Turn) -> Result<TurnCommitted, Error> {
        let turn = Turn { request_id: self.request_id.clone(), ..turn };
        let sessions = Arc::clone(&self.sessions);
        let fence = self.fence();
        if let Some(run) = &mut self.run {
            run.record_all().await?;
        }
        let asked = Asked { digest: self.digest, merged: &self.merged, is_run: self.run.is_some() };
        let committed = sessions.commit(&self.key, (&fence, &self.session), turn, asked).await;
        match committed {
            Ok(committed) => {
                self.followers.committed(committed.turn.as_ref().unwrap_or(&Turn::default()));
                Ok(committed)
            }
            Err(error) if error.reason() == Reason::TurnConflict => Err(match (self.seat.leave(), &self.run) {
                (Some(leave), _) => error::left(leave),
                (None, Some(run)) => run.why().await,
                (None, None) => error,
            }),
            Err(error) => {
                if error.reason() == Reason::SessionsUnavailable {
                    // For them, too, it is not known.
                    self.followers.failed(&error);
                }
                Err(error)
            }
        }
    }
}

/// A turn that is committed, and has its place still.
pub(crate) struct Leaving(Box<RunningTurn>, Turn);

impl Leaving {
    pub(crate) async fn leave(mut self) {
        self.0.leave(&self.1).await;
    }
}

impl Sessions {
    /// Commits a turn whose begin is on record elsewhere: the answer to its first commit was lost.
    pub(crate) async fn commit_again(&self, key: SessionKey, commit: CommitTurn) -> Result<TurnCommitted, Error> {
        let found = self.stores.sessions.get(&key).await.map_err(|error| of_commit(&error))?;
        let session = found.ok_or_else(|| error::not_found(&key))?;
        let (fence, turn) = (commit.fence.unwrap_or_default(), commit.turn.unwrap_or_default());
        let CommitTurn { request_digest: digest, merged_requests, detach: is_run, .. } = commit;
        let asked = Asked { digest, merged: &merged_requests, is_run };
        self.commit(&key, (&fence, &session), turn, asked).await
    }

    pub(super) async fn commit(
        &self,
        key: &SessionKey,
        (fence, session): (&Fence, &Session),
        turn: Turn,
        asked: Asked<'_>,
    ) -> Result<TurnCommitted, Error> {
        let Asked { digest, merged, is_run } = asked;
        let now = SystemTime::now();
        let awaited = tools::left_open(&turn);
        let (revision, create_time) = (fence.revision + 1, Some(now.into()));
        let turn = Turn { revision, create_time, merged_request_ids: merge::names(merged), ..turn };
        let commit = Commit {
            key,
            fence,
            turn: &turn,
            digest,
            merged,
            awaited: &awaited,
            awaited_until: if awaited.is_empty() { 0 } else { micros(tools::expire_time(session)) },
            retention: retention(self.config.retention),
            is_run,
        };
        match self.try_to_commit(&commit).await.map_err(|error| of_commit(&error))? {
            Committed::Now => {
                self.committed.notify_waiters();
                self.recorded.notify_waiters();
                Ok(TurnCommitted { turn: Some(turn), was_committed_before: false })
            }
            Committed::Before(turn, before) if before == digest => {
                Ok(TurnCommitted { turn: Some(turn), was_committed_before: true })
            }
            Committed::Before(..) => Err(error::reused()),
            Committed::Conflict => Err(error::conflict()),
        }
    }

    /// Tries for a while: a commit that is repeated is done once, so that one whose answer did not come may be.
    async fn try_to_commit(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        let until = Instant::now() + self.config.commit_patience;
        let mut pause = Duration::from_millis(20);
        loop {
            match self.stores.turns.commit(commit).await {
                Err(StoreError::Unavailable(_) | StoreError::TooSlow(_) | StoreError::Busy)
                    if Instant::now() + pause < until =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                done => return done,
            }
        }
    }
}
