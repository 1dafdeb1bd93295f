//! Runs: generations that outlive their calls.
//!
//! What a run was answered is kept as it comes, so that anybody can read it anywhere, and its end is on record whatever it
//! is. It is said to be running by whoever has the stream of its gateway, again and again: where nobody does, it has
//! failed, and that is final.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{self, BoxStream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Finished, Frame};
use pointsman_proto::sessions::v1::{BeginTurn, RecordFrames, Run, RunState};
use tokio::time::Instant;
use tonic_types::FieldViolation;

use crate::error::{self, of_store};
use crate::places::Leave;
use crate::sessions::Sessions;
use crate::store::sql::MARGIN;
use crate::store::{Created, Moment, RunKey, SessionKey, SignalKind, StoreError, micros};

/// Why a run has failed that nobody speaks for.
pub(crate) const GATEWAY_LOST: Reason = Reason::StreamTruncated;
/// How long the gateway of a run has to come back after its stream was lost.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// How often a reader looks for frames that another process has kept.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it rests after a look, whatever is told it.
const PAUSE: Duration = Duration::from_millis(50);

/// A run that goes on, as the process sees it that speaks for it.
pub(crate) struct LiveRun {
    sessions: Arc<Sessions>,
    key: SessionKey,
    request_id: String,
    /// The last frame that is kept.
    last: u64,
    /// Frames that are to be kept when the database can be reached again.
    waiting: Vec<Frame>,
}

impl LiveRun {
    fn name(&self) -> RunKey<'_> {
        RunKey { session: &self.key, request_id: &self.request_id }
    }

    /// Keeps frames, and those that could not be kept before. Returns the sequence number of the last that is kept.
    pub(crate) async fn record(&mut self, frames: Vec<Frame>) -> Result<u64, Error> {
        let known = self.waiting.last().map_or(self.last, |frame| frame.sequence);
        self.waiting.extend(frames.into_iter().filter(|frame| frame.sequence > known));
        let Some(last) = self.waiting.last().map(|frame| frame.sequence) else { return Ok(self.last) };
        let batch = RecordFrames { frames: std::mem::take(&mut self.waiting) };
        let recorded = self.sessions.stores.runs.record(&self.name(), &batch, now()).await;
        match recorded {
            Ok(true) => {
                self.last = last;
                self.sessions.recorded.notify_waiters();
            }
            Ok(false) => match self.found().await? {
                // Somebody else has kept them.
                Some(run) if run.state() == RunState::Running && run.last_sequence >= last => {
                    self.last = run.last_sequence
                }
                Some(run) => return Err(ended(&run)),
                None => return Err(error::not_found(&self.key)),
            },
            Err(_) => self.waiting = batch.frames,
        }
        Ok(self.last)
    }

    /// Keeps what is not kept yet, and tries for a while.
    pub(crate) async fn record_all(&mut self) -> Result<(), Error> {
        let until = Instant::now() + self.sessions.config.commit_patience;
        loop {
            self.record(Vec::new()).await?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(error::of_commit(&StoreError::TooSlow(self.sessions.config.commit_patience)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Says that it runs, for as long as a lease holds. Fails where it does not any more; a store that cannot be asked is
    /// asked again.
    pub(crate) async fn renew(&mut self) -> Result<(), Error> {
        self.record(Vec::new()).await?;
        match self.sessions.stores.runs.renew(&self.name(), moment(self.sessions.config.lease)).await {
            Ok(false) => Err(self.why(error::conflict()).await),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Ends it without a turn.
    pub(crate) async fn fail(&self, reason: &str) {
        let ended = self.sessions.stores.runs.end(&self.name(), RunState::Failed, reason, now()).await;
        self.sessions.recorded.notify_waiters();
        if let Err(error) = ended {
            // Then it fails when its time is over.
            tracing::debug!(error = &error as &dyn std::error::Error, "the end of a run is not on record");
        }
    }

    /// Its stream was lost: waits whether its gateway comes back. True: it has not, and the run has failed.
    pub(crate) async fn is_gone(&self) -> bool {
        // The sooner of both: nobody speaks for it from here on.
        let until = moment(GRACE.min(self.sessions.config.lease));
        let left = self.sessions.stores.runs.renew(&self.name(), until).await;
        if left.is_ok_and(|runs| !runs) {
            return true;
        }
        let margin = Duration::from_micros(MARGIN.unsigned_abs());
        tokio::time::sleep(GRACE + margin + Duration::from_millis(1)).await;
        let found = self.found().await;
        self.sessions.recorded.notify_waiters();
        found.is_ok_and(|found| found.is_none_or(|run| run.state() != RunState::Running))
    }

    /// Why it does not run any more; of one that does, what else was wrong.
    pub(crate) async fn why(&self, otherwise: Error) -> Error {
        match self.found().await {
            Ok(Some(run)) if run.state() == RunState::Running => otherwise,
            Ok(Some(run)) => ended(&run),
            Ok(None) => error::not_found(&self.key),
            Err(error) => error,
        }
    }

    /// Whether somebody has cancelled it.
    pub(crate) async fn is_cancelled(&self) -> bool {
        matches!(self.found().await, Ok(Some(run)) if run.state() == RunState::Cancelled)
    }

    async fn found(&self) -> Result<Option<Run>, Error> {
        let found = self.sessions.stores.runs.get(&self.name(), now()).await.map_err(|error| of_store(&error))?;
        Ok(found.map(|(run, _)| run))
    }
}

impl Sessions {
    /// Puts a run on record, once for each name.
    pub(crate) async fn begin_run(self: &Arc<Self>, key: &SessionKey, begin: &BeginTurn) -> Result<LiveRun, Error> {
        let run = LiveRun {
            sessions: Arc::clone(self),
            key: key.clone(),
            request_id: begin.request_id.clone(),
            last: 0,
            waiting: Vec::new(),
        };
        let begun = self.stores.runs.begin(&run.name(), begin.request_digest, moment(self.config.lease)).await;
        if begun.map_err(|error| of_store(&error))? == Created::Yes {
            return Ok(run);
        }
        let known = self.known_run(key, begin).await?;
        Err(known.map_or_else(|| error::not_found(key), |run| ended(&run)))
    }

    /// The run that there is of a request.
    pub(crate) async fn known_run(&self, key: &SessionKey, begin: &BeginTurn) -> Result<Option<Run>, Error> {
        let name = RunKey { session: key, request_id: &begin.request_id };
        match self.stores.runs.get(&name, now()).await.map_err(|error| of_store(&error))? {
            Some((_, digest)) if digest != begin.request_digest => Err(error::reused()),
            found => Ok(found.map(|(run, _)| run)),
        }
    }

    /// Goes on with a run whose gateway has come back.
    pub(crate) async fn attach_run(self: &Arc<Self>, key: SessionKey, request_id: String) -> Result<LiveRun, Error> {
        let mut run = LiveRun { sessions: Arc::clone(self), key, request_id, last: 0, waiting: Vec::new() };
        let renewed = self.stores.runs.renew(&run.name(), moment(self.config.lease)).await;
        let runs = renewed.map_err(|error| of_store(&error))?;
        let found = self.stores.runs.get(&run.name(), now()).await.map_err(|error| of_store(&error))?;
        let (found, _) = found.ok_or_else(|| error::not_found(&run.key))?;
        run.last = found.last_sequence;
        // One whose commit was not answered is committed, and its gateway asks for that.
        if runs || found.state() == RunState::Succeeded { Ok(run) } else { Err(ended(&found)) }
    }

    pub(crate) async fn run(&self, key: &SessionKey, request_id: &str) -> Result<Run, Error> {
        let name = RunKey { session: key, request_id };
        let found = self.stores.runs.get(&name, now()).await.map_err(|error| of_store(&error))?;
        match found {
            Some((run, _)) => Ok(run),
            None => {
                self.get(key).await?;
                let message = format!("the session has no run `{request_id}`; ListRuns says which it has");
                Err(Error::new(Reason::RunNotFound, message))
            }
        }
    }

    pub(crate) async fn cancel_run(self: &Arc<Self>, key: &SessionKey, request_id: &str) -> Result<Run, Error> {
        let name = RunKey { session: key, request_id };
        let ended = self.stores.runs.end(&name, RunState::Cancelled, "", now()).await;
        if ended.map_err(|error| of_store(&error))? {
            // From here on nothing of it can be committed, whenever its process hears of that.
            self.recorded.notify_waiters();
            if !self.places.ask_to_leave_run(key, request_id, Leave::Cancelled) {
                self.tell_others(key, (request_id, SignalKind::Cancelled), "").await?.stay();
            }
        }
        self.run(key, request_id).await
    }

    /// The frames of a run after a sequence number, and its end.
    pub(crate) async fn resume_run(
        self: &Arc<Self>,
        key: SessionKey,
        request_id: String,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Frame, Error>>, Error> {
        let run = self.run(&key, &request_id).await?;
        check_place(&run, after)?;
        let reader = Reader { sessions: Arc::clone(self), key, request_id, after, ended: false };
        Ok(stream::try_unfold(reader, Reader::next)
            .map(|batch| batch.map(|batch| stream::iter(batch).map(Ok)))
            .flat_map(|batch| match batch {
                Ok(frames) => frames.left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            })
            .boxed())
    }
}

/// Whoever reads a run.
struct Reader {
    sessions: Arc<Sessions>,
    key: SessionKey,
    request_id: String,
    after: u64,
    ended: bool,
}

impl Reader {
    /// Waits for more frames. `None`: the end was given.
    async fn next(mut self) -> Result<Option<(Vec<Frame>, Self)>, Error> {
        if self.ended {
            return Ok(None);
        }
        let sessions = Arc::clone(&self.sessions);
        loop {
            let mut told = std::pin::pin!(sessions.recorded.notified());
            told.as_mut().enable();
            let name = RunKey { session: &self.key, request_id: &self.request_id };
            // First how it stands: what it was answered is whole where it had ended by then.
            let run = sessions.run(&self.key, &self.request_id).await?;
            let mut frames = sessions.stores.runs.frames(&name, self.after).await.map_err(|error| of_store(&error))?;
            if let Some(last) = frames.last().map(|frame| frame.sequence) {
                self.after = last;
            }
            check_place(&run, self.after)?;
            match run.state() {
                RunState::Running => {}
                _ if self.after < run.last_sequence => {}
                RunState::Succeeded => {
                    if self.after == run.last_sequence {
                        let body = Body::Finished(Finished { session_revision: Some(run.revision) });
                        frames.push(Frame { sequence: self.after + 1, body: Some(body) });
                    }
                    self.ended = true;
                    return Ok(Some((frames, self)));
                }
                _ if frames.is_empty() => return Err(ended(&run)),
                _ => {}
            }
            if !frames.is_empty() {
                return Ok(Some((frames, self)));
            }
            // One look finds what came of several batches, of whichever run they were.
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// A caller that says to have more than there is has mixed something up. Of a run that is not whole it may have frames that
/// are not kept.
fn check_place(run: &Run, after: u64) -> Result<(), Error> {
    let last = run.last_sequence + 1;
    if run.state() != RunState::Succeeded || after <= last {
        return Ok(());
    }
    let wrong = format!("is after the last frame of this run; must be at most {last}");
    Err(Error::invalid(vec![FieldViolation::new("after_sequence", wrong)]))
}

/// What somebody is told of a run that does not begin, or go on, since it is on record.
pub(crate) fn ended(run: &Run) -> Error {
    match run.state() {
        RunState::Cancelled => error::run_cancelled(),
        RunState::Failed => {
            let message = format!(
                "the run has failed ({}); ask again with a new request id, if a second answer does no harm",
                run.failure_reason
            );
            Error::new(Reason::RunFailed, message)
        }
        _ => {
            let message = "the run goes on; read it with ResumeRun";
            Error::new(Reason::TurnInProgress, message).retry_after(Duration::from_secs(1))
        }
    }
}

pub(crate) fn now() -> i64 {
    micros(SystemTime::now())
}

fn moment(time: Duration) -> Moment {
    let now = now();
    Moment { now, until: now.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)) }
}
