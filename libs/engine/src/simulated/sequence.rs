//! One answer of the simulated engine, a token at a time.

use pointsman_proto::inference::v1::{Delta, FinishReason, GenerateRequest, Role, Usage, UsageSource, delta, part};

use super::{Fault, FaultKind};
use crate::stop::StopMatcher;
use crate::{Event, Job};

/// What comes next.
pub(super) enum Step {
    Event(Event),
    Fail,
    Lose,
    Stall,
    End,
}

pub(super) struct Sequence {
    /// The tokens to come, last first.
    rest: Vec<String>,
    stop: StopMatcher,
    fault: Option<Fault>,
    prompt_tokens: u32,
    max_output_tokens: u32,
    written: u32,
    /// Of `written`, those whose text no event has shown yet.
    unshown: u32,
    ended: bool,
}

impl Sequence {
    pub(super) fn new(job: &Job, answer_tokens: Option<u32>, fault: Option<Fault>) -> Self {
        let mut rest: Vec<String> = tokens(&answer(&job.request)).map(str::to_owned).collect();
        if let Some(length) = answer_tokens {
            let filler = (0..).map(|number| format!(" and {number}"));
            rest.extend(filler.take((length as usize).saturating_sub(rest.len())));
            rest.truncate(length as usize);
        }
        rest.reverse();
        Self {
            rest,
            stop: StopMatcher::new(&job.request.stop),
            fault,
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
            if let Some(fault) = self.fault.filter(|fault| self.written >= fault.after_tokens) {
                return match fault.kind {
                    FaultKind::Fail => Step::Fail,
                    FaultKind::Lose => Step::Lose,
                    FaultKind::Truncate => Step::End,
                    FaultKind::Stall => Step::Stall,
                };
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
        let cut = !self.rest.is_empty() && !self.stop.stopped();
        let usage = Usage {
            input_tokens: Some(self.prompt_tokens),
            output_tokens: Some(self.written),
            source: UsageSource::Counted.into(),
            ..Usage::default()
        };
        Event::Finished { reason: if cut { FinishReason::Length } else { FinishReason::Stop }, usage }
    }
}

/// Tokens of all text, and four for the template around each message.
pub(super) fn count_prompt_tokens(request: &GenerateRequest) -> u32 {
    let in_texts = texts(request).map(|(_, text)| tokens(text).count()).sum::<usize>();
    u32::try_from(in_texts + 4 * request.messages.len()).unwrap_or(u32::MAX)
}

fn answer(request: &GenerateRequest) -> String {
    let asked = texts(request).filter(|(role, _)| *role == Role::User).last();
    format!("You said: {}", asked.map_or("nothing", |(_, text)| text))
}

fn texts(request: &GenerateRequest) -> impl Iterator<Item = (Role, &str)> {
    request.messages.iter().flat_map(|message| {
        message.parts.iter().filter_map(|part| match &part.kind {
            Some(part::Kind::Text(text)) => Some((message.role(), text.as_str())),
            _ => None,
        })
    })
}

/// Cuts before each space that follows something else: the tokens of a text are the text.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest[first.len_utf8()..].find(' ').map_or(rest.len(), |at| at + first.len_utf8());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}
