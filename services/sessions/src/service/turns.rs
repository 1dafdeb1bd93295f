//! `TurnService`: one stream for each turn of a gateway.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::Error;
use pointsman_proto::sessions::v1::run_turn_request::Step as Asked;
use pointsman_proto::sessions::v1::run_turn_response::Step;
use pointsman_proto::sessions::v1::turn_service_server::TurnService;
use pointsman_proto::sessions::v1::{
    BeginTurn, CommitTurn, RunTurnRequest, RunTurnResponse, TurnCancelled, TurnCommitted,
};
use pointsman_telemetry::{LastingSpan, bounded, propagation};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::FieldViolation;
use tracing::{Instrument, Span, field};

use super::names::{check_messages, key};
use super::{Caller, caller};
use crate::sessions::Sessions;
use crate::store::breaker::counting;
use crate::turn::{Begun, Coming, RunningTurn};

/// What gateways run turns with.
pub(crate) struct Service(pub(crate) Arc<Sessions>);

type Steps = BoxStream<'static, Result<RunTurnResponse, Status>>;

#[tonic::async_trait]
impl TurnService for Service {
    type RunTurnStream = Steps;

    async fn run_turn(&self, request: Request<Streaming<RunTurnRequest>>) -> Result<Response<Steps>, Status> {
        let (metadata, _, mut steps) = request.into_parts();
        let caller = caller(&metadata)?;
        match steps.message().await?.and_then(|request| request.step) {
            Some(Asked::Begin(begin)) => self.begin(caller, begin, (metadata, steps)).await,
            Some(Asked::Commit(commit)) => {
                let committed = self.commit_again(caller, commit, &metadata).await?;
                Ok(Response::new(futures::stream::iter([Ok(step(Step::Committed(committed)))]).boxed()))
            }
            None => Err(Error::invalid(vec![FieldViolation::new("step", "begin, or commit")]).into()),
        }
    }
}

impl Service {
    async fn begin(
        &self,
        caller: Caller,
        begin: BeginTurn,
        (metadata, steps): (MetadataMap, Streaming<RunTurnRequest>),
    ) -> Result<Response<Steps>, Status> {
        let sessions = &self.0;
        let span = span("turn begin", &begin.request_id, &metadata);
        let from = Instant::now();
        let begun = async {
            let key = key(&caller.tenant, "begin.session", &begin.session)?;
            check_messages(&begin.messages, &begin.request_id)?;
            if begin.request_id.is_empty() {
                return Err(Error::invalid(vec![FieldViolation::new("begin.request_id", "is required")]));
            }
            sessions.begin(key, begin, Coming::Ask(caller.zones)).await
        };
        let (begun, trips) = counting(begun).instrument((*span).clone()).await;
        span.record("pointsman.store.round_trips", trips);
        match begun {
            Ok(Begun::Committed(committed)) => {
                sessions.metrics.ended("REPEATED");
                Ok(Response::new(futures::stream::iter([Ok(step(Step::Committed(*committed)))]).boxed()))
            }
            Ok(Begun::Running(turn, begun)) => {
                sessions.metrics.began(from.elapsed());
                if let Some(wait) = begun.lease_wait.and_then(|wait| std::time::Duration::try_from(wait).ok()) {
                    span.record("pointsman.lease.wait", wait.as_secs_f64());
                }
                span.record("pointsman.session.turns", begun.history.len());
                let (sender, receiver) = mpsc::channel(4);
                let first = step(Step::Begun(*begun));
                let running = Running { sessions: Arc::clone(sessions), metadata, sender };
                sessions.work.begin(running.run(turn, steps));
                let rest = futures::stream::unfold(receiver, |mut receiver| async move {
                    let step: Result<RunTurnResponse, Status> = receiver.recv().await?;
                    Some((step, receiver))
                });
                Ok(Response::new(futures::stream::iter([Ok(first)]).chain(rest).boxed()))
            }
            Err(error) => {
                sessions.metrics.ended(error.reason().name());
                failed(&span, &error);
                Err(error.into())
            }
        }
    }

    async fn commit_again(
        &self,
        caller: Caller,
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
            self.0.commit_again(key, commit.clone()).await
        };
        ended(&self.0, &span, counting(committed).instrument((*span).clone()).await)
    }
}

/// A turn, and the gateway that runs it.
struct Running {
    sessions: Arc<Sessions>,
    metadata: MetadataMap,
    sender: mpsc::Sender<Result<RunTurnResponse, Status>>,
}

impl Running {
    async fn run(self, mut turn: Box<RunningTurn>, mut steps: Streaming<RunTurnRequest>) {
        let next = tokio::select! {
            next = steps.message() => next.ok().flatten(),
            error = turn.given_up() => {
                self.sessions.metrics.ended(error.reason().name());
                let reason = error.reason().name().to_owned();
                let _ = self.sender.send(Ok(step(Step::Cancelled(TurnCancelled { reason })))).await;
                self.sessions.metrics.left();
                return;
            }
            () = self.sender.closed() => None,
        };
        match next.and_then(|request| request.step) {
            Some(Asked::Commit(commit)) => self.commit(turn, commit).await,
            // Whoever leaves leaves nothing behind.
            _ => self.sessions.metrics.ended("ABANDONED"),
        }
        self.sessions.metrics.left();
    }

    async fn commit(&self, turn: Box<RunningTurn>, commit: CommitTurn) {
        let span = span("turn commit", turn.request_id(), &self.metadata);
        let from = Instant::now();
        let committed = counting(turn.commit(commit.turn.unwrap_or_default())).instrument((*span).clone()).await;
        self.sessions.metrics.committed(from.elapsed());
        let told = ended(&self.sessions, &span, committed);
        let told = told.map(|committed| step(Step::Committed(committed))).map_err(Status::from);
        // The gateway may have gone: then it asks again.
        let _ = self.sender.send(told).await;
    }
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

fn failed(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.reason().name());
}

fn span(name: &'static str, request_id: &str, metadata: &MetadataMap) -> LastingSpan {
    let span = tracing::info_span!(
        "turn",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        pointsman.request_id = bounded(request_id),
        pointsman.lease.wait = field::Empty,
        pointsman.session.turns = field::Empty,
        pointsman.store.round_trips = field::Empty,
    );
    propagation::set_parent(&span, metadata.as_ref());
    span.into()
}

fn step(step: Step) -> RunTurnResponse {
    RunTurnResponse { step: Some(step) }
}
