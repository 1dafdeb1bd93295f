//! One operation of a caller, from its acceptance to the end of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{Stream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_policy::compile::CompiledPolicy;
use pointsman_policy::decide::Circumstances;
use pointsman_policy::{Decision, Fact, Facts, decide};
use pointsman_proto::Valid;
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, GenerateResponse, MeshContext};
use pointsman_server::{About, Answering, Deadline, Drain, Requests};
use pointsman_telemetry::{LastingSpan, propagation};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::attempt::{Attempts, Means, Order, Trail};
use crate::caller::{Caller, Callers};
use crate::config::Scope;
use crate::fleet::{Fleet, View};
use crate::metrics::{Metrics, SurfaceName};
use crate::policy::InForce;
use crate::span;
use crate::spool::Spool;

/// What every exchange works with.
pub(crate) struct Gateway {
    pub(crate) callers: Callers,
    pub(crate) drain: Drain,
    pub(crate) fleet: Fleet,
    pub(crate) instance: String,
    pub(crate) max_request_bytes: usize,
    pub(crate) metrics: Metrics,
    pub(crate) policy: InForce,
    pub(crate) requests: Requests,
    pub(crate) spool: Spool,
    pub(crate) zone: Arc<str>,
}

/// A request as a surface has understood it.
pub(crate) struct Exchange {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    /// It has an id.
    pub(crate) request: Valid<GenerateRequest>,
    pub(crate) deadline: Option<Deadline>,
    /// The logical span of the operation: see [`span::operation`].
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
}

impl Gateway {
    /// Counts a request that a surface refuses.
    pub(crate) fn refuse(&self, surface: SurfaceName, error: Error) -> Error {
        self.metrics.refused(surface, error.reason().name());
        error
    }

    /// Decides where a request goes. What is decided stands in every answer to it, whatever becomes of it.
    pub(crate) fn decide(&self, exchange: Exchange) -> (Origins, Result<Decided, Error>) {
        let mut operation = Operation::begin(exchange.surface, exchange.span.clone(), self.metrics.clone());
        let policy = self.policy.get();
        let view = self.fleet.view();
        let decided = exchange.span.in_scope(|| self.decision(&exchange, &policy, &view));
        match decided {
            Ok((decision, tokens)) => {
                span::decided(&exchange.span, &decision);
                let origins = Origins {
                    decision_id: decision.id(),
                    policy_revision: Arc::clone(&decision.policy_revision),
                    trail: Arc::default(),
                };
                let trail = Arc::clone(&origins.trail);
                (origins, Ok(Decided { exchange, decision, tokens, policy, view, trail, operation }))
            }
            Err(error) => {
                operation.end(error.reason().name());
                (Origins { policy_revision: Arc::clone(&policy.revision), ..Origins::default() }, Err(error))
            }
        }
    }

    fn decision(&self, exchange: &Exchange, policy: &CompiledPolicy, view: &View) -> Result<(Decision, u64), Error> {
        exchange.caller.require(Scope::Generate)?;
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

    /// Answers a request. Returns when the first piece of the answer is there, so that an error before it
    /// is an error and not a broken stream. Dropping the future, or the answer, stops the work.
    pub(crate) async fn answer(&self, decided: Decided) -> Result<Answer, Error> {
        let Decided { exchange, decision, tokens, policy, view, trail, mut operation } = decided;
        let (span, accept, accept_time) = (exchange.span, operation.accept, decision.time);
        let request = exchange.request.into_inner();
        let answering = self.requests.enter(About {
            request_id: request.request_id.as_str().into(),
            trace_id: propagation::trace_id(&span).map(Into::into),
            tenant: Arc::clone(&exchange.caller.tenant),
            model: request.model.as_str().into(),
        });
        let context = context(&exchange.caller, &request, &decision);
        let order = Order {
            ends: self.ends(&answering),
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
        let attempts = Attempts::open(order, means, view, trail).instrument(span).await;
        match attempts {
            Ok(attempts) => {
                operation.first_chunk();
                if let Some((target, instance)) = attempts.answering() {
                    span::answering(&operation.span, &target, &instance);
                }
                Ok(Answer { attempts, operation })
            }
            Err(error) => {
                operation.end(error.reason().name());
                Err(error)
            }
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

/// A request with the decision where it goes.
pub(crate) struct Decided {
    exchange: Exchange,
    decision: Decision,
    tokens: u64,
    policy: Arc<CompiledPolicy>,
    view: Arc<View>,
    trail: Arc<Trail>,
    operation: Operation,
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

/// An answer, as it comes. It ends after `Finished`, or with one error.
pub(crate) struct Answer {
    attempts: Attempts,
    operation: Operation,
}

impl Answer {
    /// Whether it is a policy's fixed text, and no model's.
    pub(crate) fn is_static(&self) -> bool {
        self.attempts.answering().is_none()
    }

    /// Reads the answer to its end, as one response.
    pub(crate) async fn fold(mut self) -> Result<GenerateResponse, Error> {
        let mut fold = Fold::default();
        while let Some(frame) = self.next().await {
            fold.push(frame?);
        }
        fold.finish().ok_or_else(|| Error::new(Reason::StreamTruncated, "the answer has no end"))
    }
}

impl Stream for Answer {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.operation.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(next) = this.attempts.poll_next_unpin(context) else { return Poll::Pending };
        match &next {
            Some(Ok(Frame { body: Some(Body::Usage(usage)), .. })) => span::usage(&this.operation.span, usage),
            Some(Ok(Frame { body: Some(Body::ChoiceFinished(choice)), .. })) => {
                span::finish_reason(&this.operation.span, choice.reason());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => this.operation.end(error.reason().name()),
            None => this.operation.end(FINISHED),
        }
        Poll::Ready(next)
    }
}

/// The outcome of an operation that went well; the others are reasons.
const FINISHED: &str = "FINISHED";

/// What is said of an operation when it is over, however it ends.
struct Operation {
    surface: SurfaceName,
    span: LastingSpan,
    metrics: Metrics,
    accept: Instant,
    ended: bool,
}

impl Operation {
    fn begin(surface: SurfaceName, span: Span, metrics: Metrics) -> Self {
        metrics.began();
        Self { surface, span: span.into(), metrics, accept: Instant::now(), ended: false }
    }

    fn first_chunk(&self) {
        let after = self.accept.elapsed();
        self.metrics.first_chunk(after);
        self.span.record("gen_ai.response.time_to_first_chunk", after.as_secs_f64());
    }

    fn end(&mut self, outcome: &'static str) {
        self.ended = true;
        self.metrics.ended(self.surface, outcome, self.accept.elapsed());
        if outcome != FINISHED {
            span::failed(&self.span, outcome);
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Reason::Cancelled.name());
        }
    }
}
