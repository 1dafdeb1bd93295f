//! Penalties and bias.

use std::collections::BTreeMap;

use pointsman_engine::{Engine, EngineError};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{FinishReason, GenerateRequest, Logprobs, ResponseFormat, Sampling};

use crate::{answer, ask, engine, run};

fn with(sampling: Sampling, prompt: &str) -> GenerateRequest {
    GenerateRequest { sampling: Some(sampling), ..ask(prompt) }
}

/// How many different words a text has, of all its words.
fn variety(text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let different: std::collections::HashSet<&&str> = words.iter().collect();
    different.len() as f64 / words.len() as f64
}

/// How varied the answers of some seeds are.
async fn varieties(sampling: &Sampling) -> f64 {
    let mut sum = 0.0;
    for seed in 0..10 {
        let sampling = Sampling { temperature: Some(1.5), ..sampling.clone() };
        let request = GenerateRequest { seed: Some(seed), ..with(sampling, "Tell me a story.") };
        let told = answer(request.clone(), 50).await;
        if seed == 0 {
            assert_eq!(answer(request, 50).await, told, "a seed repeats it");
        }
        sum += variety(&told.text);
    }
    sum
}

#[test]
fn penalties_make_answers_repeat_themselves_less() {
    run(async {
        let plain = varieties(&Sampling::default()).await;
        for sampling in [
            Sampling { frequency_penalty: Some(2.0), ..Sampling::default() },
            Sampling { presence_penalty: Some(2.0), ..Sampling::default() },
            Sampling { repetition_penalty: Some(2.0), ..Sampling::default() },
        ] {
            let penalised = varieties(&sampling).await;
            assert!(penalised > plain, "{sampling:?}: {penalised} against {plain}");
        }
        let rewarded = Sampling { frequency_penalty: Some(-2.0), ..Sampling::default() };
        assert!(varieties(&rewarded).await < plain);
    });
}

#[test]
fn the_prompt_counts_as_written_for_the_repetition_penalty_only() {
    run(async {
        // The first token repeats none of the answer, and may repeat the prompt.
        let first = async |sampling: Sampling| {
            let mut texts = Vec::new();
            for seed in 0..40 {
                let sampling = Sampling { temperature: Some(2.0), ..sampling.clone() };
                let request = GenerateRequest { seed: Some(seed), ..with(sampling, "Hello") };
                texts.push(answer(request, 1).await.text);
            }
            texts
        };
        let plain = first(Sampling::default()).await;
        for sampling in [
            Sampling { frequency_penalty: Some(2.0), ..Sampling::default() },
            Sampling { presence_penalty: Some(2.0), ..Sampling::default() },
        ] {
            assert_eq!(first(sampling).await, plain);
        }
        let hellos = |texts: &[String]| texts.iter().filter(|text| *text == "Hello").count();
        let repeated = first(Sampling { repetition_penalty: Some(2.0), ..Sampling::default() }).await;
        assert!(hellos(&repeated) < hellos(&plain), "{repeated:?} against {plain:?}");
    });
}

#[test]
fn a_bias_forbids_and_forces_a_token() {
    run(async {
        // `<|im_end|>` is 1021: an answer that may not end goes on to the last token, and one that must is empty.
        let bias = |bias: f64| Sampling { logit_bias: BTreeMap::from([(1021, bias)]), ..Sampling::default() };
        let endless = answer(
            with(Sampling { logit_bias: BTreeMap::from([(1021, -100.0), (1019, -100.0)]), ..bias(0.0) }, "Hello"),
            80,
        )
        .await;
        assert_eq!(endless.tokens, 80);
        let empty = answer(with(bias(100.0), "Hello"), 80).await;
        assert_eq!((empty.text.as_str(), empty.tokens), ("", 1));
    });
}

#[test]
fn a_token_that_the_model_does_not_have_is_refused_by_name() {
    run(async {
        let sampling = Sampling { logit_bias: BTreeMap::from([(5_000, 1.0)]), ..Sampling::default() };
        let request = Valid::new(with(sampling, "Hello")).unwrap();
        let error = engine().await.count_prompt_tokens(&request).await.unwrap_err();
        let EngineError::InvalidField { field, rule } = error else { panic!("{error:?}") };
        assert!(field == "sampling.logit_bias" && rule.starts_with("token 5000"), "{field}: {rule}");
    });
}

#[test]
fn an_answer_that_ends_with_half_a_character_has_ended() {
    run(async {
        // The first byte of four until it costs too much, then the end; told as a chat, and by tokens.
        let sampling = Sampling {
            logit_bias: BTreeMap::from([(172, 100.0), (1021, 60.0)]),
            frequency_penalty: Some(2.0),
            presence_penalty: Some(2.0),
            ..Sampling::default()
        };
        let half = with(sampling, "Hello");
        let told = answer(half.clone(), 200).await;
        assert_eq!((told.reason, told.usage.output_tokens), (FinishReason::Stop, Some(told.tokens)), "{told:?}");
        assert!(told.tokens > 1 && told.tokens < 200, "{told:?}");
        let scored = answer(GenerateRequest { logprobs: Some(Logprobs::default()), ..half }, 200).await;
        assert!(scored.text.ends_with('\u{fffd}') && scored.reason == FinishReason::Stop, "{scored:?}");
        // The character that stands for what is none.
        let format = Some(ResponseFormat { format: Some(Format::Regex("\u{fffd}".to_owned())) });
        let formed = answer(GenerateRequest { response_format: format, ..ask("Hello") }, 100).await;
        assert_eq!((formed.text.as_str(), formed.reason), ("\u{fffd}", FinishReason::Stop));
    });
}
