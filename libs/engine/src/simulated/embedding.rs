//! Embeddings without a model: numbers from a hash of the text.

use pointsman_proto::inference::v1::{Ability, EmbedRequest};
use serde::{Deserialize, Serialize};

use super::prompt::tokens;
use super::state::{Shared, State, broken};
use super::{Config, Fault, FaultKind};
use crate::{Embedded, EngineError};

/// What embeddings a simulated engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embeddings {
    /// How many numbers each has. At most 16,384; 0: it does not embed. Default 64.
    pub width: u32,
    /// Whether a request may ask for fewer. Default false.
    pub shortens: bool,
    /// Whether it embeds only, and does not generate. Default false.
    pub only: bool,
}

impl Default for Embeddings {
    fn default() -> Self {
        Self { width: 64, shortens: false, only: false }
    }
}

impl Embeddings {
    /// Returns what is wrong with these values, each with its field.
    pub(super) fn problems(self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.width > 16_384 {
            problems.push("engine.simulated.embeddings.width: must be at most 16384".to_owned());
        }
        if self.only && self.width == 0 {
            problems.push("engine.simulated.embeddings.only: needs a width above 0".to_owned());
        }
        problems
    }

    pub(super) fn abilities(self) -> impl Iterator<Item = Ability> {
        let embeds = Some(Ability::Embeddings).filter(|_| self.width > 0);
        let shortens = Some(Ability::EmbeddingDimensions).filter(|_| self.width > 0 && self.shortens);
        embeds.into_iter().chain(shortens)
    }
}

/// Embeds each text. Takes as long as reading all of their tokens; a fault comes after that.
pub(super) async fn embed(
    request: &EmbedRequest,
    config: &Config,
    fault: Option<Fault>,
    state: &Shared,
) -> Result<Embedded, EngineError> {
    let dimensions = request.dimensions.unwrap_or(config.embeddings.width);
    let counts = request.inputs.iter().map(|input| u32::try_from(tokens(input).count()).unwrap_or(u32::MAX));
    let counts: Vec<u32> = counts.collect();
    if let Some(long) = counts.iter().find(|count| **count > config.context_tokens) {
        return Err(EngineError::ContextTooLong { prompt_tokens: *long, context_tokens: config.context_tokens });
    }
    let input_tokens = counts.into_iter().fold(0, u32::saturating_add);
    tokio::time::sleep(config.timing.prefill_per_token.saturating_mul(input_tokens)).await;
    state.check().await?;
    if let Some(fault) = fault {
        return Err(interrupted(fault, state).await);
    }
    let embeddings = request.inputs.iter().map(|input| vector(input, dimensions)).collect();
    Ok(Embedded { embeddings, input_tokens })
}

async fn interrupted(fault: Fault, state: &Shared) -> EngineError {
    let detail = "a fault on schedule".to_owned();
    match fault.kind {
        FaultKind::Fail => EngineError::Failed { detail },
        FaultKind::Lose | FaultKind::Truncate => EngineError::Lost { detail },
        FaultKind::Stall => std::future::pending().await,
        FaultKind::Hang => {
            state.fall(State::Hangs);
            std::future::pending().await
        }
        FaultKind::Break => {
            state.fall(State::Broken);
            broken()
        }
    }
}

/// A vector of length 1, the same for the same text. One of fewer numbers has the same direction as the beginning of
/// a longer one.
fn vector(text: &str, dimensions: u32) -> Vec<f32> {
    // FNV-1a, then SplitMix64 for each number: http://www.isthe.com/chongo/tech/comp/fnv and Steele et al., 2014.
    let seed = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let numbers: Vec<f64> = (1..=u64::from(dimensions)).map(|number| unit(seed, number)).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    numbers.into_iter().map(|number| (number / length) as f32).collect()
}

/// A number from -1 to 1, and never 0: a vector must have a direction.
fn unit(seed: u64, number: u64) -> f64 {
    let mut bits = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use pointsman_proto::Valid;
    use pointsman_proto::inference::v1::{Ability, EmbedRequest};

    use super::{Embeddings, vector};
    use crate::simulated::{Config, Fault, FaultKind, SimulatedEngine};
    use crate::{Engine, EngineError, try_out};

    fn engine(embeddings: Embeddings, faults: Vec<Fault>) -> SimulatedEngine {
        SimulatedEngine::new(Config { embeddings, faults, context_tokens: 8, ..Config::default() })
    }

    fn request(inputs: &[&str], dimensions: Option<u32>) -> Valid<EmbedRequest> {
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        let model = "simulated".to_owned();
        Valid::new(EmbedRequest { model, inputs, dimensions, ..EmbedRequest::default() }).unwrap()
    }

    fn length(vector: &[f32]) -> f64 {
        vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt()
    }

    #[tokio::test]
    async fn the_same_text_has_the_same_vector_of_length_one() {
        let engine = engine(Embeddings { width: 7, ..Embeddings::default() }, Vec::new());
        let embedded = engine.embed(&request(&["one two", "three", "one two"], None)).await.unwrap();
        assert_eq!((embedded.embeddings.len(), embedded.input_tokens), (3, 5));
        assert_eq!(embedded.embeddings[0], embedded.embeddings[2]);
        assert_ne!(embedded.embeddings[0], embedded.embeddings[1]);
        for vector in &embedded.embeddings {
            assert!(vector.len() == 7 && (length(vector) - 1.0).abs() < 1e-6, "{vector:?}");
        }
    }

    #[tokio::test]
    async fn what_it_can_do_is_described() {
        let abilities = |embeddings| {
            let described = engine(embeddings, Vec::new()).description().clone();
            let embeds = described.abilities.contains(&Ability::Embeddings.into());
            let shortens = described.abilities.contains(&Ability::EmbeddingDimensions.into());
            let stops = described.abilities.contains(&Ability::Stop.into());
            (embeds, shortens, stops, described.embeds_only, described.embedding_dimensions)
        };
        let usual = Embeddings::default();
        assert_eq!(abilities(usual), (true, false, true, false, 64));
        assert_eq!(abilities(Embeddings { width: 0, ..usual }), (false, false, true, false, 0));
        assert_eq!(abilities(Embeddings { shortens: true, only: true, ..usual }), (true, true, false, true, 64));
    }

    #[tokio::test]
    async fn fewer_numbers_are_the_beginning_of_more() {
        let engine = engine(Embeddings { width: 8, shortens: true, only: true }, Vec::new());
        let embed = async |dimensions| engine.embed(&request(&["text"], Some(dimensions))).await;
        let (long, short) = (embed(8).await.unwrap(), embed(3).await.unwrap());
        let (long, short) = (&long.embeddings[0], &short.embeddings[0]);
        assert!(short.len() == 3 && (length(short) - 1.0).abs() < 1e-6, "{short:?}");
        let ratio = f64::from(long[0]) / f64::from(short[0]);
        assert!((f64::from(long[2]) / f64::from(short[2]) - ratio).abs() < 1e-5);
        try_out(&engine).await.unwrap();
    }

    #[tokio::test]
    async fn a_text_beyond_the_context_is_refused_and_faults_come() {
        let embed = engine(Embeddings::default(), Vec::new());
        let refused = embed.embed(&request(&["short", "a b c d e f g h i"], None)).await;
        assert_eq!(refused, Err(EngineError::ContextTooLong { prompt_tokens: 9, context_tokens: 8 }));
        let fault = Fault { every: 1, after_tokens: 0, kind: FaultKind::Fail };
        let failed = engine(Embeddings::default(), vec![fault]).embed(&request(&["a"], None)).await;
        assert!(matches!(failed, Err(EngineError::Failed { .. })));
    }

    #[test]
    fn texts_that_differ_little_have_vectors_that_differ_much() {
        let product = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>().abs();
        assert!(product(&vector("text", 256), &vector("texu", 256)) < 0.3);
    }
}
