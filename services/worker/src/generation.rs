//! One generation: from the engine's first event to its last, with everything that is held for that time.

use std::time::Instant;

use futures::StreamExt;
use pointsman_engine::{EngineError, Event, Generation};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{ChoiceFinished, FinishReason, Finished, Usage};
use pointsman_telemetry::LastingSpan;
use tokio::task::coop::consume_budget;
use tonic::Status;
use tracing::Span;

use crate::admission::Slot;
use crate::error::{for_caller, of_silence, report, report_silence};
use crate::frames::Reader;
use crate::operation::Operation;
use crate::probe::{EngineHealth, Round};
use crate::watchdog::{Verdict, Watch};

/// A generation that runs. Dropping it ends the engine's work, then frees the slot, then says how it ended, in
/// the order of the fields.
pub(crate) struct Generating {
    events: Generation,
    watch: Watch,
    phase: Phase,
    output_tokens: u32,
    /// Whether the reader was told which of several answers ended, and why.
    told_choices: bool,
    slot: Slot,
    health: EngineHealth,
    round: Round,
    operation: Operation,
}

/// What a generation begins with.
pub(crate) struct Begun {
    pub(crate) events: Generation,
    /// The span in which the engine reads the prompt.
    pub(crate) prefill: Span,
    pub(crate) slot: Slot,
    pub(crate) watch: Watch,
    /// When the engine was asked.
    pub(crate) round: Round,
}

/// The spans of a phase last as long as the phase.
enum Phase {
    Prefill { _span: LastingSpan },
    Decode { _span: LastingSpan, since: Instant },
    Ended,
}

impl Generating {
    pub(crate) fn new(begun: Begun, health: EngineHealth, operation: Operation) -> Self {
        let Begun { events, prefill, slot, watch, round } = begun;
        let phase = Phase::Prefill { _span: prefill.into() };
        Self { events, watch, phase, output_tokens: 0, told_choices: false, slot, health, round, operation }
    }

    /// Takes the engine's events as they come. When the last one is there all is given back, and only then the
    /// reader is told: whoever has read to the end finds the slot free and the request counted.
    pub(crate) async fn run(mut self, reader: Reader) {
        let last = loop {
            // An engine whose events are all there must not keep its neighbours from the thread.
            consume_budget().await;
            let event = tokio::select! {
                // What is there comes before what would be said if it was not.
                biased;
                event = self.events.next() => event,
                verdict = self.watch.verdict() => break vec![Err(self.condemn(verdict))],
            };
            match event {
                Some(Ok(Event::Delta { mut delta, tokens })) => {
                    self.watch.piece();
                    self.count(tokens);
                    delta.token_count = Some(tokens);
                    // The reader is dropped only after this.
                    let _ = reader.send(Ok(Body::Delta(delta)));
                }
                Some(Ok(Event::Alive)) => self.watch.event(),
                Some(Ok(Event::ChoiceFinished { choice, reason })) => {
                    self.watch.event();
                    self.told_choices = true;
                    let _ = reader.send(Ok(Body::ChoiceFinished(ChoiceFinished { choice, reason: reason.into() })));
                }
                Some(Ok(Event::Finished { reason, usage })) => {
                    self.watch.event();
                    break self.finish(reason, usage);
                }
                Some(Err(error)) => break vec![Err(self.fail(&error))],
                None => {
                    let detail = "the stream ended without an end".to_owned();
                    break vec![Err(self.fail(&EngineError::Lost { detail }))];
                }
            }
        };
        drop(self);
        for body in last {
            let _ = reader.send(body);
        }
    }

    fn count(&mut self, tokens: u32) {
        if let Phase::Prefill { .. } = self.phase {
            self.first_piece();
        }
        self.output_tokens += tokens;
        self.operation.metrics().output_tokens(tokens);
    }

    /// The first piece is there: the prompt has been read.
    fn first_piece(&mut self) {
        self.slot.prompt_read();
        let now = Instant::now();
        self.operation.metrics().first_token(now - self.slot.since());
        let span = tracing::info_span!(parent: self.operation.span(), "decode");
        self.phase = Phase::Decode { _span: span.into(), since: now };
    }

    fn finish(&mut self, reason: FinishReason, usage: Usage) -> Vec<Result<Body, Status>> {
        if let Phase::Decode { since, .. } = self.phase
            && self.output_tokens > 1
        {
            self.operation.metrics().per_token(since.elapsed() / (self.output_tokens - 1));
        }
        self.phase = Phase::Ended;
        self.operation.finished(reason, &usage);
        self.health.finished();
        let only = ChoiceFinished { choice: 0, reason: reason.into() };
        let choice = (!self.told_choices).then_some(Ok(Body::ChoiceFinished(only)));
        choice.into_iter().chain([Ok(Body::Usage(usage)), Ok(Body::Finished(Finished::default()))]).collect()
    }

    fn fail(&mut self, error: &EngineError) -> Status {
        self.phase = Phase::Ended;
        let metrics = self.operation.metrics();
        self.operation.span().in_scope(|| report(error, &self.health, self.round, metrics));
        self.end(for_caller(error))
    }

    fn condemn(&mut self, verdict: Verdict) -> Status {
        self.phase = Phase::Ended;
        let metrics = self.operation.metrics();
        self.operation.span().in_scope(|| report_silence(verdict, metrics));
        self.end(of_silence(verdict))
    }

    fn end(&mut self, error: Error) -> Status {
        self.operation.failed(error.reason());
        error.into()
    }
}
