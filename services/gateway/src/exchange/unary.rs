//! Calls with one answer: embeddings, and how long a prompt is.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use pointsman_errors::Error;
use pointsman_policy::{Decision, Fact, Facts};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{
    CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, GenerateRequest, Usage,
};
use pointsman_server::{self as server, Deadline};
use tonic::Request;
use tracing::Span;

use super::Gateway;
use super::deciding::{Decided, context, decision, own_priority};
use super::operation::Operation;
use crate::attempt::unary::{About, Attempts, Client, Order, Sent, Unary};
use crate::caller::Caller;
use crate::config::Scope;
use crate::limits::Limiter;
use crate::metrics::SurfaceName;
use crate::trail::Trail;

/// The largest answer that is read of an instance: 2,000 embeddings of 8,000 numbers fit.
const LARGEST_ANSWER: usize = 64 << 20;

/// A call as a surface has understood it.
pub(crate) struct Asked<C> {
    pub(crate) surface: SurfaceName,
    pub(crate) caller: Caller,
    /// It has an id.
    pub(crate) call: C,
    pub(crate) deadline: Option<Deadline>,
    /// The logical span of the operation: see [`crate::span::unary`].
    pub(crate) span: Span,
    /// Its trace.
    pub(crate) trace: Option<Arc<str>>,
    pub(crate) trail: Arc<Trail>,
}

/// A request whose prompt is counted.
pub(crate) struct Count(pub(crate) Valid<GenerateRequest>);

impl Gateway {
    /// Embeds texts.
    pub(crate) async fn embed(&self, asked: Asked<Valid<EmbedRequest>>) -> Result<EmbedResponse, Error> {
        let (mut response, decision) = self.ask(&asked).await?;
        let started = response.started.get_or_insert_default();
        started.request_id.clone_from(&asked.call.request_id);
        started.model.clone_from(&asked.call.model);
        started.accept_time = Some(decision.time.into());
        started.decision_id = decision.id.to_string();
        started.policy_revision = decision.policy_revision.to_string();
        started.attempts = asked.trail.messages();
        // For the gateway that picks, and for frames.
        (started.load, started.resume_token) = (None, String::new());
        Ok(response)
    }

    /// Counts the tokens of a prompt.
    pub(crate) async fn count_tokens(&self, asked: Asked<Count>) -> Result<CountTokensResponse, Error> {
        Ok(self.ask(&asked).await?.0)
    }

    /// Has an instance answer a call. Dropping the future stops the work.
    async fn ask<C: Unary>(&self, asked: &Asked<C>) -> Result<(C::Answer, Decision), Error> {
        let mut operation = Operation::begin(asked.surface, asked.span.clone(), self.metrics.clone());
        self.fleet.first_look().await;
        match self.try_ask(asked, &mut operation).boxed().await {
            Ok((answer, decision)) => {
                operation.answered(asked.trail.answered_by(), C::usage(&answer));
                Ok((answer, decision))
            }
            Err(error) => Err(operation.failed(error)),
        }
    }

    async fn try_ask<C: Unary>(
        &self,
        asked: &Asked<C>,
        operation: &mut Operation,
    ) -> Result<(C::Answer, Decision), Error> {
        let Decided { decision, tokens, policy, view, running } = self.decide_call(asked)?;
        operation.running = running;
        let answering = self.requests.enter(asked.about());
        let about = asked.call.about();
        let order = Order {
            call: &asked.call,
            decision: &decision,
            context: context(&asked.caller, about.data_class, about.priority.into(), &decision),
            accept: operation.accept,
            deadline: asked.deadline,
            tokens,
            span: &asked.span,
            ends: self.ends(&answering),
            answering: &answering,
        };
        let answer = Attempts::new(order, self.means(&policy, None), view, &asked.trail).answer().await?;
        Ok((answer, decision))
    }

    fn decide_call<C: Unary>(&self, asked: &Asked<C>) -> Result<Decided, Error> {
        asked.caller.require(Scope::Generate)?;
        own_priority(&asked.caller, asked.call.about().priority)?;
        let running = asked.caller.limiter.as_ref().map(Limiter::enter).transpose()?;
        if asked.call.about().is_billed {
            self.has_room()?;
        }
        let (policy, view) = (self.policy.get(), self.fleet.view());
        let facts = asked.call.facts(&asked.caller);
        let decision = decision(&facts, &asked.caller, (&asked.trail, &asked.span), &policy, &view)?;
        let tokens = facts.number(&Fact::EstimatedPromptTokens);
        Ok(Decided { decision, tokens, policy, view, running })
    }
}

impl<C: Unary> Asked<C> {
    /// What operators see of the call.
    fn about(&self) -> server::About {
        let About { model, request_id, .. } = self.call.about();
        server::About {
            request_id: request_id.into(),
            trace_id: self.trace.clone(),
            tenant: Arc::clone(&self.caller.tenant),
            model: model.into(),
        }
    }
}

impl Unary for Valid<EmbedRequest> {
    type Message = EmbedRequest;
    type Answer = EmbedResponse;

    fn about(&self) -> About<'_> {
        About {
            operation: "embeddings",
            model: &self.model,
            request_id: &self.request_id,
            data_class: self.data_class,
            priority: self.priority(),
            is_billed: true,
        }
    }

    fn facts<'a>(&'a self, caller: &'a Caller) -> Facts<'a> {
        Facts::embedding(self, &caller.tenant, &caller.key)
    }

    fn message(&self, target: &str) -> EmbedRequest {
        EmbedRequest { model: target.to_owned(), ..EmbedRequest::clone(self) }
    }

    fn send(client: Client, request: Request<EmbedRequest>) -> BoxFuture<'static, Sent<EmbedResponse>> {
        async move { client.max_decoding_message_size(LARGEST_ANSWER).embed(request).await }.boxed()
    }

    fn is_whole(&self, answer: &EmbedResponse) -> bool {
        let mut numbered = (0..).zip(&answer.embeddings);
        answer.embeddings.len() == self.inputs.len() && numbered.all(|(index, embedding)| embedding.index == index)
    }

    fn usage(answer: &EmbedResponse) -> Option<Usage> {
        answer.usage
    }
}

impl Unary for Count {
    type Message = CountTokensRequest;
    type Answer = CountTokensResponse;

    fn about(&self) -> About<'_> {
        About {
            operation: "count_tokens",
            model: &self.0.model,
            request_id: &self.0.request_id,
            data_class: self.0.data_class,
            priority: self.0.priority(),
            is_billed: false,
        }
    }

    fn facts<'a>(&'a self, caller: &'a Caller) -> Facts<'a> {
        Facts::new(&self.0, &caller.tenant, &caller.key)
    }

    fn message(&self, target: &str) -> CountTokensRequest {
        let request = GenerateRequest { model: target.to_owned(), ..GenerateRequest::clone(&self.0) };
        CountTokensRequest { request: Some(request) }
    }

    fn send(mut client: Client, request: Request<CountTokensRequest>) -> BoxFuture<'static, Sent<CountTokensResponse>> {
        async move { client.count_tokens(request).await }.boxed()
    }

    fn is_whole(&self, _: &CountTokensResponse) -> bool {
        true
    }

    fn usage(_: &CountTokensResponse) -> Option<Usage> {
        None
    }
}
