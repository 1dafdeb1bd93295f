use std::cmp::Ordering;

use pointsman_proto::inference::v1::Sampling;

/// Samples one token of a distribution, repeatably.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f64,
    min_p: f32,
    seed: u64,
}

/// A token that may be chosen, and its probability as a share of the most probable token's.
type Candidate = (u32, f32);

impl Sampler {
    /// Reads a request's sampling. None: greedy. A value without meaning counts as absent.
    pub(super) fn new(sampling: &Sampling, seed: u64) -> Option<Self> {
        let temperature = sampling.temperature.filter(|value| value.is_finite() && *value > 0.0)?;
        let share = |value: &f64| (0.0..1.0).contains(value);
        Some(Self {
            temperature: (temperature as f32).clamp(f32::MIN_POSITIVE, f32::MAX),
            top_k: sampling.top_k.filter(|k| *k > 0).and_then(|k| usize::try_from(k).ok()).unwrap_or(usize::MAX),
            top_p: sampling.top_p.filter(share).unwrap_or(1.0),
            min_p: sampling.min_p.filter(share).unwrap_or(0.0) as f32,
            seed,
        })
    }

    /// Chooses the token at a position of the answer.
    ///
    /// None where the logits are no distribution: empty, all impossible, not a number or infinite.
    pub(super) fn choose(&self, logits: &[f32], position: u32) -> Option<usize> {
        let candidates = self.candidates(logits)?;
        let key = mix(self.seed ^ mix(u64::from(position)));
        first_arrival(&candidates, key).and_then(|token| usize::try_from(token).ok())
    }

    /// Returns the tokens that pass all of top-k, top-p and min-p. Each measures the whole distribution after
    /// the temperature, so that their order does not matter.
    fn candidates(&self, logits: &[f32]) -> Option<Vec<Candidate>> {
        let highest = highest(logits)?;
        let mut candidates: Vec<Candidate> =
            (0..).zip(logits.iter().map(|logit| ((logit - highest) / self.temperature).exp())).collect();
        if self.top_p < 1.0 {
            candidates = nucleus(candidates, self.top_p);
        }
        candidates.retain(|(_, weight)| *weight > 0.0 && *weight >= self.min_p);
        if self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, by_weight);
            candidates.truncate(self.top_k);
        }
        Some(candidates)
    }
}

/// Returns the highest logit. None where there is none, or one is not a number or infinite.
fn highest(logits: &[f32]) -> Option<f32> {
    let highest = logits.iter().try_fold(f32::NEG_INFINITY, |highest, logit| {
        (!logit.is_nan() && *logit < f32::INFINITY).then(|| highest.max(*logit))
    })?;
    highest.is_finite().then_some(highest)
}

/// Keeps the most probable tokens that together reach `share` of all, at least one.
fn nucleus(mut candidates: Vec<Candidate>, share: f64) -> Vec<Candidate> {
    let total: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
    // Tokens less probable than this have not enough in common to be needed: only the others, a few hundred
    // as a rule, are sorted.
    let negligible = total * (1.0 - share) / candidates.len() as f64;
    candidates.retain(|(_, weight)| f64::from(*weight) >= negligible);
    candidates.sort_unstable_by(by_weight);
    let mut reached = 0.0;
    let enough = candidates.iter().position(|(_, weight)| {
        reached += f64::from(*weight);
        reached >= total * share
    });
    candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
    candidates
}

/// The most probable first; of equals, the lower token, so that the same logits give the same candidates.
fn by_weight(left: &Candidate, right: &Candidate) -> Ordering {
    right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
}

/// Samples a token in proportion to the weights: each arrives after an exponential time with its weight as
/// rate, and the first one wins.
///
/// The same as adding Gumbel noise to the logits and taking the highest, with one logarithm fewer. A token's
/// noise depends on nothing but key and token: neither the order of the candidates nor the rounding of other
/// tokens' probabilities decides between two answers, as they would with a running sum.
fn first_arrival(candidates: &[Candidate], key: u64) -> Option<u32> {
    let (mut winner, mut earliest) = (None, f64::INFINITY);
    for (token, weight) in candidates {
        let uniform = uniform(mix(key.wrapping_add(u64::from(*token).wrapping_mul(GOLDEN))));
        // -ln(u) is at least 1 - u: nearly all are too late already by this.
        if 1.0 - uniform >= earliest * f64::from(*weight) {
            continue;
        }
        let arrival = -uniform.ln() / f64::from(*weight);
        if arrival < earliest {
            (winner, earliest) = (Some(*token), arrival);
        }
    }
    winner
}

/// Makes a number above 0, up to 1, of the upper 53 bits.
fn uniform(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// 2^64 divided by the golden ratio: consecutive multiples lie far apart.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Scatters bits: the output step of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(GOLDEN);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::Sampling;
    use proptest::prelude::*;

    use super::Sampler;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(&Sampling { temperature: sampling.temperature.or(Some(1.0)), ..sampling }, 42).unwrap()
    }

    fn tokens(sampling: Sampling, probabilities: &[f32]) -> Vec<u32> {
        let logits: Vec<f32> = probabilities.iter().map(|probability| probability.ln()).collect();
        let mut tokens: Vec<u32> =
            sampler(sampling).candidates(&logits).unwrap().into_iter().map(|(token, _)| token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn filters_leave_what_their_documentation_says() {
        let none = Sampling::default();
        let probabilities = [0.1, 0.4, 0.0, 0.3, 0.2];
        for (sampling, want) in [
            (none.clone(), &[0, 1, 3, 4][..]),
            (Sampling { top_k: Some(2), ..none.clone() }, &[1, 3]),
            (Sampling { top_k: Some(99), ..none.clone() }, &[0, 1, 3, 4]),
            (Sampling { top_p: Some(0.39), ..none.clone() }, &[1]),
            (Sampling { top_p: Some(0.41), ..none.clone() }, &[1, 3]),
            (Sampling { top_p: Some(0.8), ..none.clone() }, &[1, 3, 4]),
            (Sampling { top_p: Some(1e-9), ..none.clone() }, &[1]),
            (Sampling { min_p: Some(0.6), ..none.clone() }, &[1, 3]),
            (Sampling { top_k: Some(3), top_p: Some(0.9), min_p: Some(0.51), ..none.clone() }, &[1, 3]),
            (Sampling { temperature: Some(1e-30), ..none.clone() }, &[1]),
        ] {
            assert_eq!(tokens(sampling.clone(), &probabilities), want, "{sampling:?}");
        }
        assert_eq!(tokens(Sampling { top_k: Some(2), ..none }, &[0.25; 4]), [0, 1]);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let probabilities = [0.5, 0.3, 0.15, 0.05_f32];
        let logits = probabilities.map(f32::ln);
        let mut counts = [0_u32; 4];
        for position in 0..20_000 {
            counts[sampler(Sampling::default()).choose(&logits, position).unwrap()] += 1;
        }
        for (count, probability) in counts.into_iter().zip(probabilities) {
            let share = f64::from(count) / 20_000.0;
            assert!((share - f64::from(probability)).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn values_without_meaning_count_as_absent() {
        for temperature in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY)] {
            assert_eq!(Sampler::new(&Sampling { temperature, ..Sampling::default() }, 1), None);
        }
        let odd = Sampling { top_k: Some(0), top_p: Some(f64::NAN), min_p: Some(2.0), ..Sampling::default() };
        assert_eq!(sampler(odd), sampler(Sampling::default()));
    }

    fn any_f32() -> impl Strategy<Value = f32> {
        prop_oneof![-30.0..30.0_f32, any::<f32>(), Just(f32::NEG_INFINITY), Just(f32::INFINITY), Just(f32::NAN)]
    }

    proptest! {
        #[test]
        fn only_a_possible_token_is_ever_chosen(
            logits in proptest::collection::vec(any_f32(), 0..20),
            temperature in proptest::option::of(any::<f64>()),
            top_k in proptest::option::of(any::<u32>()),
            top_p in proptest::option::of(any::<f64>()),
            min_p in proptest::option::of(any::<f64>()),
            position in any::<u32>(),
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            let Some(sampler) = Sampler::new(&sampling, 1) else { return Ok(()) };
            let broken = logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY);
            let possible = logits.iter().any(|logit| logit.is_finite());
            match sampler.choose(&logits, position) {
                Some(token) => prop_assert!(!broken && logits[token].is_finite()),
                None => prop_assert!(broken || !possible),
            }
        }
    }
}
