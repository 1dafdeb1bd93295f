//! One generation as a stream of frames, with everything that is held for its life.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures::stream::{BoxStream, Stream};
use pointsman_engine::{EngineError, Event, Generation};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{ChoiceFinished, FinishReason, Finished, Frame, Started, Usage};
use pointsman_telemetry::LastingSpan;
use tonic::Status;
use tracing::Span;

use crate::admission::Slot;
use crate::error::{failed, for_caller, report};
use crate::metrics::{Metrics, Outcome, TokenKind};
use crate::probe::EngineHealth;

/// What `GenerateStream` answers.
pub(crate) type FrameStream = BoxStream<'static, Result<Frame, Status>>;

/// A generation that runs. Dropping it ends the engine's work, then frees the slot, in the order of the
/// fields.
pub(crate) struct Generating {
    events: Generation,
    queued: VecDeque<Body>,
    sequence: u64,
    phase: Phase,
    output_tokens: u32,
    begin: Instant,
    held: Held,
}

/// What a generation holds for its life.
pub(crate) struct Held {
    /// The span of the request.
    pub(crate) span: LastingSpan,
    pub(crate) health: EngineHealth,
    pub(crate) metrics: Metrics,
    /// Freed when the generation is dropped, after the engine has been told.
    pub(crate) _slot: Slot,
}

/// The spans of a phase last as long as the phase.
enum Phase {
    Prefill { _span: LastingSpan },
    Decode { _span: LastingSpan, since: Instant },
    Ended,
}

impl Generating {
    pub(crate) fn new(events: Generation, started: Started, prefill: Span, held: Held) -> Self {
        Self {
            events,
            queued: VecDeque::from([Body::Started(started)]),
            sequence: 0,
            phase: Phase::Prefill { _span: prefill.into() },
            output_tokens: 0,
            begin: Instant::now(),
            held,
        }
    }

    fn frame(&mut self, body: Body) -> Frame {
        self.sequence += 1;
        Frame { sequence: self.sequence, body: Some(body) }
    }

    /// The first tokens are there: the prompt has been read.
    fn first_tokens(&mut self) {
        let now = Instant::now();
        self.held.metrics.first_token(now - self.begin);
        let span = tracing::info_span!(parent: &*self.held.span, "decode");
        self.phase = Phase::Decode { _span: span.into(), since: now };
    }

    fn finish(&mut self, reason: FinishReason, usage: Usage) -> Frame {
        if let Phase::Decode { since, .. } = self.phase
            && self.output_tokens > 1
        {
            self.held.metrics.per_token(since.elapsed() / (self.output_tokens - 1));
        }
        self.phase = Phase::Ended;
        self.held.metrics.ended(Outcome::Finished);
        let name = reason.as_str_name().trim_start_matches("FINISH_REASON_").to_ascii_lowercase();
        self.held.span.record("gen_ai.response.finish_reasons", name);
        if let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) {
            self.held.span.record("gen_ai.usage.input_tokens", input).record("gen_ai.usage.output_tokens", output);
        }
        self.queued.push_back(Body::Usage(usage));
        self.queued.push_back(Body::Finished(Finished {}));
        self.frame(Body::ChoiceFinished(ChoiceFinished { choice: 0, reason: reason.into() }))
    }

    fn fail(&mut self, error: &EngineError) -> Status {
        self.phase = Phase::Ended;
        let span = (*self.held.span).clone();
        let _inside = span.enter();
        report(error, &self.held.health);
        let error = for_caller(error);
        failed(&span, &self.held.metrics, error.reason());
        error.into()
    }
}

impl Stream for Generating {
    type Item = Result<Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(body) = this.queued.pop_front() {
            return Poll::Ready(Some(Ok(this.frame(body))));
        }
        if let Phase::Ended = this.phase {
            return Poll::Ready(None);
        }
        let next = match ready!(this.events.as_mut().poll_next(context)) {
            Some(Ok(Event::Delta { delta, tokens })) => {
                if let Phase::Prefill { .. } = this.phase {
                    this.first_tokens();
                }
                this.output_tokens += tokens;
                this.held.metrics.tokens(TokenKind::Output, tokens);
                Ok(this.frame(Body::Delta(delta)))
            }
            Some(Ok(Event::Finished { reason, usage })) => Ok(this.finish(reason, usage)),
            Some(Err(error)) => Err(this.fail(&error)),
            None => Err(this.fail(&EngineError::Lost { detail: "the stream ended without an end".to_owned() })),
        };
        Poll::Ready(Some(next))
    }
}

impl Drop for Generating {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            failed(&self.held.span, &self.held.metrics, Reason::Cancelled);
        }
    }
}
