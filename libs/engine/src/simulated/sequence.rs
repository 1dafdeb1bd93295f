//! One answer of the simulated engine, a token at a time.

use pointsman_proto::inference::v1::{Delta, FinishReason, delta};

use super::plan::{Interruption, Plan, StatedUsage};
use super::state::State;
use crate::stop::StopMatcher;
use crate::{EngineError, Event, Job};

/// What comes next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Event(Event),
    Error(EngineError),
    Lose,
    Stall,
    /// The engine as a whole is so from now on.
    Fall(State),
    End,
}

pub(super) struct Sequence {
    /// The tokens to come, last first.
    rest: Vec<String>,
    stop: StopMatcher,
    interruption: Option<Interruption>,
    finish_reason: FinishReason,
    usage: StatedUsage,
    prompt_tokens: u32,
    max_output_tokens: u32,
    written: u32,
    /// Of `written`, those whose text no event has shown yet.
    unshown: u32,
    ended: bool,
}

impl Sequence {
    pub(super) fn new(plan: Plan, job: &Job) -> Self {
        let mut rest = plan.pieces;
        rest.reverse();
        Self {
            rest,
            stop: StopMatcher::new(&job.request.stop),
            interruption: plan.interruption,
            finish_reason: plan.finish_reason,
            usage: plan.usage,
            prompt_tokens: job.prompt_tokens,
            max_output_tokens: job.max_output_tokens,
            written: 0,
            unshown: 0,
            ended: false,
        }
    }

    /// Writes tokens until there is something to say.
    pub(super) fn step(&mut self) -> Step {
        loop {
            if self.ended {
                return Step::End;
            }
            // The stop text may have ended inside the last token, whose beginning was shown.
            if self.stop.stopped() {
                return Step::Event(self.finish());
            }
            if let Some(due) = self.interruption.as_ref().filter(|due| self.written >= due.after_pieces) {
                return due.step.clone();
            }
            let token = if self.written < self.max_output_tokens { self.rest.pop() } else { None };
            let text = match &token {
                Some(token) => {
                    self.written += 1;
                    self.unshown += 1;
                    self.stop.push(token)
                }
                None => self.stop.finish(),
            };
            if !text.is_empty() {
                return Step::Event(self.show(text));
            }
            if token.is_none() || self.stop.stopped() {
                return Step::Event(self.finish());
            }
        }
    }

    /// Whether the last event was the end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    fn show(&mut self, text: String) -> Event {
        let delta = Delta { content: Some(delta::Content::Text(text)), ..Delta::default() };
        Event::Delta { delta, tokens: std::mem::take(&mut self.unshown) }
    }

    fn finish(&mut self) -> Event {
        self.ended = true;
        let reason = if self.stop.stopped() {
            FinishReason::Stop
        } else if self.rest.is_empty() {
            self.finish_reason
        } else {
            FinishReason::Length
        };
        Event::Finished { reason, usage: self.usage.instead_of(self.prompt_tokens, self.written) }
    }
}
