//! One turn of a session, as its store runs it with this gateway: begun before the decision, committed before the end of
//! the answer is told.

pub(crate) mod history;
pub(crate) mod stored;

use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream};
use pointsman_client::Channel;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::MeshContext;
use pointsman_proto::mesh_context;
use pointsman_proto::sessions::v1::run_turn_request::Step as Asked;
use pointsman_proto::sessions::v1::run_turn_response::Step;
use pointsman_proto::sessions::v1::turn_service_client::TurnServiceClient;
use pointsman_proto::sessions::v1::{
    BeginTurn, CommitTurn, Fence, MergedRequest, RunTurnRequest, RunTurnResponse, Turn, TurnBegun, TurnCommitted,
};
use pointsman_telemetry::propagation;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};
use tracing::Span;

/// The session store, as it is called.
#[derive(Clone)]
pub(crate) struct SessionStore {
    channel: Channel,
}

/// On whose behalf, and in which trace.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) context: MeshContext,
    pub(crate) span: Span,
}

/// What a begin comes to.
pub(crate) enum Begun {
    /// The turn may be generated.
    Running(Box<RunningTurn>, Box<TurnBegun>),
    /// It was committed before.
    Committed(Box<Turn>),
}

/// A turn that runs. Dropping it leaves nothing behind.
pub(crate) struct RunningTurn {
    store: SessionStore,
    asking: Asking,
    session: String,
    fence: Fence,
    digest: u64,
    merged: Vec<MergedRequest>,
    sender: mpsc::Sender<RunTurnRequest>,
    steps: Streaming<RunTurnResponse>,
    /// Whether the store was lost since the begin: it is asked again at the commit.
    is_lost: bool,
}

/// How long a store that was lost is asked again to commit an answer that is whole.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pauses between these: doubling, from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl SessionStore {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// What its other service is called through.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Begins a turn. Returns when it may run, which may take as long as others of its session.
    pub(crate) async fn begin(&self, begin: BeginTurn, asking: Asking) -> Result<Begun, Error> {
        let (session, digest) = (begin.session.clone(), begin.request_digest);
        let (sender, mut steps) = self.open(Asked::Begin(begin), &asking).await.map_err(|status| read(&status))?;
        match next(&mut steps).await {
            Ok(Step::Begun(begun)) => {
                let fence = begun.fence.clone().unwrap_or_default();
                let (store, merged) = (self.clone(), begun.merged_requests.clone());
                let turn = RunningTurn { store, asking, session, fence, digest, merged, sender, steps, is_lost: false };
                Ok(Begun::Running(Box::new(turn), Box::new(begun)))
            }
            Ok(Step::Committed(TurnCommitted { turn: Some(turn), .. })) => Ok(Begun::Committed(Box::new(turn))),
            Ok(_) => Err(unreachable()),
            Err(status) => Err(read(&status)),
        }
    }

    async fn open(
        &self,
        first: Asked,
        asking: &Asking,
    ) -> Result<(mpsc::Sender<RunTurnRequest>, Streaming<RunTurnResponse>), Status> {
        let (sender, receiver) = mpsc::channel(2);
        // There is room: it is new.
        let _ = sender.try_send(RunTurnRequest { step: Some(first) });
        let steps = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        let mut request = Request::new(steps);
        mesh_context::write(&asking.context, request.metadata_mut());
        propagation::inject(&asking.span, request.metadata_mut().as_mut());
        // A history may be longer than what a message has by default; the store bounds it.
        let mut client = TurnServiceClient::new(self.channel()).max_decoding_message_size(usize::MAX);
        Ok((sender, client.run_turn(request).await?.into_inner()))
    }
}

impl RunningTurn {
    /// Whether the turn must be given up, and why.
    pub(crate) fn poll_given_up(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if self.is_lost {
            return Poll::Pending;
        }
        match std::pin::Pin::new(&mut self.steps).poll_next(context) {
            Poll::Ready(Some(Ok(RunTurnResponse { step: Some(Step::Cancelled(cancelled)) }))) => {
                Poll::Ready(given_up(&cancelled.reason))
            }
            Poll::Ready(_) => {
                self.is_lost = true;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Commits the turn. Returns when it is durable. A commit whose answer was lost is asked for again: it is done once.
    pub(crate) async fn commit(mut self: Box<Self>, turn: Turn) -> Result<Turn, Error> {
        let commit = CommitTurn {
            session: std::mem::take(&mut self.session),
            fence: Some(std::mem::take(&mut self.fence)),
            turn: Some(turn),
            request_digest: self.digest,
            merged_requests: std::mem::take(&mut self.merged),
        };
        let step = RunTurnRequest { step: Some(Asked::Commit(commit.clone())) };
        let mut told = Err(unreachable());
        if !self.is_lost && self.sender.send(step).await.is_ok() {
            told = committed(next(&mut self.steps).await);
        }
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        while told.as_ref().is_err_and(is_worth_another) && Instant::now() + pause < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            told = match self.store.open(Asked::Commit(commit.clone()), &self.asking).await {
                Ok((_sender, mut steps)) => committed(next(&mut steps).await),
                Err(status) => Err(read(&status)),
            };
        }
        told.map_err(|error| if error.reason() == Reason::SessionsUnavailable { not_known(error) } else { error })
    }
}

/// A commit may have been done though nobody could say so.
fn not_known(error: Error) -> Error {
    let message = "the answer is whole, but it is not known whether its turn is kept; send the request again with its request id, and it is kept once";
    error.with_message(message)
}

async fn next(steps: &mut Streaming<RunTurnResponse>) -> Result<Step, Status> {
    let step = steps.message().await?.and_then(|response| response.step);
    step.ok_or_else(|| Status::unavailable("the stream of the turn ended"))
}

fn committed(step: Result<Step, Status>) -> Result<Turn, Error> {
    match step {
        Ok(Step::Committed(TurnCommitted { turn: Some(turn), .. })) => Ok(turn),
        Ok(Step::Cancelled(cancelled)) => Err(given_up(&cancelled.reason)),
        Ok(_) => Err(unreachable()),
        Err(status) => Err(read(&status)),
    }
}

fn is_worth_another(error: &Error) -> bool {
    matches!(error.reason(), Reason::SessionsUnavailable | Reason::ShuttingDown)
}

fn given_up(reason: &str) -> Error {
    let reason = reason.parse().unwrap_or(Reason::TurnConflict);
    let message = match reason {
        Reason::TurnSuperseded => {
            "a later turn of the session has taken the place of this one, of which nothing is kept"
        }
        Reason::TurnInterrupted => "the turn was broken off; what was heard of its answer is kept",
        Reason::SessionNotFound => "the session was erased while it was answered; nothing of the turn is kept",
        _ => "the session has changed while it was answered; nothing of the turn is kept, send it again",
    };
    Error::new(reason, message)
}

/// The store's own error is the caller's; a transport's means that the store was not reached, or lost.
pub(crate) fn read(status: &Status) -> Error {
    Error::ours(status).unwrap_or_else(|| {
        tracing::warn!(code = ?status.code(), detail = status.message(), "the session store could not be reached, or was lost");
        unreachable()
    })
}

fn unreachable() -> Error {
    let message = "the session store cannot be reached at the moment; try again";
    Error::new(Reason::SessionsUnavailable, message).retry_after(Duration::from_secs(1))
}
