use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use mistralrs::CustomLogitsProcessor;
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{GenerateRequest, Logprobs, ResponseFormat, Sampling};
use tokio::sync::Semaphore;

use super::guide::Guide;
use super::{Answering, TakenTokens, TokenChooser};
use crate::grammar::Grammar;
use crate::vocabulary::tests::vocabulary;

fn sampled(temperature: f64, seed: Option<i64>) -> GenerateRequest {
    let sampling = Sampling { temperature: Some(temperature), ..Sampling::default() };
    GenerateRequest { sampling: Some(sampling), seed, ..GenerateRequest::default() }
}

fn chooser_of(request: &GenerateRequest, choice: u32, guide: Option<Guide>) -> TokenChooser {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    TokenChooser::new(request, Answering { choice, prompt: &[], guide, never: &[], spelling: None, ends: &[1] }, permit)
}

fn chooser(temperature: f64, seed: Option<i64>) -> TokenChooser {
    chooser_of(&sampled(temperature, seed), 0, None)
}

fn tensor(logits: &[f32]) -> Tensor {
    Tensor::from_vec(logits.to_vec(), logits.len(), &Device::Cpu).unwrap()
}

/// The one token that is left of these logits.
fn left(chooser: &TokenChooser, logits: &[f32]) -> usize {
    let left = chooser.apply(&tensor(logits), &[]).unwrap().to_vec1::<f32>().unwrap();
    let possible: Vec<usize> = (0..left.len()).filter(|token| left[*token] == 0.0).collect();
    assert_eq!((possible.len(), left.len()), (1, logits.len()));
    possible[0]
}

/// Applies a chooser to equal logits, `steps` times, and returns what it left over.
fn answer(chooser: &TokenChooser, steps: usize) -> Vec<usize> {
    (0..steps).map(|_| left(chooser, &[1.0; 50])).collect()
}

#[test]
fn a_seed_repeats_an_answer_and_no_seed_does_not() {
    let seeded = answer(&chooser(1.0, Some(7)), 20);
    assert_eq!(seeded, answer(&chooser(1.0, Some(7)), 20));
    assert_ne!(seeded, answer(&chooser(1.0, Some(-7)), 20));
    assert_ne!(answer(&chooser(1.0, None), 20), answer(&chooser(1.0, None), 20));
    // Further answers have the seeds after it.
    let second = answer(&chooser_of(&sampled(1.0, Some(7)), 1, None), 20);
    assert_eq!(second, answer(&chooser(1.0, Some(8)), 20));
    assert_ne!(second, seeded);
    answer(&chooser_of(&sampled(1.0, Some(i64::MAX)), 9, None), 2);
}

#[test]
fn greedy_and_odd_logits_are_left_alone_and_counted() {
    for (chooser, logits) in [
        (chooser(0.0, Some(7)), vec![1.0_f32, 2.0]),
        (chooser(1.0, Some(7)), vec![f32::NAN, 2.0]),
        (chooser(1.0, Some(7)), vec![]),
    ] {
        let logits = tensor(&logits);
        let left = chooser.apply(&logits, &[]).unwrap();
        assert_eq!(left.id(), logits.id());
        assert_eq!(chooser.progress().chosen(), 1);
    }
    let matrix = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert_eq!(chooser(1.0, None).apply(&matrix, &[]).unwrap().id(), matrix.id());
}

#[test]
fn penalties_and_bias_move_a_greedy_choice() {
    let penalty = Sampling { frequency_penalty: Some(2.0), ..Sampling::default() };
    let request = GenerateRequest { sampling: Some(penalty), ..GenerateRequest::default() };
    let chooser = chooser_of(&request, 0, None);
    let answer: Vec<usize> = (0..5).map(|_| left(&chooser, &[3.0, 2.0, -9.0])).collect();
    assert_eq!(answer, [0, 1, 0, 1, 0]);
    let bias = Sampling { logit_bias: BTreeMap::from([(2, 100.0)]), ..Sampling::default() };
    let request = GenerateRequest { sampling: Some(bias), ..GenerateRequest::default() };
    assert_eq!(left(&chooser_of(&request, 0, None), &[3.0, 2.0, -9.0]), 2);
}

#[test]
fn an_end_is_noted_whoever_chooses_it() {
    for chooser in [chooser(0.0, None), chooser(1.0, Some(7))] {
        let ends = |logits: &[f32]| {
            chooser.apply(&tensor(logits), &[]).unwrap();
            chooser.progress().ended()
        };
        assert!(!ends(&[90.0, 1.0, 1.0]));
        assert!(!ends(&[f32::NAN, 90.0, 1.0]));
        assert!(ends(&[1.0, 90.0, 1.0]));
    }
}

fn read(tokens: &mut TakenTokens) -> Vec<Result<u32, EngineError>> {
    std::iter::from_fn(|| tokens.try_recv().ok()).map(|taken| taken.map(|taken| taken.token)).collect()
}

#[test]
fn a_reader_learns_each_token_and_when_there_is_none() {
    let mut chooser = chooser(0.0, None);
    assert!(!chooser.decides());
    let mut tokens = chooser.read(1);
    assert!(chooser.decides());
    assert_eq!(left(&chooser, &[1.0, 2.0, 3.0, 3.0]), 2);
    assert_eq!(left(&chooser, &[f32::NAN, 2.0]), 1, "the end");
    assert_eq!(left(&chooser, &[f32::NEG_INFINITY; 3]), 1, "the end");
    let told = read(&mut tokens);
    assert!(matches!(told[..], [Ok(2), Err(_), Err(_)]), "{told:?}");
    drop(tokens);
    assert_eq!(left(&chooser, &[4.0, 2.0]), 0);
}

#[test]
fn log_probabilities_are_the_models_own() {
    let sampling = Sampling { logit_bias: BTreeMap::from([(2, 100.0)]), ..Sampling::default() };
    let request = GenerateRequest {
        sampling: Some(sampling),
        logprobs: Some(Logprobs { top_count: 1 }),
        ..GenerateRequest::default()
    };
    let mut chooser = chooser_of(&request, 0, None);
    let mut tokens = chooser.read(0);
    left(&chooser, &[0.5_f32, 0.25, 0.25].map(f32::ln));
    let scored = tokens.try_recv().unwrap().unwrap().scored.unwrap();
    assert!((scored.logprob - 0.25_f64.ln()).abs() < 1e-6);
    assert!(matches!(scored.alternatives[..], [(0, logprob)] if (logprob - 0.5_f64.ln()).abs() < 1e-6));
}

#[test]
fn a_guide_leaves_only_what_it_allows() {
    let format = ResponseFormat { format: Some(Format::Regex("ab".to_owned())) };
    let matcher = Grammar::of(Some(&format)).unwrap().unwrap().matcher(None, &vocabulary()).unwrap();
    let guide = Guide::whole(matcher, vocabulary());
    for request in [sampled(2.0, Some(1)), sampled(0.0, None)] {
        let mut chooser = chooser_of(&request, 0, Some(guide.copy()));
        let mut tokens = chooser.read(1019);
        while !vocabulary().ends().contains(&u32::try_from(left(&chooser, &[0.0; 1024])).unwrap()) {}
        let bytes: Vec<u8> = read(&mut tokens)
            .into_iter()
            .flat_map(|token| match token.unwrap() {
                1019 | 1021 => Vec::new(),
                token => vocabulary().bytes(token).to_vec(),
            })
            .collect();
        assert_eq!(bytes, b"ab");
    }
}
