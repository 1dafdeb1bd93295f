//! An operation that is a turn of a session.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{Stream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Finished, Frame, GenerateRequest, Message, SessionReference, Started, part};
use pointsman_proto::session_id;
use pointsman_proto::sessions::v1::{BeginTurn, Turn, TurnKind};
use tracing::Span;

use super::elsewhere::forwarded;
use super::operation::Operation;
use super::{Answer, Exchange, Gateway};
use crate::attempt::Attempts;
use crate::caller::Caller;
use crate::config::Scope;
use crate::frame_log::{self, WholeTurn, digest};
use crate::turn::history::{History, estimate};
use crate::turn::{Asking, Begun, RunningTurn, SessionStore, stored};

/// What a turn is generated with, beside its request.
pub(super) struct Conversation {
    pub(super) history: Arc<History>,
    turn: Box<RunningTurn>,
}

impl Gateway {
    /// The store of a request's session; fails where the request must not have one.
    pub(super) fn session_store(&self, exchange: &Exchange) -> Result<&SessionStore, Error> {
        exchange.caller.require(Scope::Sessions)?;
        self.sessions.as_ref().ok_or_else(not_served)
    }

    /// Begins the turn, decides, attempts: the answer is that of the attempts, or the one that was stored before.
    pub(super) async fn answer_turn(
        &self,
        mut exchange: Exchange,
        mut operation: Operation,
        resume_token: String,
    ) -> Result<Answer, Error> {
        let begun = self.begin_turn(&exchange).await;
        match begun.map_err(|error| operation.failed(error))? {
            Begun::Committed(turn) => Ok(self.stored(&exchange, *turn, operation, resume_token)),
            Begun::Running(turn, begun) => {
                let history = History::new(*begun, &exchange.request);
                exchange.request = exchange.request.between(history.before(), history.after(), history.data_class());
                let conversation = Conversation { history: Arc::new(history), turn };
                let decided = match self.decide(&exchange) {
                    Ok(decided) => decided,
                    Err(error) => {
                        conversation.turn.abandon(error.reason());
                        let error = conversation.history.blamed(error, exchange.request.messages.len());
                        return Err(operation.failed(error));
                    }
                };
                self.attempt(exchange, decided, Some(conversation), (operation, resume_token)).await
            }
        }
    }

    async fn begin_turn(&self, exchange: &Exchange) -> Result<Begun, Error> {
        let store = self.session_store(exchange)?;
        let reference = exchange.request.session.clone().unwrap_or_default();
        let begin = BeginTurn {
            session: name(&reference),
            expected_revision: reference.expected_revision,
            request_id: exchange.request.request_id.clone(),
            request_digest: digest(&exchange.request),
            messages: exchange.request.messages.clone(),
            channel: reference.channel,
            detach: exchange.request.detach,
            data_class: exchange.request.data_class,
        };
        let context = forwarded(&exchange.caller);
        let asking = Asking { context, span: exchange.span.clone() };
        let answering = self.requests.enter(exchange.about());
        let ends = self.ends(&answering);
        tokio::select! {
            begun = store.begin(begin, asking) => begun,
            error = ends => Err(error),
        }
    }

    /// Whether a turn stands in its session as it was told.
    pub(super) async fn is_kept(&self, turn: &WholeTurn, caller: &Caller, span: &Span) -> Result<(), Error> {
        let store = self.sessions.as_ref().ok_or_else(not_served)?;
        let asking = Asking { context: forwarded(caller), span: span.clone() };
        match store.turn(&turn.session, turn.revision, &asking).await? {
            Some(found) if found.request_id == turn.request_id && found.kind() == TurnKind::Generated => Ok(()),
            _ => Err(frame_log::lost()),
        }
    }

    fn stored(&self, exchange: &Exchange, turn: Turn, operation: Operation, resume_token: String) -> Answer {
        exchange.trail.repeat();
        let reference = exchange.request.session.clone().unwrap_or_default();
        let started = Started {
            request_id: exchange.request.request_id.clone(),
            accept_time: Some(std::time::SystemTime::now().into()),
            model: exchange.request.model.clone(),
            resume_token,
            ..Started::default()
        };
        operation.first_chunk(None);
        Answer::stored(stored::frames(turn, &name(&reference), started), operation)
    }
}

pub(crate) fn not_served() -> Error {
    let message =
        "this gateway keeps no conversations; leave the session out, or ask its operators for `gateway.sessions`";
    Error::new(Reason::SessionsNotServed, message)
}

/// The session that a request refers to, by its whole name.
pub(super) fn name(reference: &SessionReference) -> String {
    format!("sessions/{}", session_id(&reference.session).unwrap_or_default())
}

/// A turn whose attempts have begun to answer: passes their frames on, and holds the last one back until the turn is
/// durable.
pub(super) struct Turning {
    state: State,
    fold: Fold,
    /// What was said to the model in this turn.
    input: Vec<Message>,
    model: String,
    channel: String,
    data_class: i32,
}

enum State {
    Answering(Box<Attempts>, Box<RunningTurn>),
    Committing(BoxFuture<'static, Result<Turn, Error>>, u64),
    Over,
}

impl Turning {
    /// Waits for the first piece of an answer, unless the turn is given up before.
    pub(super) async fn open(
        conversation: Conversation,
        request: (GenerateRequest, Vec<Message>),
        attempts: impl Future<Output = Result<Box<Attempts>, Error>>,
    ) -> Result<Self, Error> {
        let mut turn = conversation.turn;
        let (request, input) = request;
        let attempts = tokio::select! {
            biased;
            error = poll_fn(|context| turn.poll_given_up(context)) => return Err(error),
            attempts = attempts => attempts,
        };
        let attempts = match attempts {
            Ok(attempts) => attempts,
            Err(error) => {
                turn.abandon(error.reason());
                return Err(error);
            }
        };
        let channel = request.session.as_ref().map(|session| session.channel.clone()).unwrap_or_default();
        let state = State::Answering(attempts, turn);
        let GenerateRequest { model, data_class, .. } = request;
        Ok(Self { state, fold: Fold::default(), input, model, channel, data_class })
    }

    pub(super) fn attempts(&self) -> Option<&Attempts> {
        match &self.state {
            State::Answering(attempts, _) => Some(attempts),
            State::Committing(..) | State::Over => None,
        }
    }

    /// The answer has failed, or nobody waits for it.
    fn abandon(&mut self, reason: Reason) {
        if let State::Answering(_, turn) = std::mem::replace(&mut self.state, State::Over) {
            turn.abandon(reason);
        }
    }

    /// The last frame has come: the turn is committed before it is told.
    fn commit(&mut self, sequence: u64) {
        let State::Answering(attempts, turn) = std::mem::replace(&mut self.state, State::Over) else { return };
        let estimated_prompt_tokens = attempts.told_tokens();
        let whole = std::mem::take(&mut self.fold).finish().unwrap_or_default();
        let started = whole.started.unwrap_or_default();
        let mut choice = whole.choices.into_iter().next().unwrap_or_default();
        if let Some(message) = &mut choice.message {
            // An answer without a word is none: there is no message that could be said again.
            message.parts.retain(|part| !matches!(&part.kind, Some(part::Kind::Text(text)) if text.is_empty()));
        }
        let input = std::mem::take(&mut self.input);
        let finish_reason = choice.finish_reason;
        let turn_of = Turn {
            kind: TurnKind::Generated.into(),
            request_id: started.request_id,
            estimated_tokens: estimate(&input)
                + choice.message.as_ref().map_or(0, |message| estimate(std::slice::from_ref(message))),
            input,
            output: choice.message,
            finish_reason,
            model: std::mem::take(&mut self.model),
            channel: std::mem::take(&mut self.channel),
            data_class: self.data_class,
            target: started.target,
            decision_id: started.decision_id,
            usage: whole.usage,
            estimated_prompt_tokens,
            ..Turn::default()
        };
        self.state = State::Committing(turn.commit(turn_of).boxed(), sequence);
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        self.abandon(Reason::Cancelled);
    }
}

impl Stream for Turning {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Answering(attempts, turn) => {
                    if let Poll::Ready(error) = turn.poll_given_up(context) {
                        this.state = State::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                    match ready!(attempts.poll_next_unpin(context)) {
                        Some(Ok(frame)) => {
                            this.fold.push(frame.clone());
                            if !matches!(frame.body, Some(Body::Finished(_))) {
                                turn.record(&frame);
                                return Poll::Ready(Some(Ok(frame)));
                            }
                            this.commit(frame.sequence);
                        }
                        end => {
                            let reason = end.as_ref().and_then(|end| end.as_ref().err()).map(Error::reason);
                            this.abandon(reason.unwrap_or(Reason::StreamTruncated));
                            return Poll::Ready(end);
                        }
                    }
                }
                State::Committing(commit, sequence) => {
                    let (committed, sequence) = (ready!(commit.as_mut().poll(context)), *sequence);
                    this.state = State::Over;
                    let finished = |turn: Turn| {
                        let body = Body::Finished(Finished { session_revision: Some(turn.revision) });
                        Frame { sequence, body: Some(body) }
                    };
                    return Poll::Ready(Some(committed.map(finished)));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}
