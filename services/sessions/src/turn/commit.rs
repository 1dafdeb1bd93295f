//! The commit of a turn: durable, once, or refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_proto::sessions::v1::{CommitTurn, Fence, MergedRequest, Session, Turn, TurnCommitted};
use tokio::time::Instant;

use super::{RunningTurn, expires};
use crate::error::{self, of_store};
use crate::merge;
use crate::sessions::Sessions;
use crate::store::{Commit, Committed, SessionKey, StoreError, micros};
use crate::tools;

impl RunningTurn {
    /// Commits the turn. Returns when it is durable.
    pub(crate) async fn commit(mut self: Box<Self>, turn: Turn) -> Result<TurnCommitted, Error> {
        let turn = Turn { request_id: self.request_id.clone(), ..turn };
        let sessions = Arc::clone(&self.sessions);
        let fence = self.fence();
        let committed = sessions.commit(&self.key, (&fence, &self.session), turn, (self.digest, &self.merged)).await;
        match committed {
            Ok(committed) => {
                self.followers.committed(committed.turn.as_ref().unwrap_or(&Turn::default()));
                if let Some(turn) = committed.turn.as_ref().filter(|_| !committed.was_committed_before) {
                    self.leave(turn).await;
                }
                Ok(committed)
            }
            Err(error) if error.reason() == Reason::TurnConflict => Err(self.seat.leave().map_or(error, error::left)),
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

impl Sessions {
    /// Commits a turn whose begin is on record elsewhere: the answer to its first commit was lost.
    pub(crate) async fn commit_again(&self, key: SessionKey, commit: CommitTurn) -> Result<TurnCommitted, Error> {
        let found = self.stores.sessions.get(&key).await.map_err(|error| of_commit(&error))?;
        let session = found.ok_or_else(|| error::not_found(&key))?;
        let (fence, turn) = (commit.fence.unwrap_or_default(), commit.turn.unwrap_or_default());
        self.commit(&key, (&fence, &session), turn, (commit.request_digest, &commit.merged_requests)).await
    }

    async fn commit(
        &self,
        key: &SessionKey,
        (fence, session): (&Fence, &Session),
        turn: Turn,
        (digest, merged): (u64, &[MergedRequest]),
    ) -> Result<TurnCommitted, Error> {
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
            expires: expires(now, session, self.config.retention),
        };
        match self.try_to_commit(&commit).await.map_err(|error| of_commit(&error))? {
            Committed::Now => {
                self.committed.notify_waiters();
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

/// Whether the turn is kept is not known where a commit was not answered.
fn of_commit(error: &StoreError) -> Error {
    let told = of_store(error);
    if told.reason() != Reason::SessionsUnavailable {
        return told;
    }
    let message = "the answer is whole, but it is not known whether its turn is kept; send the request again with its request id, and it is kept once";
    told.with_message(message)
}
