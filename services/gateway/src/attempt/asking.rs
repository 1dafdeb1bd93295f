//! One more attempt: whom it asks, and what for.

use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_policy::pick::Wish;
use pointsman_proto::inference::v1::{AttemptKind, GenerateRequest, MeshContext};
use pointsman_proto::mesh_context;
use pointsman_server::Deadline;
use pointsman_telemetry::propagation;
use tonic::Request;
use tracing::Span;

use super::call::Call;
use super::machine::{Event, Number};
use super::usage::attempt_id;
use super::{Attempts, Means, Told};
use crate::fleet::{Asking, Picked, View};
use crate::span;
use crate::trail::Record;

impl Attempts {
    pub(super) fn ask(&mut self, number: Number, step: usize, kind: AttemptKind, again: bool) -> Event {
        if again {
            self.tried.clear();
        }
        let target = &self.order.decision.steps[step].target;
        let context_tokens = u64::from(target.description.context_tokens);
        let target = Arc::clone(&target.name);
        self.calls.truncate(number);
        self.told.truncate(number);
        match self.pick(&target, kind) {
            Ok(instance) => {
                let span = span::attempt(&self.order.span, &target, &instance.name, kind);
                self.order.answering.asked(&target, &instance.name);
                self.trail.add(number, Record::new(&target, &instance.name, kind));
                self.tried.push(Arc::clone(&instance.name));
                let message = self.message(&target, context_tokens);
                let attempt_id = attempt_id(&self.order.decision, number);
                let context = MeshContext { attempt_id, ..self.order.context.clone() };
                let request = addressed(message, &context, self.order.deadline, &span);
                self.calls.push(Some(Call::begin(instance, request, span)));
                Event::Asked(number)
            }
            Err(error) => {
                // A retry or hedge that finds nobody is no attempt.
                if !matches!(kind, AttemptKind::Retry | AttemptKind::Hedge) {
                    self.trail.add(number, Record::new(&target, &Arc::from(""), kind));
                }
                self.calls.push(None);
                self.told.push(Told::default());
                Event::NotAsked(number, error)
            }
        }
    }

    /// What a target is asked: of a conversation, as much as it has room for.
    fn message(&mut self, target: &str, context_tokens: u64) -> GenerateRequest {
        let message = GenerateRequest { model: target.to_owned(), ..self.order.request.clone() };
        let Some(history) = &self.order.history else { return message };
        let fitted = history.fit(&message, target, context_tokens);
        let (left_out_turns, tokens, messages) = (fitted.left_out, fitted.estimated_tokens, fitted.messages.len());
        self.told.push(Told { left_out_turns, tokens, messages });
        GenerateRequest { messages: fitted.messages, ..message }
    }

    fn pick(&self, target: &str, kind: AttemptKind) -> Result<Picked, Error> {
        let now = self.means.fleet.now();
        let wish = Wish {
            decision: &self.order.decision,
            home_zone: &self.means.zone,
            prefix: self.prefix,
            seed: self.order.decision.seed.wrapping_add(self.calls.len() as u64),
        };
        let priority = self.order.request.priority();
        let asking = Asking { wish, target, tried: &self.tried, tokens: self.order.tokens, priority, now };
        pick(&self.view, &self.means, &asking, kind)
    }
}

/// A request as an instance gets it.
pub(super) fn addressed<T>(message: T, context: &MeshContext, deadline: Option<Deadline>, span: &Span) -> Request<T> {
    let mut request = Request::new(message);
    mesh_context::write(context, request.metadata_mut());
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.remaining());
    }
    // By hand: to be inside the span for each poll costs more than all that is written into it.
    propagation::inject(span, request.metadata_mut().as_mut());
    request
}

/// Picks an instance, unless that would be one extra attempt at its target too many.
pub(super) fn pick(view: &View, means: &Means, asking: &Asking<'_>, kind: AttemptKind) -> Result<Picked, Error> {
    if let Some(extras) = view.extras(asking.target) {
        let allowed = match kind {
            AttemptKind::Retry => extras.retries.extra(asking.now, means.retry_budget),
            AttemptKind::Hedge => extras.hedges.extra(asking.now, means.hedge_budget),
            _ => {
                extras.retries.request(asking.now);
                extras.hedges.request(asking.now);
                true
            }
        };
        if !allowed {
            return Err(over_budget(asking.target));
        }
    }
    view.pick(asking)
}

/// The error of an extra attempt that would be one too many. The caller gets the error before it.
fn over_budget(target: &str) -> Error {
    let message = format!("{target} fails too much for another attempt; try again later");
    Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1))
}
