//! What a request changes about the scores of tokens: penalties for repetition, and a bias.

use std::collections::{HashMap, HashSet};

use pointsman_proto::inference::v1::Sampling;

/// Changes the logits of one answer, in this order: repetition penalty, frequency and presence penalty, bias.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adjustment {
    frequency: f32,
    presence: f32,
    repetition: f32,
    bias: Vec<(usize, f32)>,
    prompt: HashSet<usize>,
    /// How often the answer has each of its tokens.
    written: HashMap<usize, u16>,
}

impl Adjustment {
    /// Reads a request's penalties and bias. None: nothing is changed. A value without meaning counts as absent.
    ///
    /// `prompt` is what the repetition penalty counts as written, beside the answer.
    pub(crate) fn new(sampling: &Sampling, prompt: &[u32]) -> Option<Self> {
        let number = |value: Option<f64>| value.filter(|value| value.is_finite()).map(|value| value as f32);
        let repetition = number(sampling.repetition_penalty).filter(|divisor| *divisor > 0.0).unwrap_or(1.0);
        let bias: Vec<(usize, f32)> = sampling
            .logit_bias
            .iter()
            .filter_map(|(token, bias)| Some((usize::try_from(*token).ok()?, number(Some(*bias))?)))
            .collect();
        let all = Self {
            frequency: number(sampling.frequency_penalty).unwrap_or(0.0),
            presence: number(sampling.presence_penalty).unwrap_or(0.0),
            repetition,
            bias,
            prompt: prompt.iter().filter_map(|token| usize::try_from(*token).ok()).collect(),
            written: HashMap::new(),
        };
        let changes = all.penalises() || !all.bias.is_empty();
        changes.then_some(all)
    }

    fn penalises(&self) -> bool {
        self.frequency != 0.0 || self.presence != 0.0 || self.repeats_cost()
    }

    fn repeats_cost(&self) -> bool {
        (self.repetition - 1.0).abs() > f32::EPSILON
    }

    pub(crate) fn apply(&self, logits: &mut [f32]) {
        if self.repeats_cost() {
            let of_prompt = self.prompt.iter().filter(|token| !self.written.contains_key(token));
            for token in of_prompt.chain(self.written.keys()) {
                if let Some(logit) = logits.get_mut(*token) {
                    *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
                }
            }
        }
        for (token, count) in &self.written {
            if let Some(logit) = logits.get_mut(*token) {
                *logit -= f32::from(*count) * self.frequency + self.presence;
            }
        }
        for (token, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(*token) {
                *logit += bias;
            }
        }
    }

    /// Takes the token that was chosen.
    pub(crate) fn take(&mut self, token: usize) {
        if self.penalises() {
            let count = self.written.entry(token).or_default();
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pointsman_proto::inference::v1::Sampling;
    use proptest::prelude::*;

    use super::Adjustment;

    fn adjusted(sampling: &Sampling, prompt: &[u32], answer: &[usize]) -> Vec<f32> {
        let mut adjustment = Adjustment::new(sampling, prompt).unwrap();
        answer.iter().for_each(|token| adjustment.take(*token));
        let mut logits = vec![2.0, -2.0, 4.0, 0.0];
        adjustment.apply(&mut logits);
        logits
    }

    #[test]
    fn penalties_and_bias_are_what_their_documentation_says() {
        let none = Sampling::default();
        for (sampling, want) in [
            (Sampling { frequency_penalty: Some(0.5), ..none.clone() }, [1.0, -2.5, 4.0, 0.0]),
            (Sampling { presence_penalty: Some(-1.0), ..none.clone() }, [3.0, -1.0, 4.0, 0.0]),
            (Sampling { repetition_penalty: Some(2.0), ..none.clone() }, [1.0, -4.0, 2.0, 0.0]),
            (
                Sampling { logit_bias: BTreeMap::from([(3, 100.0), (0, -2.0), (9, 1.0)]), ..none.clone() },
                [0.0, -2.0, 4.0, 100.0],
            ),
            (
                Sampling {
                    frequency_penalty: Some(1.0),
                    presence_penalty: Some(0.5),
                    repetition_penalty: Some(2.0),
                    logit_bias: BTreeMap::from([(0, 0.25)]),
                    ..none.clone()
                },
                [-1.25, -5.5, 2.0, 0.0],
            ),
        ] {
            // The answer has token 0 twice and token 1 once; the prompt token 2, and 0 as well.
            assert_eq!(adjusted(&sampling, &[2, 0], &[0, 1, 0]), want, "{sampling:?}");
        }
    }

    #[test]
    fn defaults_and_values_without_meaning_change_nothing() {
        for sampling in [
            Sampling::default(),
            Sampling { frequency_penalty: Some(0.0), repetition_penalty: Some(1.0), ..Sampling::default() },
            Sampling { presence_penalty: Some(f64::NAN), repetition_penalty: Some(-1.0), ..Sampling::default() },
        ] {
            assert_eq!(Adjustment::new(&sampling, &[1]), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_impossible_stays_so(
            penalties in proptest::array::uniform3(proptest::option::of(-2.0..2.0_f64)),
            bias in proptest::collection::btree_map(0..6_u32, -100.0..100.0_f64, 0..4),
            answer in proptest::collection::vec(0..6_usize, 0..9),
        ) {
            let [frequency_penalty, presence_penalty, repetition_penalty] = penalties;
            let sampling =
                Sampling { frequency_penalty, presence_penalty, repetition_penalty, logit_bias: bias, ..Sampling::default() };
            let Some(mut adjustment) = Adjustment::new(&sampling, &[0, 5]) else { return Ok(()) };
            answer.into_iter().for_each(|token| adjustment.take(token));
            let mut logits = [1.0, f32::NEG_INFINITY, -1.0];
            adjustment.apply(&mut logits);
            prop_assert!(logits[0].is_finite() && logits[1] == f32::NEG_INFINITY && logits[2].is_finite());
        }
    }
}
