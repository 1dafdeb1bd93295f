//! The commit of a turn: durable, once, or refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_proto::sessions::v1::{CommitTurn, Fence, MergedRequest, Session, Turn, TurnCommitted, TurnKind};
use tokio::time::Instant;

use super::{RunningTurn, retention};
use crate::error::{self, of_commit, of_store};
use crate::merge;
use crate::sessions::Sessions;
use crate::store::sql::time;
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
        if let Err(error) = &committed
            && error.reason() != Reason::SessionsUnavailable
        {
            self.end_run(error.reason()).await;
        }
        let new = committed.as_ref().ok().filter(|committed| !committed.was_committed_before);
        let leaving = new.and_then(|committed| committed.turn.clone()).map(|turn| Leaving::new(self, turn));
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
                (None, Some(run)) => run.why(error).await,
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
    fn new(turn: Box<RunningTurn>, committed: Turn) -> Self {
        // Before its caller is told, who may come at once with the next turn.
        turn.seat.is_about_to_leave();
        Self(turn, committed)
    }

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
        let committed = self.commit(&key, (&fence, &session), turn.clone(), asked).await;
        match committed {
            // The others that it answers were told to send theirs again, and would be answered twice.
            Err(error) if error.reason() == Reason::TurnConflict && merged_requests.is_empty() => {
                self.completed(&key, (&fence, &session), turn).await?.ok_or(error)
            }
            committed => committed,
        }
    }

    /// Puts a whole turn in the place of what came of it, which was kept when its gateway seemed to be lost.
    async fn completed(
        &self,
        key: &SessionKey,
        (fence, session): (&Fence, &Session),
        turn: Turn,
    ) -> Result<Option<TurnCommitted>, Error> {
        let Some(partial) = self.last_partial(key, &turn.request_id).await? else { return Ok(None) };
        if partial.revision != fence.revision + 1 {
            return Ok(None);
        }
        let Turn { revision, create_time, .. } = partial;
        let (fence, turn) = (Fence { revision, ..fence.clone() }, Turn { revision, create_time, ..turn });
        let open = tools::left_open(&turn);
        let awaited = tools::awaited(&open, session);
        let replaced = self.stores.turns.replace_last(key, &fence, &turn, awaited).await;
        let replaced = replaced.map_err(|error| of_commit(&error))?;
        self.forget_changed(key).await;
        Ok(replaced.then_some(TurnCommitted { turn: Some(turn), was_committed_before: false }))
    }

    /// What came of a request's turn, if that is the last of its session.
    pub(crate) async fn last_partial(&self, key: &SessionKey, request_id: &str) -> Result<Option<Turn>, Error> {
        let session = self.get(key).await?;
        let last = self.stores.turns.list(key, session.revision.saturating_sub(1), 1, u64::MAX).await;
        let last = last.map_err(|error| of_store(&error))?.pop();
        Ok(last.filter(|turn| turn.kind() == TurnKind::Partial && turn.request_id == request_id))
    }

    pub(super) async fn commit(
        &self,
        key: &SessionKey,
        (fence, session): (&Fence, &Session),
        turn: Turn,
        asked: Asked<'_>,
    ) -> Result<TurnCommitted, Error> {
        let Asked { digest, merged, is_run } = asked;
        let open = tools::left_open(&turn);
        let merged_request_ids = merge::names(merged);
        let mut turn = Turn { revision: fence.revision + 1, merged_request_ids, ..turn };
        let mut tries = Tries::new(self.config.commit_patience);
        let done = loop {
            // Anew for each: a run whose time is over meanwhile is over.
            turn.create_time = Some(time(micros(SystemTime::now())));
            let commit = Commit {
                key,
                fence,
                turn: &turn,
                digest,
                merged,
                awaited: tools::awaited(&open, session),
                retention: retention(self.config.retention),
                is_run,
            };
            match self.stores.turns.commit(&commit).await {
                Err(error) => tries.next(error).await.map_err(|error| of_commit(&error))?,
                Ok(done) => break done,
            }
        };
        match done {
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
}

/// A commit that is tried for a while: it is done once, so that one whose answer did not come may be repeated.
struct Tries {
    until: Instant,
    pause: Duration,
    /// Whether one of them may have been done.
    is_unknown: bool,
}

impl Tries {
    fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: Duration::from_millis(20), is_unknown: false }
    }

    /// Waits until the next; fails where there is none.
    async fn next(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Unavailable(_) | StoreError::TooSlow(_) => self.is_unknown = true,
            StoreError::Busy => {}
            error => return Err(error),
        }
        if Instant::now() + self.pause >= self.until {
            return Err(if self.is_unknown { StoreError::TooSlow(self.pause) } else { error });
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(500));
        Ok(())
    }
}
