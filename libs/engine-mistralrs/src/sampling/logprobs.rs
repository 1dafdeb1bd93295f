//! How probable tokens are, by the model alone: before temperature, penalties, bias and grammar.

/// Log-probabilities of one position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scored {
    /// Of the token that was chosen: natural logarithm.
    pub(crate) logprob: f64,
    /// The most probable tokens and their log-probabilities, the most probable first.
    pub(crate) alternatives: Vec<(u32, f64)>,
}

/// Scores a token by the raw logits: the logarithm of their softmax. Odd logits give the lowest number there
/// is, since no wire format knows infinity.
pub(crate) fn score(logits: &[f32], chosen: usize, alternatives: usize) -> Scored {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    let total = f64::from(highest) + sum.ln();
    let logprob = |logit: f32| {
        let logprob = f64::from(logit) - total;
        if logprob.is_finite() { logprob } else { f64::from(f32::MIN) }
    };
    let chosen = logprob(logits.get(chosen).copied().unwrap_or(f32::NEG_INFINITY));
    let alternatives = most(logits, alternatives).into_iter().map(|(token, logit)| (token, logprob(logit))).collect();
    Scored { logprob: chosen, alternatives }
}

/// Returns the tokens with the highest logits, highest first.
fn most(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    if count == 0 {
        return Vec::new();
    }
    let mut tokens: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    let order = |left: &(u32, f32), right: &(u32, f32)| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0));
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::score;

    #[test]
    fn scores_are_natural_logarithms_of_probabilities() {
        let logits = [0.5_f32, 0.25, 0.125, 0.125].map(f32::ln);
        let scored = score(&logits, 2, 2);
        assert!((scored.logprob - 0.125_f64.ln()).abs() < 1e-6);
        let [(0, first), (1, second)] = scored.alternatives[..] else { panic!("{scored:?}") };
        assert!((first - 0.5_f64.ln()).abs() < 1e-6 && (second - 0.25_f64.ln()).abs() < 1e-6);
        assert_eq!(score(&logits, 0, 9).alternatives.len(), 4);
        assert!(score(&logits, 0, 0).alternatives.is_empty());
    }

    #[test]
    fn odd_logits_give_numbers() {
        for logits in [&[][..], &[f32::NAN, 1.0], &[f32::NEG_INFINITY; 2], &[f32::INFINITY, 0.0]] {
            let scored = score(logits, 1, 2);
            assert!(scored.logprob.is_finite(), "{scored:?}");
            assert!(scored.alternatives.iter().all(|(_, logprob)| logprob.is_finite()), "{scored:?}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one(logits in proptest::collection::vec(-50.0..50.0_f32, 1..40)) {
            let sum: f64 = score(&logits, 0, logits.len()).alternatives.iter().map(|(_, logprob)| logprob.exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-6);
        }
    }
}
