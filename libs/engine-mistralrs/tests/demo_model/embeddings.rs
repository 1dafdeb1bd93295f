//! The demo's embedding model.

use futures::future::join_all;
use pointsman_engine::EngineError;
use pointsman_engine_mistralrs::{
    Config, EmbeddingModel, Hardware, LoadError, MistralrsEngine, Model, PagedAttention, PagedMode, Quantization, load,
};

use super::{answer, ask, model, run};

pub(crate) fn folder() -> std::path::PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/embed").into()
}

async fn embedding_model() -> EmbeddingModel {
    EmbeddingModel::load(Config::new("embed", folder())).await.unwrap()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn near(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[test]
fn texts_that_mean_the_same_are_near_each_other() {
    run(async {
        let model = embedding_model().await;
        let embeddings = model
            .embed(texts(&[
                "When do you open?",
                "What are your opening hours?",
                "Tell me a story.",
                "Where is my order?",
            ]))
            .await
            .unwrap();
        let [open, hours, story, order] = &embeddings.vectors[..] else { panic!("{embeddings:?}") };
        assert!(near(open, hours) > near(open, story).max(near(open, order)), "{embeddings:?}");
        for vector in &embeddings.vectors {
            assert!((near(vector, vector) - 1.0).abs() < 1e-4, "{}", near(vector, vector));
        }
        let description = model.description();
        assert_eq!((description.embedding_dimensions, description.context_tokens), (256, 1024));
        assert!(description.embeds_only && open.len() == 256);
        assert!(description.target.starts_with("models/embed/versions/"));
        assert_eq!(description.engine_fingerprint, "mistralrs-0.8.1-cpu-f32");
    });
}

#[test]
fn a_text_has_the_same_vector_in_any_company() {
    run(async {
        let model = embedding_model().await;
        let all = texts(&["Hello", "Tell me a story about a lighthouse.", "What is 7 + 8?"]);
        let together = model.embed(all.clone()).await.unwrap();
        let alone = join_all(all.iter().map(|text| model.embed(vec![text.clone()]))).await;
        let alone: Vec<_> = alone.into_iter().map(Result::unwrap).collect();
        assert_eq!(together.tokens, alone.iter().map(|one| one.tokens).sum::<u32>());
        for (one, other) in together.vectors.iter().zip(&alone) {
            assert!((near(one, &other.vectors[0]) - 1.0).abs() < 1e-4);
        }
        // The end of a text counts as a token: the vector is read there.
        assert!(alone[0].tokens >= 1 && alone[1].tokens > alone[0].tokens, "{} {}", alone[0].tokens, alone[1].tokens);
        assert_eq!(model.embed(Vec::new()).await.unwrap().tokens, 0);
    });
}

#[test]
fn what_cannot_be_embedded_is_refused_and_leaves_the_model_well() {
    run(async {
        let model = embedding_model().await;
        let Err(EngineError::InvalidField { field, .. }) = model.embed(texts(&["Hello", ""])).await else {
            panic!("an empty text")
        };
        assert_eq!(field, "inputs[1]");
        let long = model.embed(vec!["Hello ".repeat(2_000)]).await.unwrap_err();
        assert!(
            matches!(long, EngineError::ContextTooLong { prompt_tokens, context_tokens: 1024 } if prompt_tokens > 1024),
            "{long:?}"
        );
        // A caller that gives up.
        for _ in 0..5 {
            drop(tokio::time::timeout(std::time::Duration::ZERO, model.embed(vec!["Hello ".repeat(500)])).await);
        }
        assert!(model.embed(texts(&["Hello"])).await.is_ok());
    });
}

#[test]
fn embedding_and_generating_keep_apart() {
    run(async {
        let loaded = load(Config::new("embed", folder())).await.unwrap();
        assert!(matches!(&loaded[..], [Model::Embedding(_)]));
        assert!(answer(ask("Hello"), 100).await.text.starts_with("Hello! I am Pip"));
        let error = MistralrsEngine::load(Config::new("embed", folder())).await.err().unwrap();
        assert!(matches!(error, LoadError::FormatCannot { .. }), "{error}");
        let error = EmbeddingModel::load(Config::new("pip", model())).await.err().unwrap();
        assert!(matches!(error, LoadError::FormatCannot { .. }), "{error}");
        let quantised = Config { quantize: Some(Quantization::Q8_0), ..Config::new("embed", folder()) };
        assert_eq!(quantised.problems().len(), 1);
        // What would be left out without a word.
        let with = |paged_attention| {
            let hardware = Hardware { paged_attention, ..Hardware::default() };
            Config { hardware, ..Config::new("embed", folder()) }
        };
        let blocks = PagedAttention { block_size: Some(16), ..PagedAttention::default() };
        let problems = with(blocks.clone()).problems();
        assert!(matches!(&problems[..], [one] if one.contains("`hardware.paged_attention`")), "{problems:?}");
        let error = EmbeddingModel::load(with(blocks)).await.err().unwrap();
        assert!(matches!(error, LoadError::FormatCannot { .. }), "{error}");
        let kept = Config {
            hardware: Hardware { prefix_cache: Some(4), ..Hardware::default() },
            ..Config::new("embed", folder())
        };
        assert!(kept.problems().iter().any(|problem| problem.contains("`hardware.prefix_cache`")));
        let off = PagedAttention { mode: PagedMode::Off, ..PagedAttention::default() };
        assert_eq!(with(off).problems(), Vec::<String>::new());
    });
}

#[test]
fn a_broken_embedding_model_is_an_error_and_no_crash() {
    run(async {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("1_Pooling")).unwrap();
        let files = ["config.json", "model.safetensors", "modules.json", "tokenizer.json", "tokenizer_config.json"];
        for file in files.into_iter().chain(["1_Pooling/config.json"]) {
            std::fs::copy(folder().join(file), copy.path().join(file)).unwrap();
        }
        let load = || EmbeddingModel::load(Config::new("embed", copy.path()));
        assert!(load().await.is_ok());
        std::fs::write(copy.path().join("model.safetensors"), "{").unwrap();
        let error = load().await.err().unwrap();
        assert!(matches!(error, LoadError::Refused { .. } | LoadError::Panicked { .. }), "{error}");
        std::fs::remove_file(copy.path().join("1_Pooling/config.json")).unwrap();
        let error = load().await.err().unwrap();
        assert!(matches!(error, LoadError::FilesMissing { .. }), "{error}");
    });
}
