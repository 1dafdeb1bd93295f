//! Chooses tokens for mistral.rs, which knows no seed for one request: it samples all from one generator. Nor
//! does it know a bias, and its log-probabilities are those of what is left after a choice.
//!
//! A chooser is a processor of the logits of one answer. It adjusts, masks and samples, and leaves a single
//! possible token for mistral.rs to find. Requests without a seed take the same path with a random one,
//! because it is no dearer: an exponential and a hash per token of the vocabulary, 1.2 ms for 152,000 of them,
//! where mistral.rs' own sampler sorts them all, 5.5 ms (2.2 ms with `top_k`; on one core of the same machine).

mod adjust;
mod choice;
mod free;
pub(crate) mod guide;
pub(crate) mod logprobs;
pub(crate) mod progress;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use mistralrs::CustomLogitsProcessor;
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::{GenerateRequest, Sampling};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use adjust::Adjustment;
use choice::Sampler;
use guide::{Guide, Lost};
use logprobs::{Scored, score};
use progress::Progress;

use crate::marks::{self, Spelling};

/// Chooses the tokens of one answer, and counts them.
///
/// mistral.rs owns it as long as it has the sequence, which is longer than anybody listens.
pub(crate) struct TokenChooser {
    /// None: greedy, which is mistral.rs' own business.
    rules: Option<Mutex<Rules>>,
    progress: Arc<Progress>,
    ends: Box<[u32]>,
    /// Returned when mistral.rs has dropped the sequence, whichever way it ended.
    _permit: OwnedSemaphorePermit,
}

/// A token that was chosen, as its reader learns of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) token: u32,
    /// If it was asked for.
    pub(crate) scored: Option<Scored>,
}

/// The tokens of one answer, in order; or why there is no next one.
pub(crate) type TakenTokens = UnboundedReceiver<Result<Taken, EngineError>>;

/// How the tokens of one answer are chosen.
struct Rules {
    /// None: the most probable token.
    sampler: Option<Sampler>,
    adjustment: Option<Adjustment>,
    guide: Option<Guide>,
    never: Vec<usize>,
    /// None: there are no pictures.
    spelling: Option<Spelling>,
    /// How many alternatives are scored.
    alternatives: Option<usize>,
    /// Who reads the tokens. Room without bound, for at most as many as the answer may have.
    reader: Option<Reader>,
}

struct Reader {
    tokens: UnboundedSender<Result<Taken, EngineError>>,
    /// Ends an answer that cannot go on.
    end: u32,
}

/// What a chooser needs to know beside the request.
pub(crate) struct Answering<'a> {
    /// Which of the answers of the request this is, from 0: each has a seed of its own.
    pub(crate) choice: u32,
    /// What the repetition penalty counts as written. Empty where there is none.
    pub(crate) prompt: &'a [u32],
    pub(crate) guide: Option<Guide>,
    /// Tokens that are never chosen.
    pub(crate) never: &'a [u32],
    /// What else is never written.
    pub(crate) spelling: Option<Spelling>,
    /// Tokens that end an answer.
    pub(crate) ends: &'a [u32],
}

impl TokenChooser {
    /// Reads how a request wants its tokens chosen; with a random seed if it gives none.
    pub(crate) fn new(request: &GenerateRequest, answering: Answering<'_>, permit: OwnedSemaphorePermit) -> Self {
        let seed = request.seed.map(|seed| seed.wrapping_add(i64::from(answering.choice)));
        let seed = seed.map_or_else(rand::random, i64::cast_unsigned);
        let sampling = request.sampling.clone().unwrap_or_default();
        let rules = Rules {
            sampler: Sampler::new(&sampling, seed),
            adjustment: Adjustment::new(&sampling, answering.prompt),
            guide: answering.guide,
            never: answering.never.iter().filter_map(|token| usize::try_from(*token).ok()).collect(),
            spelling: answering.spelling,
            alternatives: request.logprobs.map(|wanted| usize::try_from(wanted.top_count).unwrap_or(usize::MAX)),
            reader: None,
        };
        Self {
            rules: rules.decide().then(|| Mutex::new(rules)),
            progress: Arc::default(),
            ends: answering.ends.into(),
            _permit: permit,
        }
    }

    /// Tells which tokens are chosen from now on. `end` is a token that ends an answer.
    pub(crate) fn read(&mut self, end: u32) -> TakenTokens {
        let (tokens, taken) = unbounded_channel();
        let rules = self.rules.get_or_insert_with(|| Mutex::new(Rules::greedy()));
        rules.get_mut().unwrap_or_else(PoisonError::into_inner).reader = Some(Reader { tokens, end });
        taken
    }

    /// Whether it leaves mistral.rs a single token to find.
    pub(crate) fn decides(&self) -> bool {
        self.rules.is_some()
    }

    /// Returns how far the answer is, which grows.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Leaves one token. None where nothing is decided here, or the logits are nothing to choose from.
    fn choose(&self, logits: &Tensor, position: u32) -> Option<Tensor> {
        let values = logits.to_vec1::<f32>().ok()?;
        let Some(rules) = &self.rules else {
            // mistral.rs finds the same one.
            self.note(most_probable(&values)?);
            return None;
        };
        let token = rules.lock().unwrap_or_else(PoisonError::into_inner).choose(&values, position)?;
        self.note(token);
        let mut only = vec![f32::NEG_INFINITY; values.len()];
        *only.get_mut(token)? = 0.0;
        Tensor::from_vec(only, values.len(), logits.device()).ok()
    }

    fn note(&self, token: usize) {
        if u32::try_from(token).is_ok_and(|token| self.ends.contains(&token)) {
            self.progress.end();
        }
    }
}

impl Rules {
    fn greedy() -> Self {
        let never = Vec::new();
        Self { sampler: None, adjustment: None, guide: None, never, spelling: None, alternatives: None, reader: None }
    }

    /// Whether they choose otherwise than greedily, or anybody wants to know.
    fn decide(&self) -> bool {
        let changes = self.adjustment.is_some() || self.guide.is_some() || self.spelling.is_some();
        changes || !self.never.is_empty() || self.sampler.is_some() || self.alternatives.is_some()
    }

    /// Chooses a token, and says so. A reader must know each one: where there is nothing to choose from, it is
    /// told, and the answer ends.
    fn choose(&mut self, raw: &[f32], position: u32) -> Option<usize> {
        let chosen = self.decide_on(raw, position);
        let Some(reader) = &self.reader else { return chosen.ok().map(|(token, _)| token) };
        let (told, token) = match chosen {
            Ok((token, told)) => (Ok(told), token),
            Err(lost) => (Err(lost), usize::try_from(reader.end).ok()?),
        };
        // Nobody may listen any more; mistral.rs learns of it by its own channel.
        let _ = reader.tokens.send(told);
        Some(token)
    }

    /// Chooses, once more where a token would spell what is never written.
    fn possible(&self, logits: &mut [f32], position: u32) -> Result<(usize, u32), EngineError> {
        loop {
            let chosen = match &self.sampler {
                Some(sampler) => sampler.choose(logits, position),
                None => most_probable(logits),
            };
            let Some(token) = chosen else { return Err(self.nothing_left(logits)) };
            let id = u32::try_from(token).map_err(|_| failed("the vocabulary is too large".to_owned()))?;
            match logits.get_mut(token).filter(|_| self.spelling.as_ref().is_some_and(|it| it.completes(id))) {
                Some(logit) => *logit = f32::NEG_INFINITY,
                None => return Ok((token, id)),
            }
        }
    }

    fn nothing_left(&self, logits: &[f32]) -> EngineError {
        let forbidden = self.guide.is_some() && self.spelling.is_some();
        if forbidden && logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return marks::nothing_else();
        }
        failed("the logits are nothing to choose from".to_owned())
    }

    fn decide_on(&mut self, raw: &[f32], position: u32) -> Result<(usize, Taken), EngineError> {
        let mut logits = raw.to_vec();
        if let Some(adjustment) = &self.adjustment {
            adjustment.apply(&mut logits);
        }
        if let Some(guide) = &mut self.guide {
            guide.mask(&mut logits).map_err(failed)?;
        }
        for token in &self.never {
            if let Some(logit) = logits.get_mut(*token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let (token, id) = self.possible(&mut logits, position)?;
        if let Some(adjustment) = &mut self.adjustment {
            adjustment.take(token);
        }
        if let Some(guide) = &mut self.guide {
            guide.take(id).map_err(failed)?;
        }
        if let Some(spelling) = &mut self.spelling {
            spelling.take(id);
        }
        let scored = self.alternatives.map(|count| score(raw, token, count));
        Ok((token, Taken { token: id, scored }))
    }
}

fn failed(detail: Lost) -> EngineError {
    EngineError::Failed { detail }
}

/// Returns the token with the highest logit, the lowest of equals. None where the logits are no distribution.
fn most_probable(logits: &[f32]) -> Option<usize> {
    if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return None;
    }
    let (token, logit) = logits.iter().enumerate().min_by(|left, right| right.1.total_cmp(left.1))?;
    logit.is_finite().then_some(token)
}

/// Whether the answer must be told token by token, and its prompt given so: what mistral.rs makes of a chat
/// has no place for what is asked for.
pub(crate) fn wants_tokens(request: &GenerateRequest) -> bool {
    let repetition =
        |sampling: &Sampling| sampling.repetition_penalty.is_some_and(|divisor| (divisor - 1.0).abs() > 0.0);
    request.logprobs.is_some() || request.sampling.as_ref().is_some_and(repetition)
}

impl CustomLogitsProcessor for TokenChooser {
    /// Is called once for each token. It must not panic, which would end the engine, and does not fail, which
    /// would lose a token of the sequences after it in the batch: odd logits are left as they are.
    fn apply(&self, logits: &Tensor, _context: &[u32]) -> candle_core::Result<Tensor> {
        // The position is counted here, not taken from the context: that lacks the prompt's beginning in the
        // first step when it was found in the prefix cache.
        let position = self.progress.count();
        Ok(self.choose(logits, position).unwrap_or_else(|| logits.clone()))
    }
}

#[cfg(test)]
mod tests;
