//! The stream of a turn, after its first step.

use std::sync::Arc;

use pointsman_errors::{Error, Reason};
use pointsman_proto::sessions::v1::run_turn_request::Step as Asked;
use pointsman_proto::sessions::v1::run_turn_response::Step;
use pointsman_proto::sessions::v1::{
    CommitTurn, FramesRecorded, RunTurnRequest, RunTurnResponse, TurnCancelled, TurnCommitted,
};
use pointsman_telemetry::{LastingSpan, bounded, propagation};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tonic_types::FieldViolation;
use tracing::{Instrument, Span, field};

use crate::run;
use crate::service::Caller;
use crate::service::names::key;
use crate::sessions::Sessions;
use crate::store::breaker::counting;
use crate::turn::RunningTurn;

/// A turn, and the gateway that runs it.
pub(super) struct TurnStream {
    pub(super) sessions: Arc<Sessions>,
    pub(super) metadata: MetadataMap,
    pub(super) sender: mpsc::Sender<Result<RunTurnResponse, Status>>,
}

impl TurnStream {
    pub(super) async fn run(self, mut turn: Box<RunningTurn>, mut steps: Streaming<RunTurnRequest>) {
        let reason = loop {
            let next = tokio::select! {
                biased;
                // First: where steps come without end, a lease must be renewed all the same.
                urge = turn.urged() => {
                    if let Err(error) = urge.obey(&mut turn).await {
                        return self.given_up(turn, &error).await;
                    }
                    continue;
                }
                next = steps.message() => next.ok().flatten(),
                () = self.sender.closed() => None,
            };
            match next.and_then(|request| request.step) {
                Some(Asked::Commit(commit)) => {
                    self.commit(turn, commit).await;
                    self.sessions.metrics.left();
                    return;
                }
                Some(Asked::Record(record)) => match turn.record(record.frames).await {
                    Ok(last) => self.recorded(last).await,
                    Err(error) => return self.given_up(turn, &error).await,
                },
                Some(Asked::Abandon(abandon)) => break Some(abandon.reason),
                _ => break None,
            }
        };
        self.sessions.metrics.ended("ABANDONED");
        turn.abandon(reason).await;
        self.sessions.metrics.left();
    }

    async fn recorded(&self, last: Option<u64>) {
        if let Some(last_sequence) = last {
            let _ = self.sender.send(Ok(step(Step::Recorded(FramesRecorded { last_sequence })))).await;
        }
    }

    /// The turn is to be given up: whoever breaks it off has it from here on.
    async fn given_up(&self, turn: Box<RunningTurn>, error: &Error) {
        if error.reason() != Reason::TurnInterrupted {
            turn.end_run(error.reason()).await;
        }
        // First, so that what was heard is there when the caller is told so.
        turn.hand_over().await;
        self.tell_cancelled(error).await;
        self.sessions.metrics.left();
    }

    async fn tell_cancelled(&self, error: &Error) {
        self.sessions.metrics.ended(error.reason().name());
        let reason = error.reason().name().to_owned();
        let _ = self.sender.send(Ok(step(Step::Cancelled(TurnCancelled { reason })))).await;
    }

    async fn commit(&self, turn: Box<RunningTurn>, commit: CommitTurn) {
        let span = span("turn commit", turn.request_id(), &self.metadata);
        let from = Instant::now();
        let work = async {
            let (committed, leaving) = turn.commit_first(commit.turn.unwrap_or_default()).await;
            self.sessions.metrics.committed(from.elapsed());
            let told = committed.clone().map(|committed| step(Step::Committed(committed))).map_err(Status::from);
            // The gateway may have gone: then it asks again.
            let _ = self.sender.send(told).await;
            if let Some(leaving) = leaving {
                leaving.leave().await;
            }
            committed
        };
        let committed = counting(work).instrument((*span).clone()).await;
        let _ = ended(&self.sessions, &span, committed);
    }
}

/// A run whose gateway has come back.
pub(super) struct Attached {
    pub(super) running: TurnStream,
    pub(super) caller: Caller,
    pub(super) run: run::LiveRun,
}

impl Attached {
    pub(super) async fn run(mut self, mut steps: Streaming<RunTurnRequest>) {
        // More often than a process whose stream was lost leaves it to others.
        let every = self.running.sessions.config.lease.min(run::GRACE) / 3;
        let mut renewal = tokio::time::interval_at(Instant::now() + every, every);
        loop {
            let told = tokio::select! {
                biased;
                _ = renewal.tick() => self.run.renew().await.map(|()| None),
                next = steps.message() => match next.ok().flatten().and_then(|request| request.step) {
                    Some(Asked::Record(record)) => self.run.record(record.frames).await.map(Some),
                    Some(Asked::Commit(commit)) => return self.commit(commit).await,
                    Some(Asked::Abandon(abandon)) => return self.run.fail(&abandon.reason).await,
                    _ => {
                        self.run.is_gone().await;
                        return;
                    }
                },
            };
            match told {
                Ok(last) => self.running.recorded(last).await,
                Err(error) => return self.running.tell_cancelled(&error).await,
            }
        }
    }

    async fn commit(mut self, commit: CommitTurn) {
        let committed = match self.run.record_all().await {
            Ok(()) => commit_again(&self.running.sessions, &self.caller, commit, &self.running.metadata).await,
            Err(error) => Err(error),
        };
        let told = committed.map(|committed| step(Step::Committed(committed))).map_err(Status::from);
        let _ = self.running.sender.send(told).await;
    }
}

/// Commits a turn that began on another stream.
pub(super) async fn commit_again(
    sessions: &Sessions,
    caller: &Caller,
    commit: CommitTurn,
    metadata: &MetadataMap,
) -> Result<TurnCommitted, Error> {
    let request_id = commit.turn.as_ref().map_or("", |turn| &turn.request_id);
    let span = span("turn commit", request_id, metadata);
    let committed = async {
        let key = key(&caller.tenant, "commit.session", &commit.session)?;
        if request_id.is_empty() || commit.fence.is_none() {
            let message = "give a fence, and a turn with a request id";
            return Err(Error::invalid(vec![FieldViolation::new("commit", message)]));
        }
        sessions.commit_again(key, commit.clone()).await
    };
    ended(sessions, &span, counting(committed).instrument((*span).clone()).await)
}

fn ended(
    sessions: &Sessions,
    span: &Span,
    (committed, trips): (Result<TurnCommitted, Error>, u32),
) -> Result<TurnCommitted, Error> {
    span.record("pointsman.store.round_trips", trips);
    match &committed {
        Ok(_) => sessions.metrics.ended("COMMITTED"),
        Err(error) => {
            sessions.metrics.ended(error.reason().name());
            failed(span, error);
        }
    }
    committed
}

pub(super) fn failed(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.reason().name());
}

pub(super) fn span(name: &'static str, request_id: &str, metadata: &MetadataMap) -> LastingSpan {
    let span = tracing::info_span!(
        "turn",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        pointsman.request_id = bounded(request_id),
        pointsman.lease.wait = field::Empty,
        pointsman.store.away = field::Empty,
        pointsman.session.turns = field::Empty,
        pointsman.store.round_trips = field::Empty,
    );
    propagation::set_parent(&span, metadata.as_ref());
    span.into()
}

pub(super) fn step(step: Step) -> RunTurnResponse {
    RunTurnResponse { step: Some(step) }
}
