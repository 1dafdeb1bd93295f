//! One operation of a caller, from its acceptance to the beginning of its answer.

mod answer;
mod deciding;
mod elsewhere;
mod operation;
pub(crate) mod turn;
pub(crate) mod unary;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use pointsman_errors::{Error, Reason};
use pointsman_policy::compile::CompiledPolicy;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_server::{About, Answering, Deadline, Drain, Requests, Work};
use pointsman_types::new_request_id;
use tokio::time::Instant;
use tracing::Span;

use crate::attempt::{Attempts, Means, Order};
use crate::caller::{Caller, Callers};
use crate::config::Scope;
use crate::fleet::Fleet;
use crate::frame_log::owner::{Owners, Peer};
use crate::frame_log::token::{EventId, Token};
use crate::frame_log::{self, Asked, Entered, FrameLogs, Name, Reader, Writer};
use crate::limits::{Limiter, Running};
use crate::metrics::{Metrics, SurfaceName};
use crate::policy::InForce;
use crate::spool::Spool;
use crate::trail::Trail;
use crate::turn::SessionStore;
use crate::turn::history::History;

pub(crate) use answer::Answer;
use deciding::{Decided, context, own_priority};
use operation::Operation;
use turn::{Conversation, Turning};

/// What every exchange works with.
pub(crate) struct Gateway {
    pub(crate) callers: Callers,
    pub(crate) drain: Drain,
    pub(crate) fleet: Fleet,
    pub(crate) frame_logs: FrameLogs,
    pub(crate) owners: Owners,
    pub(crate) instance: String,
    pub(crate) max_request_bytes: usize,
    pub(crate) metrics: Metrics,
    pub(crate) policy: InForce,
    pub(crate) requests: Requests,
    /// `None`: this gateway keeps no conversations.
    pub(crate) sessions: Option<SessionStore>,
    pub(crate) work: Work,
    pub(crate) spool: Spool,
    pub(crate) zone: Arc<str>,
}

/// A request as a surface has understood it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    /// It has an id.
    pub(crate) request: Valid<GenerateRequest>,
    /// Whether its caller gets the pieces as they come, and not all at the end.
    pub(crate) is_streamed: bool,
    /// Whether it has a name of its caller's, so that its frames are kept.
    pub(crate) keep: bool,
    /// The last frame that the caller has of an answer which it has asked for before: then none is begun.
    pub(crate) after: Option<EventId>,
    pub(crate) deadline: Option<Deadline>,
    /// The logical span of the operation: see [`span::operation`].
    pub(crate) span: Span,
    /// Its trace.
    pub(crate) trace: Option<Arc<str>>,
    /// How it comes to its answer.
    pub(crate) trail: Arc<Trail>,
}

/// A stream that is to be taken up, as a surface has understood it.
pub(crate) struct Resume {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    pub(crate) token: String,
    /// The last frame that arrived.
    pub(crate) after: u64,
    pub(crate) span: Span,
    /// Its trace.
    pub(crate) trace: Option<Arc<str>>,
    /// How the request came to its answer.
    pub(crate) trail: Arc<Trail>,
}

/// How a request is to be answered.
enum Route {
    /// By attempts of its own.
    Own(Way),
    /// The same, and their frames are kept.
    Writing(Way, Writer, Reader),
    /// By the frames of a request that runs, or has ended.
    Reading(Reader),
    /// By the gateway that keeps its frames.
    Elsewhere(Peer, Option<Running>),
}

/// What comes before the attempts.
enum Way {
    /// Nothing: it is decided.
    Decided(Decided),
    /// Its session is asked first.
    Turn,
}

/// Who has the frames of a stream that was lost.
enum Keeper {
    Own(Reader),
    Peer(Peer),
}

impl Resume {
    /// What operators see of it: the token names the request, and no model.
    fn about(&self) -> About {
        About {
            request_id: self.token.parse().map_or_else(|()| String::new(), |token: Token| token.request_id).into(),
            trace_id: self.trace.clone(),
            tenant: Arc::clone(&self.caller.tenant),
            model: "".into(),
        }
    }
}

impl Exchange {
    /// What operators see of the request.
    fn about(&self) -> About {
        About {
            request_id: self.request.request_id.as_str().into(),
            trace_id: self.trace.clone(),
            tenant: Arc::clone(&self.caller.tenant),
            model: self.request.model.as_str().into(),
        }
    }
}

impl Gateway {
    /// Counts a request that a surface refuses.
    pub(crate) fn refuse(&self, surface: SurfaceName, error: Error) -> Error {
        self.metrics.refused(surface, error.reason().name());
        error
    }

    /// Answers a request. Returns when the first piece of the answer is there, so that an error before it
    /// is an error and not a broken stream. Dropping the future, or the answer, stops the work.
    pub(crate) async fn answer(self: &Arc<Self>, mut exchange: Exchange) -> Result<Answer, Error> {
        if exchange.request.detach {
            // Its frames have readers of their own, and none of them says how long it may take.
            (exchange.keep, exchange.deadline) = (true, None);
        }
        let mut operation = Operation::begin(exchange.surface, exchange.span.clone(), self.metrics.clone());
        self.fleet.first_look().await;
        match self.route(&exchange).map_err(|error| operation.failed(error))? {
            Route::Own(way) => self.begin(way, exchange, operation, String::new()).await,
            Route::Writing(way, writer, reader) => self.write(way, exchange, operation, (writer, reader)).await,
            Route::Reading(reader) => self.read(reader, (&exchange.caller, &exchange.span), operation).await,
            Route::Elsewhere(peer, running) => {
                operation.running = running;
                self.answer_elsewhere(exchange, &peer, operation).boxed().await
            }
        }
    }

    /// Has a request answered by a task of its own: its reader may leave it, and others may come.
    async fn write(
        self: &Arc<Self>,
        way: Way,
        exchange: Exchange,
        operation: Operation,
        (writer, reader): (Writer, Reader),
    ) -> Result<Answer, Error> {
        let window = exchange.request.resume_window.and_then(|window| window.try_into().ok());
        let window = (!exchange.request.detach).then(|| window.unwrap_or_default());
        let token = Token {
            owner: self.owners.own().to_owned(),
            request_id: exchange.request.request_id.clone(),
            generation: writer.generation(),
        };
        let gateway = Arc::clone(self);
        // Boxed, as the other ways that few requests take: their room would be every request's.
        let answer = async move { gateway.begin(way, exchange, operation, token.to_string()).await }.boxed();
        self.work.begin(writer.write(answer, window));
        Answer::kept(reader, None).await
    }

    fn route(&self, exchange: &Exchange) -> Result<Route, Error> {
        exchange.caller.require(Scope::Generate)?;
        own_priority(&exchange.caller, exchange.request.priority())?;
        if !exchange.keep {
            return Ok(Route::Own(self.way(exchange)?));
        }
        let name = Name {
            tenant: Arc::clone(&exchange.caller.tenant),
            request_id: exchange.request.request_id.as_str().into(),
        };
        if let Some(peer) = self.owners.peer_of(&name) {
            // The owner takes our word for the caller, so that its limits are ours to keep.
            let running = exchange.caller.limiter.as_ref().map(Limiter::enter).transpose()?;
            return Ok(Route::Elsewhere(peer.clone(), running));
        }
        let asked = Asked::new(&exchange.request, &exchange.caller.allowed_zones);
        if let Some(EventId { generation, .. }) = exchange.after {
            let reader = self.frame_logs.find(&name, &asked, generation)?;
            return Ok(Route::Reading(exchange.trail.repeating(reader)));
        }
        match self.frame_logs.enter(&name, asked, &exchange.trail)? {
            Entered::Known(reader) => Ok(Route::Reading(exchange.trail.repeating(reader))),
            Entered::Stored => Ok(Route::Own(self.way(exchange)?)),
            Entered::New(mut writer, reader) => match self.way(exchange) {
                Ok(way) => Ok(Route::Writing(way, writer, reader)),
                Err(error) => {
                    writer.end(Err(error.clone()));
                    Err(error)
                }
            },
        }
    }

    fn way(&self, exchange: &Exchange) -> Result<Way, Error> {
        if exchange.request.session.is_none() {
            return Ok(Way::Decided(self.decide(exchange)?));
        }
        self.session_store(exchange)?;
        Ok(Way::Turn)
    }

    async fn begin(
        &self,
        way: Way,
        exchange: Exchange,
        operation: Operation,
        resume_token: String,
    ) -> Result<Answer, Error> {
        match way {
            Way::Decided(decided) => self.attempt(exchange, decided, None, (operation, resume_token)).await,
            // Boxed: few requests have a session, and its room would be every request's.
            Way::Turn => self.answer_turn(exchange, operation, resume_token).boxed().await,
        }
    }

    /// Makes a name that this gateway owns: what has none is owned where it arrives.
    pub(crate) fn own_name(&self, tenant: &Arc<str>) -> String {
        loop {
            // As many tries as there are gateways, on average.
            let id = new_request_id();
            let name = Name { tenant: Arc::clone(tenant), request_id: id.as_str().into() };
            if self.owners.peer_of(&name).is_none() {
                return id;
            }
        }
    }

    /// Answers from a log, unless its session was erased since, or the turn broken off.
    async fn read(
        &self,
        reader: Reader,
        (caller, span): (&Caller, &Span),
        mut operation: Operation,
    ) -> Result<Answer, Error> {
        if let Some(turn) = reader.turn_that_is_whole() {
            self.is_kept(&turn, caller, span).boxed().await.map_err(|error| operation.failed(error))?;
        }
        Answer::kept(reader, Some(operation)).await
    }

    /// Takes up a stream that was lost.
    pub(crate) async fn resume(&self, resume: Resume) -> Result<Answer, Error> {
        let mut operation = Operation::begin(resume.surface, resume.span.clone(), self.metrics.clone());
        match self.keeper(&resume).map_err(|error| operation.failed(error))? {
            Keeper::Own(reader) => self.read(reader, (&resume.caller, &resume.span), operation).await,
            Keeper::Peer(peer) => self.resume_elsewhere(resume, &peer, operation).await,
        }
    }

    fn keeper(&self, resume: &Resume) -> Result<Keeper, Error> {
        resume.caller.require(Scope::Generate)?;
        let Token { owner, request_id, generation } = Token::read(&resume.token).map_err(Error::invalid)?;
        if let Some(peer) = self.owners.find(&owner).map_err(|()| frame_log::lost())? {
            return Ok(Keeper::Peer(peer.clone()));
        }
        let name = Name { tenant: Arc::clone(&resume.caller.tenant), request_id: request_id.into() };
        let (digest, zones) = (resume.caller.request_digest, Arc::clone(&resume.caller.allowed_zones));
        let asked = Asked { digest, zones, is_turn: false };
        let reader = self.frame_logs.resume(&name, &asked, generation, resume.after)?;
        Ok(Keeper::Own(resume.trail.repeating(reader)))
    }

    /// Makes the attempts at a request.
    async fn attempt(
        &self,
        exchange: Exchange,
        decided: Decided,
        conversation: Option<Conversation>,
        (mut operation, resume_token): (Operation, String),
    ) -> Result<Answer, Error> {
        let Decided { decision, tokens, policy, view, running } = decided;
        let answering = self.requests.enter(exchange.about());
        let Exchange { caller, request, is_streamed, deadline, span, trail, .. } = exchange;
        // Whoever waited for other turns of a session has all the time of a policy for its own.
        let accept = if conversation.is_some() { Instant::now() } else { operation.accept };
        let (accept_time, mut request) = (decision.time, request.into_inner());
        // Its session is this gateway's affair, and no instance's.
        let session = request.session.take();
        request.detach = false;
        let history = conversation.as_ref().map(|conversation| Arc::clone(&conversation.history));
        let said = history.as_ref().map(|history| {
            let (model, data_class) = (request.model.clone(), request.data_class);
            let turn = GenerateRequest { model, data_class, session, ..GenerateRequest::default() };
            (turn, history.own().to_vec())
        });
        let context = context(&caller, request.data_class, request.priority, &decision);
        let order = Order {
            ends: self.ends(&answering),
            resume_token,
            answering,
            history,
            request,
            decision,
            context,
            accept_time,
            accept,
            deadline,
            tokens,
            is_streamed,
            span,
        };
        let means = self.means(&policy, order.history.as_deref());
        operation.running = running.or(operation.running.take());
        let attempts = Attempts::open(order, means, view, trail);
        let Some((conversation, said)) = conversation.zip(said) else {
            return match attempts.await {
                Ok(attempts) => {
                    operation.first_chunk(attempts.answering());
                    Ok(Answer::own(attempts, operation))
                }
                Err(error) => Err(operation.failed(error)),
            };
        };
        match Turning::open(conversation, said, attempts).await {
            Ok(turning) => {
                operation.first_chunk(turning.attempts().and_then(Attempts::answering));
                Ok(Answer::turn(Box::new(turning), operation))
            }
            Err(error) => Err(operation.failed(error)),
        }
    }

    fn means(&self, policy: &CompiledPolicy, history: Option<&History>) -> Means {
        let home = history.map(|history| history.session().home_zone.as_str()).filter(|zone| !zone.is_empty());
        Means {
            fleet: self.fleet.clone(),
            zone: home.map_or_else(|| Arc::clone(&self.zone), Arc::from),
            retry_budget: policy.retry_budget,
            hedge_budget: policy.hedge_budget,
            spool: self.spool.clone(),
        }
    }

    /// Waits until the request must end, whatever its attempts do.
    fn ends(&self, answering: &Answering) -> BoxFuture<'static, Error> {
        let (cancelled, cut) = (answering.cancelled(), self.drain.until_cut());
        async move {
            tokio::select! {
                () = cancelled => Error::new(Reason::CancelledByOperator, "an operator ended this request"),
                () = cut => {
                    let message = "this gateway is going down and ended the answer; send the request again";
                    Error::new(Reason::ShuttingDown, message).retry_after(Duration::from_secs(1))
                }
            }
        }
        .boxed()
    }
}
