//! One quantisation beside the weights as they are.

use std::time::Duration;

use super::measure::{Answer, Measured, Score};

/// Returns the share of answers that are the reference's, to the letter; `None` of no answers.
pub(super) fn exact_match(answers: &[Answer], reference: &[Answer]) -> Option<f64> {
    let pairs = answers.iter().zip(reference);
    let same = pairs.filter(|(answer, reference)| answer.text == reference.text).count();
    ratio(same, answers.len().min(reference.len()))
}

/// Returns how much less probable the reference's answers are here than there: the mean over their tokens, in
/// natural logarithms, so 0 where nothing has changed and −0.7 where each token is half as probable.
pub(super) fn logprob_difference(scores: &[Option<Score>], reference: &[Option<Score>]) -> Option<f64> {
    let both = || scores.iter().zip(reference).filter_map(|(here, there)| here.zip(*there));
    let tokens: usize = both().map(|(_, there)| there.tokens).sum();
    let difference: f64 = both().map(|(here, there)| here.logprob - there.logprob).sum();
    #[allow(clippy::cast_precision_loss, reason = "counts of tokens")]
    (tokens > 0).then(|| difference / tokens as f64)
}

/// Returns the tokens after the first in a second, over all answers.
pub(super) fn tokens_per_second(measured: &Measured) -> Option<f64> {
    let tokens: u32 = measured.answers.iter().map(|answer| answer.tokens.saturating_sub(1)).sum();
    let time: Duration = measured.answers.iter().filter(|answer| answer.tokens > 1).map(|answer| answer.rest).sum();
    (tokens > 0 && !time.is_zero()).then(|| f64::from(tokens) / time.as_secs_f64())
}

/// Returns the median time to the first token.
pub(super) fn first_token(measured: &Measured) -> Option<Duration> {
    let mut times: Vec<Duration> = measured.answers.iter().map(|answer| answer.first_token).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[allow(clippy::cast_precision_loss, reason = "counts of answers")]
fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::measure::{Answer, Measured, Score};
    use super::{exact_match, first_token, logprob_difference, tokens_per_second};

    fn answer(text: &str, tokens: u32, first: u64, rest: u64) -> Answer {
        let (first_token, rest) = (Duration::from_secs(first), Duration::from_secs(rest));
        Answer { text: text.to_owned(), is_plain: true, tokens, first_token, rest }
    }

    #[test]
    fn answers_are_held_against_the_reference() {
        let reference = [answer("a", 1, 0, 0), answer("b", 1, 0, 0)];
        assert_eq!(exact_match(&reference, &reference), Some(1.0));
        assert_eq!(exact_match(&[answer("a", 1, 0, 0), answer("b ", 1, 0, 0)], &reference), Some(0.5));
        assert_eq!(exact_match(&[], &[]), None);
    }

    #[test]
    fn the_difference_is_a_mean_over_the_references_tokens() {
        let score = |logprob, tokens| Some(Score { logprob, tokens });
        let reference = [score(-1.0, 2), score(-2.0, 2), score(-9.0, 9)];
        assert_eq!(logprob_difference(&reference, &reference), Some(0.0));
        assert_eq!(logprob_difference(&[score(-2.0, 3), score(-3.0, 2), None], &reference), Some(-0.5));
        assert_eq!(logprob_difference(&[None], &reference), None);
    }

    #[test]
    fn speed_is_that_of_the_tokens_after_the_first() {
        let answers = vec![answer("a", 11, 3, 2), answer("b", 11, 1, 3), answer("c", 1, 2, 9)];
        let measured = Measured {
            fingerprint: String::new(),
            load: Duration::ZERO,
            answers,
            scores: Vec::new(),
            resident: None,
            peak: None,
        };
        assert_eq!(tokens_per_second(&measured), Some(4.0));
        assert_eq!(first_token(&measured), Some(Duration::from_secs(2)));
    }
}
