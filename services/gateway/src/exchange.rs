//! One operation of a caller, from its acceptance to the beginning of its answer.

mod answer;
mod operation;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt};
use pointsman_errors::{Error, Reason};
use pointsman_policy::compile::CompiledPolicy;
use pointsman_policy::decide::Circumstances;
use pointsman_policy::{Decision, Fact, Facts, decide};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, MeshContext, ResumeRequest};
use pointsman_proto::mesh_context;
use pointsman_server::{About, Answering, Deadline, Drain, Requests, Work};
use pointsman_types::new_request_id;
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::Request;
use tracing::{Instrument, Span};

use crate::attempt::{Attempts, Means, Order, Trail};
use crate::caller::{Caller, Callers};
use crate::config::Scope;
use crate::fleet::{Fleet, View};
use crate::frame_log::owner::{Owners, Peer};
use crate::frame_log::relay::Relay;
use crate::frame_log::{self, Asked, Entered, FrameLogs, Name, Reader, Writer, token};
use crate::limits::{Limiter, Running};
use crate::metrics::{Metrics, SurfaceName};
use crate::policy::InForce;
use crate::span;
use crate::spool::Spool;

pub(crate) use answer::Answer;
use answer::Watched;
use operation::Operation;

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
    pub(crate) work: Work,
    pub(crate) spool: Spool,
    pub(crate) zone: Arc<str>,
}

/// A request as a surface has understood it.
pub(crate) struct Exchange {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    /// It has an id.
    pub(crate) request: Valid<GenerateRequest>,
    /// Whether it has a name of its caller's, so that its frames are kept.
    pub(crate) keep: bool,
    /// The last frame that the caller has of an answer which it has asked for before: then none is begun.
    pub(crate) after: Option<u64>,
    pub(crate) deadline: Option<Deadline>,
    /// The logical span of the operation: see [`span::operation`].
    pub(crate) span: Span,
    /// Its trace.
    pub(crate) trace: Option<Arc<str>>,
}

/// A stream that is to be taken up, as a surface has understood it.
pub(crate) struct Resume {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    pub(crate) token: String,
    /// The last frame that arrived.
    pub(crate) after: u64,
    pub(crate) span: Span,
}

/// What an answer says of where it comes from, whatever becomes of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// The decision that was made. Empty: none was.
    pub(crate) decision_id: String,
    /// The policy's revision. Empty: there is none.
    pub(crate) policy_revision: Arc<str>,
    /// The attempts so far.
    pub(crate) trail: Arc<Trail>,
    /// Whether an answer is given that was asked for before.
    pub(crate) repeated: bool,
}

/// A request that is about to be answered, and how.
pub(crate) struct Begun {
    exchange: Exchange,
    route: Route,
    operation: Operation,
}

enum Route {
    /// By attempts of its own.
    Decided(Decided),
    /// The same, and their frames are kept.
    Writing(Decided, Writer, Reader),
    /// By the frames of a request that runs, or has ended.
    Reading(Reader),
    /// By the gateway that keeps its frames.
    Elsewhere(Peer, Option<Running>),
}

/// Where a request may go, and what was looked at for that.
struct Decided {
    decision: Decision,
    tokens: u64,
    policy: Arc<CompiledPolicy>,
    view: Arc<View>,
    trail: Arc<Trail>,
    running: Option<Running>,
}

impl Gateway {
    /// Counts a request that a surface refuses.
    pub(crate) fn refuse(&self, surface: SurfaceName, error: Error) -> Error {
        self.metrics.refused(surface, error.reason().name());
        error
    }

    /// Finds out how a request is to be answered. What is decided stands in every answer to it, whatever
    /// becomes of it.
    pub(crate) fn begin(&self, exchange: Exchange) -> (Origins, Result<Begun, Error>) {
        let mut operation = Operation::begin(exchange.surface, exchange.span.clone(), self.metrics.clone());
        let mut origins = Origins::default();
        match exchange.span.in_scope(|| self.route(&exchange, &mut origins)) {
            Ok(route) => (origins, Ok(Begun { exchange, route, operation })),
            Err(error) => {
                operation.end(error.reason().name());
                (origins, Err(error))
            }
        }
    }

    fn route(&self, exchange: &Exchange, origins: &mut Origins) -> Result<Route, Error> {
        exchange.caller.require(Scope::Generate)?;
        if !exchange.keep {
            return Ok(Route::Decided(self.decide(exchange, origins)?));
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
        let asked = asked(exchange);
        if exchange.after.is_some() {
            origins.repeated = true;
            return Ok(Route::Reading(self.frame_logs.find(&name, &asked)?));
        }
        match self.frame_logs.enter(&name, asked)? {
            Entered::Known(reader) => {
                origins.repeated = true;
                Ok(Route::Reading(reader))
            }
            Entered::New(mut writer, reader) => match self.decide(exchange, origins) {
                Ok(decided) => Ok(Route::Writing(decided, writer, reader)),
                Err(error) => {
                    writer.end(Err(error.clone()));
                    Err(error)
                }
            },
        }
    }

    fn decide(&self, exchange: &Exchange, origins: &mut Origins) -> Result<Decided, Error> {
        let running = exchange.caller.limiter.as_ref().map(Limiter::enter).transpose()?;
        let (policy, view) = (self.policy.get(), self.fleet.view());
        origins.policy_revision = Arc::clone(&policy.revision);
        let (decision, tokens) = self.decision(exchange, &policy, &view)?;
        origins.decision_id = decision.id();
        span::decided(&exchange.span, &decision);
        Ok(Decided { decision, tokens, policy, view, trail: Arc::clone(&origins.trail), running })
    }

    fn decision(&self, exchange: &Exchange, policy: &CompiledPolicy, view: &View) -> Result<(Decision, u64), Error> {
        if !self.spool.has_room() {
            let message = "this gateway cannot record usage at the moment; try another";
            return Err(Error::new(Reason::UsageSpoolFull, message).retry_after(Duration::from_secs(5)));
        }
        let facts = Facts::new(&exchange.request, &exchange.caller.tenant, &exchange.caller.key);
        let given = Circumstances {
            caller_zones: Arc::clone(&exchange.caller.allowed_zones),
            time: SystemTime::now(),
            seed: rand::random(),
        };
        let decision = decide(policy, &view.fleet, &facts, given)?;
        Ok((decision, tokens(&exchange.request, &facts)))
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

    /// Answers a request. Returns when the first piece of the answer is there, so that an error before it
    /// is an error and not a broken stream. Dropping the future, or the answer, stops the work.
    pub(crate) async fn answer(self: &Arc<Self>, begun: Begun) -> Result<Answer, Error> {
        let Begun { exchange, route, mut operation } = begun;
        match route {
            Route::Decided(decided) => self.attempt(exchange, decided, operation, String::new()).await,
            Route::Writing(decided, writer, reader) => {
                let window = exchange.request.resume_window.and_then(|window| window.try_into().ok());
                let token = token::write(self.owners.own(), &exchange.request.request_id);
                let gateway = Arc::clone(self);
                let answer = async move { gateway.attempt(exchange, decided, operation, token).await };
                // A task of its own: its reader may leave it, and others may come.
                self.work.begin(writer.write(answer, window.unwrap_or_default()));
                Answer::kept(reader, None).await
            }
            Route::Reading(reader) => Answer::kept(reader, Some(operation)).await,
            Route::Elsewhere(peer, running) => {
                operation.running = running;
                let mut watched = self.watched(&exchange, &peer);
                if exchange.after.is_some() {
                    let resume_token = token::write(peer.name(), &exchange.request.request_id);
                    let message = ResumeRequest { resume_token, after_sequence: 0 };
                    let mut request = Request::new(message);
                    let request_digest = digest(&exchange.request);
                    let context = MeshContext { request_digest, ..forwarded(&exchange.caller) };
                    mesh_context::write(&context, request.metadata_mut());
                    let relay = watched.unless_ended(Relay::resume(&peer, request)).instrument(exchange.span).await;
                    return Answer::elsewhere(relay, operation, Some(watched));
                }
                let mut request = Request::new(exchange.request.into_inner());
                mesh_context::write(&forwarded(&exchange.caller), request.metadata_mut());
                if let Some(deadline) = exchange.deadline {
                    request.set_timeout(deadline.remaining());
                }
                let relay = watched.unless_ended(Relay::generate(&peer, request)).instrument(exchange.span).await;
                Answer::elsewhere(relay, operation, Some(watched))
            }
        }
    }

    /// Takes up a stream that was lost.
    pub(crate) async fn resume(&self, resume: Resume) -> Result<Answer, Error> {
        let mut operation = Operation::begin(resume.surface, resume.span.clone(), self.metrics.clone());
        let found = resume.caller.require(Scope::Generate).and_then(|()| {
            let (owner, request_id) = token::read(&resume.token).map_err(Error::invalid)?;
            match self.owners.find(&owner) {
                Ok(Some(peer)) => Ok(Err(peer)),
                Ok(None) => {
                    let name = Name { tenant: Arc::clone(&resume.caller.tenant), request_id: request_id.into() };
                    let zones = Arc::clone(&resume.caller.allowed_zones);
                    let asked = Asked { digest: resume.caller.request_digest, zones };
                    self.frame_logs.resume(&name, &asked, resume.after).map(Ok)
                }
                Err(()) => Err(frame_log::lost()),
            }
        });
        match found {
            Ok(Ok(reader)) => Answer::kept(reader, Some(operation)).await,
            Ok(Err(peer)) => {
                let message = ResumeRequest { resume_token: resume.token, after_sequence: resume.after };
                let mut request = Request::new(message);
                mesh_context::write(&forwarded(&resume.caller), request.metadata_mut());
                let relay = Relay::resume(peer, request).instrument(resume.span).await;
                Answer::elsewhere(relay, operation, None)
            }
            Err(error) => {
                operation.end(error.reason().name());
                Err(error)
            }
        }
    }

    /// Makes the attempts at a request.
    async fn attempt(
        &self,
        exchange: Exchange,
        decided: Decided,
        mut operation: Operation,
        resume_token: String,
    ) -> Result<Answer, Error> {
        let Decided { decision, tokens, policy, view, trail, running } = decided;
        let (span, accept, accept_time) = (exchange.span, operation.accept, decision.time);
        let request = exchange.request.into_inner();
        let answering = self.requests.enter(About {
            request_id: request.request_id.as_str().into(),
            trace_id: exchange.trace,
            tenant: Arc::clone(&exchange.caller.tenant),
            model: request.model.as_str().into(),
        });
        let context = context(&exchange.caller, &request, &decision);
        let order = Order {
            ends: self.ends(&answering),
            resume_token,
            answering,
            request,
            decision,
            context,
            accept_time,
            accept,
            deadline: exchange.deadline,
            tokens,
            span: span.clone(),
        };
        let means = Means {
            fleet: self.fleet.clone(),
            zone: Arc::clone(&self.zone),
            retry_budget: policy.retry_budget,
            hedge_budget: policy.hedge_budget,
            spool: self.spool.clone(),
        };
        operation.running = running;
        match Attempts::open(order, means, view, trail).instrument(span).await {
            Ok(attempts) => {
                operation.first_chunk();
                if let Some((target, instance)) = attempts.answering() {
                    span::answering(&operation.span, &target, &instance);
                }
                Ok(Answer::own(attempts, operation))
            }
            Err(error) => {
                operation.end(error.reason().name());
                Err(error)
            }
        }
    }

    /// Lets operators see a request that another gateway answers, and end it here.
    fn watched(&self, exchange: &Exchange, peer: &Peer) -> Watched {
        let answering = self.requests.enter(About {
            request_id: exchange.request.request_id.as_str().into(),
            trace_id: exchange.trace.clone(),
            tenant: Arc::clone(&exchange.caller.tenant),
            model: exchange.request.model.as_str().into(),
        });
        answering.asked(&Arc::from(""), peer.name());
        Watched { ends: self.ends(&answering), answering }
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

/// Tells a request from another with the same name: of two that differ, one is a mistake.
fn asked(exchange: &Exchange) -> Asked {
    let digest = digest(&exchange.request);
    Asked { digest, zones: Arc::clone(&exchange.caller.allowed_zones) }
}

fn digest(request: &GenerateRequest) -> u64 {
    // For how long one is waited for is no part of what is asked.
    let asked = GenerateRequest { resume_window: None, ..request.clone() };
    let digest = Sha256::digest(asked.encode_to_vec());
    // Never 0, which means that it is not known.
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

/// What the gateway that keeps a request's frames is told about it.
fn forwarded(caller: &Caller) -> MeshContext {
    MeshContext {
        tenant: caller.tenant.to_string(),
        key: caller.key.to_string(),
        allowed_zones: caller.allowed_zones.iter().map(|zone| zone.to_string()).collect(),
        hops: caller.hops,
        keep_frames: true,
        ..MeshContext::default()
    }
}

/// Tokens that a request will need, about: its prompt, and an answer of usual length.
fn tokens(request: &GenerateRequest, facts: &Facts<'_>) -> u64 {
    const USUAL_ANSWER: u64 = 256;
    let limit = request.limits.and_then(|limits| limits.max_output_tokens).map_or(USUAL_ANSWER, u64::from);
    facts.number(&Fact::EstimatedPromptTokens).saturating_add(limit.min(USUAL_ANSWER))
}

/// What instances are told about a request.
fn context(caller: &Caller, request: &GenerateRequest, decision: &Decision) -> MeshContext {
    let zones: &[Box<str>] =
        if decision.rule.allowed_zones.is_empty() { &caller.allowed_zones } else { &decision.rule.allowed_zones };
    MeshContext {
        tenant: caller.tenant.to_string(),
        key: caller.key.to_string(),
        decision_id: decision.id(),
        // Both sets where both bind: whoever is next may use what is in one and was allowed by the other.
        allowed_zones: zones.iter().filter(|zone| decision.allows_zone(zone)).map(|zone| zone.to_string()).collect(),
        data_class: request.data_class,
        priority: request.priority,
        hops: caller.hops,
        ..MeshContext::default()
    }
}
