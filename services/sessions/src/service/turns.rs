//! `TurnService`: one stream for each turn of a gateway.

mod stream;

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::Error;
use pointsman_proto::sessions::v1::run_turn_request::Step as Asked;
use pointsman_proto::sessions::v1::run_turn_response::Step;
use pointsman_proto::sessions::v1::turn_service_server::TurnService;
use pointsman_proto::sessions::v1::{AttachRun, BeginTurn, FramesRecorded, RunTurnRequest, RunTurnResponse};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::FieldViolation;
use tracing::Instrument;

use super::names::{check_messages, key};
use super::{Caller, caller};
use crate::sessions::Sessions;
use crate::store::breaker::counting;
use crate::turn::{Begun, Coming};
use stream::{Attached, TurnStream, commit_again, failed, span, step};

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
            Some(Asked::Begin(begin)) => Box::pin(self.begin(caller, begin, (metadata, steps))).await,
            Some(Asked::Attach(attach)) => Ok(Response::new(self.attach(caller, attach, (metadata, steps)).await?)),
            Some(Asked::Commit(commit)) => {
                let committed = commit_again(&self.0, &caller, commit, &metadata).await?;
                Ok(Response::new(futures::stream::iter([Ok(step(Step::Committed(committed)))]).boxed()))
            }
            Some(Asked::Record(_) | Asked::Abandon(_)) | None => {
                Err(Error::invalid(vec![FieldViolation::new("step", "begin, attach or commit comes first")]).into())
            }
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
                let running = TurnStream { sessions: Arc::clone(sessions), metadata, sender };
                sessions.work.begin(running.run(turn, steps));
                Ok(Response::new(futures::stream::iter([Ok(first)]).chain(told(receiver)).boxed()))
            }
            Err(error) => {
                sessions.metrics.ended(error.reason().name());
                failed(&span, &error);
                Err(error.into())
            }
        }
    }

    /// Goes on with a run whose stream to another process, or to this one, was lost.
    async fn attach(
        &self,
        caller: Caller,
        attach: AttachRun,
        (metadata, steps): (MetadataMap, Streaming<RunTurnRequest>),
    ) -> Result<Steps, Error> {
        let key = key(&caller.tenant, "attach.session", &attach.session)?;
        let mut run = self.0.attach_run(key, attach.request_id).await?;
        let last_sequence = run.record(Vec::new()).await?;
        let (sender, receiver) = mpsc::channel(4);
        let first = step(Step::Recorded(FramesRecorded { last_sequence }));
        let attached =
            Attached { running: TurnStream { sessions: Arc::clone(&self.0), metadata, sender }, caller, run };
        self.0.work.begin(attached.run(steps));
        Ok(futures::stream::iter([Ok(first)]).chain(told(receiver)).boxed())
    }
}

fn told(receiver: mpsc::Receiver<Result<RunTurnResponse, Status>>) -> Steps {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}
