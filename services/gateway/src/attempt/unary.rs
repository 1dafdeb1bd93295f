//! The attempts at a call with one answer: the same machine, and no frames.
//!
//! Nothing of an answer is given on before it is whole, so any failure may be followed by another instance.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{BoxFuture, poll_fn};
use pointsman_errors::{Error, Reason};
use pointsman_policy::pick::{Prefix, Wish};
use pointsman_policy::{Decision, Facts};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::{AttemptKind, MeshContext, Priority, Usage};
use pointsman_server::{Answering, Deadline};
use pointsman_telemetry::LastingSpan;
use prost::Message;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Request, Response, Status};
use tracing::Span;

use super::Means;
use super::asking::{addressed, pick};
use super::call::read;
use super::machine::{Action, Event, Limits, Machine, Number, Outcome};
use super::usage::{Billed, Consumed, attempt_id, record};
use super::verdict;
use crate::caller::Caller;
use crate::fleet::{Asking, Picked, View};
use crate::span;
use crate::trail::{Record, Trail};

/// How an instance is spoken to.
pub(crate) type Client = InferenceServiceClient<pointsman_client::Channel>;

/// A call with one answer.
pub(crate) trait Unary: Send + Sync {
    /// What an instance is sent.
    type Message: Send;
    /// What it answers.
    type Answer: Send;

    /// Says who asks, and for what.
    fn about(&self) -> About<'_>;

    /// Returns the facts that decide where it may go.
    fn facts<'a>(&'a self, caller: &'a Caller) -> Facts<'a>;

    /// Makes the message for this target.
    fn message(&self, target: &str) -> Self::Message;

    /// Sends it.
    fn send(client: Client, request: Request<Self::Message>) -> BoxFuture<'static, Sent<Self::Answer>>;

    /// Whether an answer has all that was asked for.
    fn is_whole(&self, answer: &Self::Answer) -> bool;

    /// Returns what the answer says was consumed.
    fn usage(answer: &Self::Answer) -> Option<Usage>;
}

pub(crate) type Sent<T> = Result<Response<T>, Status>;

/// What every call says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// In the words of OpenTelemetry.
    pub(crate) operation: &'static str,
    /// As the caller named it.
    pub(crate) model: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) data_class: i32,
    pub(crate) priority: Priority,
    /// Whether its attempts are recorded, for the bill.
    pub(crate) is_billed: bool,
}

/// What is to be answered, and within what.
pub(crate) struct Order<'a, C> {
    pub(crate) call: &'a C,
    /// Where it may go.
    pub(crate) decision: &'a Decision,
    /// What instances are told about it; each attempt adds its own id.
    pub(crate) context: MeshContext,
    /// When the gateway accepted it, for measuring.
    pub(crate) accept: Instant,
    pub(crate) deadline: Option<Deadline>,
    /// About how many tokens it will need.
    pub(crate) tokens: u64,
    /// The span of the operation.
    pub(crate) span: &'a Span,
    /// Where operators see it.
    pub(crate) answering: &'a Answering,
    /// Comes to an end when the call must, with the error that says why.
    pub(crate) ends: BoxFuture<'static, Error>,
}

/// The attempts. Dropping them cancels the instances' work.
pub(crate) struct Attempts<'a, C: Unary> {
    order: Order<'a, C>,
    means: Means,
    view: Arc<View>,
    trail: &'a Trail,
    machine: Machine,
    /// By number; `None` once it is over.
    asked: Vec<Option<Asked<C::Answer>>>,
    /// The instances that were asked.
    tried: Vec<Arc<str>>,
    answer: Option<C::Answer>,
    last_error: Option<Error>,
}

/// An instance that was asked. Dropping it cancels its work, then counts it as no longer in flight.
struct Asked<T> {
    answer: BoxFuture<'static, Sent<T>>,
    usage: Option<Usage>,
    span: LastingSpan,
    instance: Picked,
}

impl<'a, C: Unary> Attempts<'a, C> {
    pub(crate) fn new(order: Order<'a, C>, means: Means, view: Arc<View>, trail: &'a Trail) -> Self {
        let limits = Limits {
            rule: Arc::clone(&order.decision.rule),
            steps: order.decision.steps.iter().map(|step| step.causes).collect(),
            deadline: order.deadline.map(|deadline| deadline.0.saturating_duration_since(order.accept)),
        };
        Self {
            machine: Machine::begin(limits),
            order,
            means,
            view,
            trail,
            asked: Vec::with_capacity(1),
            tried: Vec::new(),
            answer: None,
            last_error: None,
        }
    }

    /// Asks until there is an answer.
    pub(crate) async fn answer(mut self) -> Result<C::Answer, Error> {
        loop {
            while let Some(action) = self.machine.next_action() {
                match action {
                    Action::Ask { attempt, step, kind, again } => self.ask(attempt, step, kind, again),
                    Action::Drop(attempt, outcome) => self.drop_call(attempt, &outcome),
                    // It is whole as it comes.
                    Action::Answer(_) => self.tell(Event::Finished),
                    Action::AnswerStatically => return Err(self.last_error.take().unwrap_or_else(no_text)),
                    Action::Fail(error) => return Err(error),
                }
            }
            if let Some(answer) = self.answer.take() {
                return Ok(answer);
            }
            let event = self.next_event().await;
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Failed(_, error) => self.last_error = Some(error.clone()),
            // That nobody else could be asked says less than what went wrong before.
            Event::NotAsked(_, error) if self.last_error.is_none() => self.last_error = Some(error.clone()),
            _ => {}
        }
        self.machine.on(event, self.order.accept.elapsed());
    }

    async fn next_event(&mut self) -> Event {
        // Far beyond what any rule allows.
        const LONGEST: Duration = Duration::from_secs(86_400);
        let due = self.order.accept + self.machine.wakes_at().min(LONGEST);
        let asked = &mut self.asked;
        let answered = poll_fn(|context| {
            for (number, asked) in asked.iter_mut().enumerate() {
                if let Some(asked) = asked
                    && let Poll::Ready(sent) = asked.answer.as_mut().poll(context)
                {
                    return Poll::Ready((number, sent));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            error = &mut self.order.ends => Event::Stop(error),
            (number, sent) = answered => self.answered(number, sent),
            () = sleep_until(due) => Event::Tick,
        }
    }

    fn answered(&mut self, number: Number, sent: Sent<C::Answer>) -> Event {
        let Some(asked) = self.asked[number].as_mut() else { return Event::Tick };
        match sent {
            Ok(response) if self.order.call.is_whole(response.get_ref()) => {
                asked.usage = C::usage(response.get_ref());
                self.answer = Some(response.into_inner());
                Event::Content(number)
            }
            Ok(_) => Event::Failed(number, Error::new(Reason::StreamTruncated, "the instance's answer is not whole")),
            Err(status) => Event::Failed(number, failure(&status, asked)),
        }
    }

    fn ask(&mut self, number: Number, step: usize, kind: AttemptKind, again: bool) {
        if again {
            self.tried.clear();
        }
        let target = Arc::clone(&self.order.decision.steps[step].target.name);
        self.asked.truncate(number);
        match self.pick(&target, kind) {
            Ok(instance) => {
                self.begin(&target, instance, number, kind);
                self.tell(Event::Asked(number));
                // An instance says nothing before its answer: only the time for that bounds it.
                self.tell(Event::Taken(number));
            }
            Err(error) => {
                // A retry or hedge that finds nobody is no attempt.
                if !matches!(kind, AttemptKind::Retry | AttemptKind::Hedge) {
                    self.trail.add(number, Record::new(&target, &Arc::from(""), kind));
                }
                self.asked.push(None);
                self.tell(Event::NotAsked(number, error));
            }
        }
    }

    fn pick(&self, target: &str, kind: AttemptKind) -> Result<Picked, Error> {
        let decision = self.order.decision;
        let wish = Wish {
            decision,
            home_zone: &self.means.zone,
            // Nothing is kept of what is only read.
            prefix: Prefix::default(),
            seed: decision.seed.wrapping_add(self.asked.len() as u64),
        };
        let (priority, now) = (self.order.call.about().priority, self.means.fleet.now());
        let asking = Asking { wish, target, tried: &self.tried, tokens: self.order.tokens, priority, now };
        pick(&self.view, &self.means, &asking, kind)
    }

    fn begin(&mut self, target: &Arc<str>, instance: Picked, number: Number, kind: AttemptKind) {
        let span = span::attempt(self.order.span, target, &instance.name, kind);
        self.order.answering.asked(target, &instance.name);
        self.trail.add(number, Record::new(target, &instance.name, kind));
        self.tried.push(Arc::clone(&instance.name));
        let attempt_id = attempt_id(self.order.decision, number);
        let context = MeshContext { attempt_id, ..self.order.context.clone() };
        let request = addressed(self.order.call.message(target), &context, self.order.deadline, &span);
        let answer = C::send(instance.client(), request);
        self.asked.push(Some(Asked { answer, usage: None, span: span.into(), instance }));
    }

    /// Ends an attempt: the instance is told by dropping the call, and what it did is noted.
    fn drop_call(&mut self, number: Number, outcome: &Outcome) {
        let asked = self.asked[number].take();
        let (Some(attempt), Some(asked)) = (self.trail.end(number, outcome.name()), asked) else { return };
        span::attempt_ended(&asked.span, outcome.name(), outcome.is_error());
        verdict::give(&asked.instance, outcome, self.means.fleet.now());
        let Order { call, context, decision, accept, .. } = &self.order;
        let About { request_id, model, is_billed, .. } = call.about();
        if is_billed {
            let billed = Billed { request_id, model, context, decision, accept: *accept };
            let consumed = Consumed { usage: asked.usage, pieces: u64::from(asked.usage.is_some()) };
            let record = record(&attempt, number, &billed, consumed);
            // Says itself what is wrong, once.
            let _ = self.means.spool.append(&record.encode_to_vec());
        }
    }
}

/// The caller has left: what runs is ended, and noted too.
impl<C: Unary> Drop for Attempts<'_, C> {
    fn drop(&mut self) {
        for number in 0..self.asked.len() {
            if self.asked[number].is_some() {
                let error = Error::new(Reason::Cancelled, "the caller went away");
                self.drop_call(number, &Outcome::Failed(error));
            }
        }
    }
}

fn failure<T>(status: &Status, asked: &Asked<T>) -> Error {
    let name = &*asked.instance.name;
    match (Error::ours(status), status.code()) {
        // An instance of a version that has no such call: it lives, and is no worse for other requests.
        (None, Code::Unimplemented) => {
            let message = format!("`{name}` runs an older version that cannot answer this call");
            Error::new(Reason::RouteNotFound, message)
        }
        // What tonic says of a message beyond its reader's limit.
        (None, Code::OutOfRange) => {
            Error::new(Reason::RequestTooLarge, "the answer would be too large; ask for less at once")
        }
        _ => read(status, name, &asked.span, false),
    }
}

fn no_text() -> Error {
    let message = "the policy has only a fixed text for this model, and a text is no answer to this call";
    Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1))
}
