//! One turn of a session, as its store runs it with this gateway: begun before the decision, committed before the end of
//! the answer is told.

mod blame;
pub(crate) mod history;
mod recording;
pub(crate) mod stored;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, Stream as _};
use pointsman_client::Channel;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::{Frame, MeshContext};
use pointsman_proto::mesh_context;
use pointsman_proto::sessions::v1::run_turn_request::Step as Asked;
use pointsman_proto::sessions::v1::run_turn_response::Step;
use pointsman_proto::sessions::v1::session_service_client::SessionServiceClient;
use pointsman_proto::sessions::v1::turn_service_client::TurnServiceClient;
use pointsman_proto::sessions::v1::{
    AbandonTurn, AttachRun, BeginTurn, CommitTurn, Fence, ListTurnsRequest, MergedRequest, RunTurnRequest,
    RunTurnResponse, Turn, TurnBegun, TurnCommitted,
};
use pointsman_server::Work;
use pointsman_telemetry::propagation;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};
use tracing::Span;

use recording::Recording;

/// The session store, as it is called.
#[derive(Clone)]
pub(crate) struct SessionStore {
    channel: Channel,
    /// What is said to it when nobody waits for that any more.
    work: Work,
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
    request_id: String,
    fence: Fence,
    digest: u64,
    merged: Vec<MergedRequest>,
    stream: Stream,
    /// Whether the store was lost since the begin: it is asked again at the commit.
    is_lost: bool,
    /// `None`: the store is told nothing before the commit.
    recording: Option<Recording>,
    /// A run does not wait for its commit to look for the store that was lost.
    attaching: Option<BoxFuture<'static, Result<(Stream, u64), Error>>>,
}

/// One stream to the store.
struct Stream {
    sender: mpsc::Sender<RunTurnRequest>,
    steps: Streaming<RunTurnResponse>,
}

/// How long it may take to say what is kept of a turn.
const LOOK: Duration = Duration::from_secs(5);
/// How long a store that was lost is asked again to commit an answer that is whole.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pauses between these: doubling, from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl SessionStore {
    pub(crate) fn new(channel: Channel, work: Work) -> Self {
        Self { channel, work }
    }

    /// What its other service is called through.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Begins a turn. Returns when it may run, which may take as long as others of its session.
    pub(crate) async fn begin(&self, begin: BeginTurn, asking: Asking) -> Result<Begun, Error> {
        let (session, request_id, digest) = (begin.session.clone(), begin.request_id.clone(), begin.request_digest);
        let is_run = begin.detach;
        let mut stream = self.open(Asked::Begin(begin), &asking).await?;
        match stream.next().await {
            Ok(Step::Begun(begun)) => {
                let keeps_partial = begun.session.as_ref().is_some_and(|session| session.keep_partial_output);
                let turn = RunningTurn {
                    store: self.clone(),
                    asking,
                    session,
                    request_id,
                    fence: begun.fence.clone().unwrap_or_default(),
                    digest,
                    merged: begun.merged_requests.clone(),
                    stream,
                    is_lost: false,
                    recording: (is_run || keeps_partial).then(|| Recording::new(is_run)),
                    attaching: None,
                };
                Ok(Begun::Running(Box::new(turn), Box::new(begun)))
            }
            Ok(Step::Committed(TurnCommitted { turn: Some(turn), .. })) => Ok(Begun::Committed(Box::new(turn))),
            Ok(_) => Err(unreachable()),
            Err(error) => Err(error),
        }
    }

    /// Reads one turn. `None`: it is not there, or its session is not.
    pub(crate) async fn turn(&self, session: &str, revision: u64, asking: &Asking) -> Result<Option<Turn>, Error> {
        let after_revision = revision.saturating_sub(1);
        let mut request = Request::new(ListTurnsRequest { name: session.to_owned(), after_revision, page_size: 1 });
        mesh_context::write(&asking.context, request.metadata_mut());
        propagation::inject(&asking.span, request.metadata_mut().as_mut());
        request.set_timeout(LOOK);
        let mut client = SessionServiceClient::new(self.channel()).max_decoding_message_size(usize::MAX);
        match client.list_turns(request).await.map_err(|status| read(&status)) {
            Ok(listed) => Ok(listed.into_inner().turns.pop().filter(|turn| turn.revision == revision)),
            Err(error) if error.reason() == Reason::SessionNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn open(&self, first: Asked, asking: &Asking) -> Result<Stream, Error> {
        let (sender, receiver) = mpsc::channel(2);
        // There is room: it is new.
        let _ = sender.try_send(RunTurnRequest { step: Some(first) });
        let steps = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        let mut request = Request::new(steps);
        mesh_context::write(&asking.context, request.metadata_mut());
        propagation::inject(&asking.span, request.metadata_mut().as_mut());
        // A history may be longer than what a message has by default; the store bounds it.
        let mut client = TurnServiceClient::new(self.channel()).max_decoding_message_size(usize::MAX);
        let response = client.run_turn(request).await.map_err(|status| read(&status))?;
        Ok(Stream { sender, steps: response.into_inner() })
    }

    /// Goes on with a run. Returns the last frame that the store has.
    async fn attach(&self, run: AttachRun, asking: &Asking) -> Result<(Stream, u64), Error> {
        let mut stream = self.open(Asked::Attach(run), asking).await?;
        match stream.next().await? {
            Step::Recorded(recorded) => Ok((stream, recorded.last_sequence)),
            _ => Err(unreachable()),
        }
    }
}

impl Stream {
    async fn next(&mut self) -> Result<Step, Error> {
        let response = self.steps.message().await.map_err(|status| read(&status))?;
        response.and_then(|response| response.step).ok_or_else(unreachable)
    }

    /// Says something. Where the store is gone, what is read next says so.
    async fn say(&self, step: RunTurnRequest) {
        let _ = self.sender.send(step).await;
    }
}

impl RunningTurn {
    /// Does what a turn needs while it is answered, and says when it must be given up, and why.
    pub(crate) fn poll_given_up(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        loop {
            if let Some(attaching) = &mut self.attaching {
                let attached = ready!(attaching.as_mut().poll(context));
                self.attaching = None;
                match attached {
                    Ok(attached) => self.attached(attached),
                    Err(error) => return Poll::Ready(error),
                }
            }
            if self.is_lost {
                return Poll::Pending;
            }
            match Pin::new(&mut self.stream.steps).poll_next(context) {
                Poll::Ready(Some(Ok(RunTurnResponse { step: Some(Step::Cancelled(cancelled)) }))) => {
                    return Poll::Ready(given_up(&cancelled.reason));
                }
                Poll::Ready(Some(Ok(RunTurnResponse { step: Some(Step::Recorded(recorded)) }))) => {
                    if let Some(recording) = &mut self.recording {
                        recording.recorded(recorded.last_sequence);
                    }
                }
                Poll::Ready(_) => {
                    self.is_lost = true;
                    self.attaching = self.is_run().then(|| self.look_for_the_store());
                }
                Poll::Pending => {
                    if let Some(recording) = &mut self.recording {
                        recording.poll_send(&self.stream.sender, context);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Tells the store a frame, where it wants to know.
    pub(crate) fn record(&mut self, frame: &Frame) {
        if let Some(recording) = &mut self.recording {
            recording.push(frame.clone());
        }
    }

    fn is_run(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_run)
    }

    fn run(&self) -> AttachRun {
        AttachRun { session: self.session.clone(), request_id: self.request_id.clone() }
    }

    fn attached(&mut self, (stream, last): (Stream, u64)) {
        self.stream = stream;
        self.is_lost = false;
        if let Some(recording) = &mut self.recording {
            recording.begin_again(last);
        }
    }

    /// Asks for the store until it is there again: what it then says holds.
    fn look_for_the_store(&self) -> BoxFuture<'static, Result<(Stream, u64), Error>> {
        let (store, asking, run) = (self.store.clone(), self.asking.clone(), self.run());
        async move {
            let mut pause = PAUSES.0;
            loop {
                match store.attach(run.clone(), &asking).await {
                    Err(error) if is_worth_another(&error) => tokio::time::sleep(pause).await,
                    told => return told,
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
        .boxed()
    }

    /// Commits the turn. Returns when it is durable. A commit whose answer was lost is asked for again: it is done once.
    pub(crate) async fn commit(mut self: Box<Self>, turn: Turn) -> Result<Turn, Error> {
        self.attaching = None;
        let commit = CommitTurn {
            session: self.session.clone(),
            fence: Some(std::mem::take(&mut self.fence)),
            turn: Some(turn),
            request_digest: self.digest,
            detach: self.is_run(),
            merged_requests: std::mem::take(&mut self.merged),
        };
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        let mut told = self.ask_to_commit(&commit).await;
        while told.as_ref().is_err_and(is_worth_another) && Instant::now() + pause < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            told = self.ask_to_commit(&commit).await;
        }
        told.map_err(|error| if error.reason() == Reason::SessionsUnavailable { not_known(error) } else { error })
    }

    async fn ask_to_commit(&mut self, commit: &CommitTurn) -> Result<Turn, Error> {
        let step = Asked::Commit(commit.clone());
        if self.is_lost && self.is_run() {
            let attached = self.store.attach(self.run(), &self.asking).await?;
            self.attached(attached);
        }
        if self.is_lost {
            self.stream = self.store.open(step, &self.asking).await?;
        } else {
            // Until it is known better.
            self.is_lost = true;
            self.say_the_rest().await;
            self.stream.say(RunTurnRequest { step: Some(step) }).await;
        }
        loop {
            match self.stream.next().await? {
                Step::Recorded(_) => {}
                Step::Committed(TurnCommitted { turn: Some(turn), .. }) => return Ok(turn),
                Step::Cancelled(cancelled) => return Err(given_up(&cancelled.reason)),
                _ => return Err(unreachable()),
            }
        }
    }

    async fn say_the_rest(&mut self) {
        if let Some(rest) = self.recording.as_mut().and_then(Recording::rest) {
            self.stream.say(rest).await;
        }
    }

    /// Leaves a turn that has failed, or that nobody waits for: what came of it may be kept.
    pub(crate) fn abandon(mut self: Box<Self>, reason: Reason) {
        let is_told = self.recording.is_some() || !self.merged.is_empty();
        if !is_told || (self.is_lost && !self.is_run()) {
            return;
        }
        let work = self.store.work.clone();
        work.begin(async move {
            let told = async {
                if self.is_lost {
                    let attached = self.store.attach(self.run(), &self.asking).await?;
                    self.attached(attached);
                }
                self.say_the_rest().await;
                let abandon = AbandonTurn { reason: reason.name().to_owned() };
                self.stream.say(RunTurnRequest { step: Some(Asked::Abandon(abandon)) }).await;
                // The store ends the stream when it has kept what it keeps.
                loop {
                    self.stream.next().await?;
                }
            };
            let told: Result<Result<Infallible, Error>, _> = tokio::time::timeout(PATIENCE, told).await;
            drop(told);
        });
    }
}

/// A commit may have been done though nobody could say so.
fn not_known(error: Error) -> Error {
    let message = "the answer is whole, but it is not known whether its turn is kept; send the request again with its request id, and it is kept once";
    error.with_message(message)
}

fn is_worth_another(error: &Error) -> bool {
    matches!(error.reason(), Reason::SessionsUnavailable | Reason::ShuttingDown | Reason::Overloaded)
}

fn given_up(reason: &str) -> Error {
    let reason = reason.parse().unwrap_or(Reason::TurnConflict);
    let message = match reason {
        Reason::TurnSuperseded => {
            "a later turn of the session has taken the place of this one, of which nothing is kept"
        }
        Reason::RunCancelled => "the run was cancelled, and no turn is kept of it",
        Reason::RunFailed => "the store had not heard of the run for too long, and says that it has failed",
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
