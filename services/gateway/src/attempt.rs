//! The attempts at one request: asks instances as the [`machine`] says, and passes on the answer of one.
//!
//! Nothing is given on before the first piece of an answer is there; until then the caller has seen nothing,
//! and another instance or target may take over. After it, a stream that does not end with `Finished` is an
//! error that says what was delivered: never a second beginning, never a clean end of a truncated stream.

mod asking;
mod call;
mod delivered;
mod machine;
mod static_answer;
pub(crate) mod unary;
mod usage;
mod verdict;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::stream::Stream;
use pointsman_errors::{Error, Reason};
use pointsman_policy::Decision;
use pointsman_policy::compile::Budget;
use pointsman_policy::pick::Prefix;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{AttemptKind, Frame, GenerateRequest, MeshContext, Started};
use pointsman_server::{Answering, Deadline};
use prost::Message;
use tokio::time::{Instant, Sleep};
use tracing::Span;

use crate::fleet::{Fleet, View};
use crate::span;
use crate::spool::Spool;
use crate::trail::{Record, Trail};
use crate::turn::history::History;
use call::{Call, Progress};
use delivered::Delivered;
use machine::{Action, Event, Limits, Machine, Number, Outcome};

/// What is to be answered, and within what.
pub(crate) struct Order {
    /// The request, with an id; its model is the caller's.
    pub(crate) request: GenerateRequest,
    /// Where it may go.
    pub(crate) decision: Decision,
    /// What instances are told about it; each attempt adds its own id.
    pub(crate) context: MeshContext,
    /// When the gateway accepted the request.
    pub(crate) accept_time: SystemTime,
    /// The same moment, for measuring.
    pub(crate) accept: Instant,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Deadline>,
    /// About how many tokens it will need.
    pub(crate) tokens: u64,
    /// Whether its caller gets the pieces as they come, and not all at the end.
    pub(crate) is_streamed: bool,
    /// The span of the operation.
    pub(crate) span: Span,
    /// The conversation that it is a turn of: each target is told what it has room for.
    pub(crate) history: Option<Arc<History>>,
    /// Takes up the answer after a lost connection. Empty: nothing does.
    pub(crate) resume_token: String,
    /// Where operators see the request.
    pub(crate) answering: Answering,
    /// Comes to an end when the request must, with the error that says why.
    pub(crate) ends: BoxFuture<'static, Error>,
}

/// What attempts are made with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) fleet: Fleet,
    /// The zone of this gateway.
    pub(crate) zone: Arc<str>,
    pub(crate) retry_budget: Budget,
    pub(crate) hedge_budget: Budget,
    /// Where usage is recorded.
    pub(crate) spool: Spool,
}

/// The attempts at a request, and then its answer. Dropping it cancels the instances' work.
pub(crate) struct Attempts {
    order: Order,
    means: Means,
    view: Arc<View>,
    machine: Machine,
    /// By number; `None` once it is over.
    calls: Vec<Option<Call>>,
    trail: Arc<Trail>,
    prefix: Prefix,
    /// The instances that were asked.
    tried: Vec<Arc<str>>,
    /// What has come of each attempt, `Started` and the first piece, until one of them wins.
    held: VecDeque<(Number, Frame)>,
    /// What each was told of the conversation, by number.
    told: Vec<Told>,
    /// Frames that are ready for the caller.
    ready: VecDeque<Frame>,
    answering: Option<Number>,
    ended: bool,
    /// Whether the answer is the policy's fixed text.
    is_static: bool,
    wake: Pin<Box<Sleep>>,
    /// When the next progress event is due, since the request was accepted.
    progress_at: Duration,
    delivered: Delivered,
}

/// What an instance was told of a conversation.
#[derive(Clone, Copy, Default)]
struct Told {
    left_out_turns: u64,
    /// About.
    tokens: u64,
    /// The request's own among them.
    messages: usize,
}

/// How often a long answer says on its span that it is still on its way.
const PROGRESS_EVERY: Duration = Duration::from_secs(20);

impl Attempts {
    /// Asks, and waits for the first piece of an answer.
    pub(crate) async fn open(
        order: Order,
        means: Means,
        view: Arc<View>,
        trail: Arc<Trail>,
    ) -> Result<Box<Self>, Error> {
        let limits = Limits {
            rule: Arc::clone(&order.decision.rule),
            steps: order.decision.steps.iter().map(|step| step.causes).collect(),
            deadline: order.deadline.map(|deadline| deadline.0.saturating_duration_since(order.accept)),
        };
        let machine = Machine::begin(limits);
        let wake = Box::pin(tokio::time::sleep_until(order.accept));
        // Large, and handed on a few times before the answer is written.
        let mut attempts = Box::new(Self {
            prefix: Prefix::of(&order.request, &order.context.tenant),
            order,
            means,
            view,
            machine,
            calls: Vec::with_capacity(1),
            trail,
            tried: Vec::new(),
            held: VecDeque::new(),
            told: Vec::new(),
            ready: VecDeque::new(),
            answering: None,
            ended: false,
            is_static: false,
            wake,
            progress_at: PROGRESS_EVERY,
            delivered: Delivered::default(),
        });
        attempts.act()?;
        let first = attempts.wakes_at();
        attempts.wake.as_mut().reset(first);
        std::future::poll_fn(|context| attempts.poll_open(context)).await?;
        Ok(attempts)
    }

    /// Whether the answer is the policy's fixed text, and no model's.
    pub(crate) fn is_static(&self) -> bool {
        self.is_static
    }

    /// About how many tokens of a conversation the one that answers was told.
    pub(crate) fn told_tokens(&self) -> u64 {
        self.answering.and_then(|number| self.told.get(number)).map_or(0, |told| told.tokens)
    }

    /// The target and instance that answer. `None`: the policy does, by itself.
    pub(crate) fn answering(&self) -> Option<(Arc<str>, Arc<str>)> {
        self.trail.running()
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.answering.is_some() || self.ended {
                return Poll::Ready(Ok(()));
            }
            let mut moved = false;
            for number in 0..self.calls.len() {
                let Some(call) = self.calls[number].as_mut() else { continue };
                if let Poll::Ready(progress) = call.poll(context) {
                    moved = true;
                    self.progress(number, progress)?;
                }
            }
            if !moved {
                moved = self.poll_ends(context)?;
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// A call came a step further, before anything was given on.
    fn progress(&mut self, number: Number, progress: Progress) -> Result<(), Error> {
        let event = match progress {
            Progress::Taken => Event::Taken(number),
            Progress::Frame(Frame { body: Some(Body::Started(_)), .. }) if self.answering.is_some() => return Ok(()),
            Progress::Frame(frame @ Frame { body: Some(Body::Started(_)), .. }) => {
                self.held.push_back((number, frame));
                return Ok(());
            }
            Progress::Frame(frame) => {
                self.held.push_back((number, frame));
                Event::Content(number)
            }
            // A stream without content that is whole: what was held is all of it.
            Progress::Over => Event::Content(number),
            Progress::Failed(error) => Event::Failed(number, self.blamed(number, error)),
        };
        self.tell(event)
    }

    /// What an instance says of a turn, for the caller, who sees the request alone.
    fn blamed(&self, number: Number, error: Error) -> Error {
        match (&self.order.history, self.told.get(number)) {
            (Some(history), Some(told)) => history.blamed(error, told.messages),
            _ => error,
        }
    }

    /// Tells the machine what happened, and does what it says. Fails if that is the end.
    fn tell(&mut self, event: Event) -> Result<(), Error> {
        self.machine.on(event, self.order.accept.elapsed());
        self.act()
    }

    fn act(&mut self) -> Result<(), Error> {
        // What is done may call for more: an instance that cannot be asked is an event of its own.
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Ask { attempt, step, kind, again } => {
                    let event = self.ask(attempt, step, kind, again);
                    self.machine.on(event, self.order.accept.elapsed());
                }
                Action::Drop(attempt, outcome) => self.drop_call(attempt, &outcome),
                Action::Answer(attempt) => self.answer(attempt),
                Action::AnswerStatically => self.answer_statically(),
                Action::Fail(error) => {
                    self.ended = true;
                    return Err(self.delivered.said(error, self.order.is_streamed));
                }
            }
        }
        Ok(())
    }

    /// Ends an attempt: the instance is told by dropping the call, and what it did is noted.
    fn drop_call(&mut self, number: Number, outcome: &Outcome) {
        let call = self.calls[number].take();
        self.held.retain(|(of, _)| *of != number);
        let (Some(record), Some(call)) = (self.trail.end(number, outcome.name()), call) else { return };
        span::attempt_ended(&call.span, outcome.name(), outcome.is_error());
        verdict::give(&call.instance, outcome, self.means.fleet.now());
        let Order { request, context, decision, accept, .. } = &self.order;
        let (request_id, model, accept) = (&request.request_id, &request.model, *accept);
        let billed = usage::Billed { request_id, model, context, decision, accept };
        let record = usage::record(&record, number, &billed, call.consumed());
        // Says itself what is wrong, once: an answer that was admitted is not lost for it.
        let _ = self.means.spool.append(&record.encode_to_vec());
    }

    /// This attempt is the one: its frames are the caller's from now on.
    fn answer(&mut self, number: Number) {
        self.answering = Some(number);
        let held = std::mem::take(&mut self.held);
        for (_, mut frame) in held.into_iter().filter(|(of, _)| *of == number) {
            if let Some(Body::Started(started)) = &mut frame.body {
                self.complete(started);
            }
            self.push(frame);
        }
    }

    fn answer_statically(&mut self) {
        (self.ended, self.is_static) = (true, true);
        let Some(answer) = self.order.decision.rule.static_answer.as_ref().map(|answer| Arc::clone(&answer.text))
        else {
            return;
        };
        // Where no target could be tried, that is what there is to tell.
        for (number, rejected) in self.order.decision.rejected.iter().enumerate().filter(|_| self.calls.is_empty()) {
            self.trail.add(number, Record::new(&rejected.target, &Arc::from(""), AttemptKind::First));
            self.trail.end(number, Reason::NoInstanceReady.name());
        }
        let mut started = Started { static_answer: true, ..Started::default() };
        started.request_id.clone_from(&self.order.request.request_id);
        self.complete(&mut started);
        self.ready.extend(static_answer::frames(started, &answer));
    }

    /// Adds what only the gateway knows.
    fn complete(&self, started: &mut Started) {
        let decision = &self.order.decision;
        started.model.clone_from(&self.order.request.model);
        started.accept_time = Some(self.order.accept_time.into());
        started.decision_id = decision.id.to_string();
        started.resume_token.clone_from(&self.order.resume_token);
        started.policy_revision = decision.policy_revision.to_string();
        started.attempts = self.trail.messages();
        started.session_turn = self.order.history.as_ref().map(|history| {
            let told = self.answering.and_then(|number| self.told.get(number));
            history.turn(told.map_or(0, |told| told.left_out_turns))
        });
    }

    fn push(&mut self, frame: Frame) {
        if let Some(Body::Delta(piece)) = &frame.body {
            self.order.answering.piece(piece.token_count);
        }
        self.delivered.count(&frame);
        self.ready.push_back(frame);
    }

    fn wakes_at(&self) -> Instant {
        self.order.accept + self.machine.wakes_at().min(self.progress_at)
    }

    /// Looks whether the request must end, or whether it is time for something: then true.
    fn poll_ends(&mut self, context: &mut Context<'_>) -> Result<bool, Error> {
        if let Poll::Ready(error) = self.order.ends.as_mut().poll(context) {
            // It is not asked again: the machine ends with this.
            self.tell(Event::Stop(error))?;
        }
        let due = self.wakes_at();
        // What is due later waits for the timer to come too early once: that is cheaper than setting it for
        // every piece.
        if due < self.wake.deadline() {
            self.wake.as_mut().reset(due);
        }
        if self.wake.as_mut().poll(context).is_pending() {
            return Ok(false);
        }
        self.tell(Event::Tick)?;
        if self.order.accept.elapsed() >= self.progress_at {
            self.progress_at += PROGRESS_EVERY;
            let Delivered { pieces, text_bytes } = self.delivered;
            span::on_its_way(&self.order.span, pieces, text_bytes);
        }
        let next = self.wakes_at();
        self.wake.as_mut().reset(next);
        Ok(true)
    }
}

/// The caller has left: what runs is ended, and what it consumed until now is noted too.
impl Drop for Attempts {
    fn drop(&mut self) {
        for number in 0..self.calls.len() {
            let outcome = match &self.calls[number] {
                Some(call) if call.finished => Outcome::Finished,
                Some(_) => Outcome::Failed(Error::new(Reason::Cancelled, "the caller went away")),
                None => continue,
            };
            self.drop_call(number, &outcome);
        }
    }
}

impl Stream for Attempts {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(frame) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(number) = this.answering.filter(|_| !this.ended) else { return Poll::Ready(None) };
            let Some(call) = this.calls[number].as_mut() else { return Poll::Ready(None) };
            let event = match call.poll(context) {
                Poll::Ready(Progress::Frame(frame)) => {
                    let is_last = matches!(frame.body, Some(Body::Finished(_)));
                    this.push(frame);
                    // Noted before the caller can see the end.
                    if is_last { Event::Finished } else { Event::Piece }
                }
                Poll::Ready(Progress::Failed(error)) => Event::Failed(number, error),
                Poll::Ready(Progress::Over | Progress::Taken) => return Poll::Ready(None),
                Poll::Pending => {
                    this.machine.on(Event::Waiting, this.order.accept.elapsed());
                    match this.poll_ends(context) {
                        Ok(true) => continue,
                        Ok(false) => return Poll::Pending,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
            };
            if let Err(error) = this.tell(event) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}
