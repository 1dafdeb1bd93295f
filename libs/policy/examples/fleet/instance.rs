//! One instance: continuous batching with prompts read in chunks between the steps, and a cache of prefixes.
//!
//! The shape is vLLM's scheduler with chunked prefill; the times are of the order that a model of 8 billion
//! parameters has on one large GPU.

use std::collections::VecDeque;

use crate::workload::Request;

/// Requests that run at the same time.
pub(crate) const SLOTS: usize = 32;
/// A step, in microseconds: by itself, for each answer that it continues, and for each prompt token it reads.
const STEP: f64 = 8_000.0;
const STEP_PER_ANSWER: f64 = 150.0;
const STEP_PER_PROMPT_TOKEN: f64 = 60.0;
/// Prompt tokens that a step reads at most.
const CHUNK: u32 = 512;
/// Tokens of prefixes that the cache keeps: about a sixth of them all.
const CACHE_TOKENS: u32 = 75_000;
/// What a worker counts for an answer before it ends (services/worker/src/load.rs).
const COUNTED_ANSWER: u64 = 512;

#[derive(Default)]
pub(crate) struct Instance {
    waiting: VecDeque<(usize, Request)>,
    running: Vec<Running>,
    cache: Cache,
    pub(crate) stepping: bool,
}

struct Running {
    id: usize,
    request: Request,
    unread: u32,
    reads_now: u32,
    written: u32,
}

/// What happened to a request at the end of a step.
pub(crate) enum Event {
    First(usize),
    Ended(usize),
}

impl Instance {
    pub(crate) fn accept(&mut self, id: usize, request: Request) {
        self.waiting.push_back((id, request));
    }

    /// The tokens that a worker reports.
    pub(crate) fn tokens(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(_, request)| u64::from(request.prompt_tokens) + COUNTED_ANSWER);
        let unread = |one: &Running| if one.unread > 0 { u64::from(one.request.prompt_tokens) } else { 0 };
        waiting.sum::<u64>() + self.running.iter().map(|one| unread(one) + COUNTED_ANSWER).sum::<u64>()
    }

    /// Begins a step, and returns how long it takes; `None` if there is nothing to do. Adds to `cached` and
    /// `prompts` how much of the prompts that begin was in the cache.
    pub(crate) fn begin_step(&mut self, tally: &mut Tally) -> Option<u64> {
        while self.running.len() < SLOTS {
            let Some((id, request)) = self.waiting.pop_front() else { break };
            let hit = if self.cache.touch(request.prefix) { request.prefix_tokens } else { 0 };
            tally.cached += u64::from(hit);
            tally.prompts += u64::from(request.prompt_tokens);
            self.running.push(Running { id, request, unread: request.prompt_tokens - hit, reads_now: 0, written: 0 });
        }
        if self.running.is_empty() {
            return None;
        }
        let (mut left, mut answers) = (CHUNK, 0);
        for one in &mut self.running {
            one.reads_now = one.unread.min(left);
            left -= one.reads_now;
            answers += u32::from(one.unread == 0);
        }
        let read = f64::from(CHUNK - left);
        Some((STEP + STEP_PER_ANSWER * f64::from(answers) + STEP_PER_PROMPT_TOKEN * read) as u64)
    }

    pub(crate) fn end_step(&mut self, mut tell: impl FnMut(Event)) {
        for one in &mut self.running {
            one.unread -= one.reads_now;
            // Who has read all in this step writes the first token with it.
            if one.unread > 0 {
                continue;
            }
            if one.written == 0 {
                self.cache.add(one.request.prefix, one.request.prefix_tokens);
                tell(Event::First(one.id));
            }
            one.written += 1;
        }
        self.running.retain(|one| {
            let ended = one.written >= one.request.answer_tokens;
            if ended {
                tell(Event::Ended(one.id));
            }
            !ended
        });
    }
}

/// How much of the prompts was read already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cached: u64,
    pub(crate) prompts: u64,
}

/// Prefixes and their tokens, the least recently used first.
#[derive(Default)]
struct Cache(Vec<(usize, u32)>);

impl Cache {
    fn touch(&mut self, prefix: usize) -> bool {
        let found = self.0.iter().position(|(known, _)| *known == prefix);
        if let Some(index) = found {
            let entry = self.0.remove(index);
            self.0.push(entry);
        }
        found.is_some()
    }

    fn add(&mut self, prefix: usize, tokens: u32) {
        if self.touch(prefix) {
            return;
        }
        self.0.push((prefix, tokens));
        let mut kept: u32 = self.0.iter().map(|(_, tokens)| tokens).sum();
        while kept > CACHE_TOKENS {
            kept -= self.0.remove(0).1;
        }
    }
}
