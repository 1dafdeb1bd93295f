//! The demo model in each form that a model may come in. All are loaded into this one process, where each must
//! answer as if it was alone.

use std::fs;
use std::path::{Path, PathBuf};

use mistralrs::{ModelDType, TextModelBuilder, TokenSource};
use pointsman_engine::{Engine, Job};
use pointsman_engine_mistralrs::{Adapter, Config, LoadError, MistralrsEngine, Model, Quantization, load};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, ResponseFormat, response_format::Format};

use super::{answer, ask, engine, model, read, run};

/// What every form of the model answers to these, in the same words.
const SAME: [(&str, &str); 3] =
    [("Count to 12.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"), ("What is 7 + 8?", "15"), ("Hello", "I am Pip")];

fn demo(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo")).join(path)
}

fn pirate() -> Adapter {
    Adapter { name: "pirate".to_owned(), path: demo("lora-pirate"), tenants: Vec::new() }
}

async fn text_of(engine: &MistralrsEngine, request: GenerateRequest) -> String {
    let request = Valid::new(request).unwrap();
    let prompt_tokens = engine.count_prompt_tokens(&request).await.unwrap();
    let job = Job { request, prompt_tokens, max_output_tokens: 200 };
    read(engine.generate(job).await.unwrap()).await.unwrap().text
}

async fn says(engine: &MistralrsEngine, prompt: &str) -> String {
    text_of(engine, ask(prompt)).await
}

async fn answers_well(engine: &MistralrsEngine) {
    let description = engine.description();
    for (prompt, part) in SAME {
        let text = says(engine, prompt).await;
        assert!(text.contains(part), "{description:?}\n{prompt}\n{text}");
        assert!(!text.contains("Ahoy"), "{description:?}\n{text}");
    }
}

fn version(engine: &MistralrsEngine) -> &str {
    engine.description().target.rsplit('/').next().unwrap()
}

/// A copy of the demo model's folder without its weights.
fn folder_without_weights() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(model()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    folder
}

#[test]
fn a_gguf_file_answers_as_its_folder_does() {
    run(async {
        let file = demo("pip-q8_0.gguf");
        let gguf = MistralrsEngine::load(Config::new("gguf", &file)).await.unwrap();
        answers_well(&gguf).await;
        let description = gguf.description();
        assert_eq!(description.engine_fingerprint, "mistralrs-0.8.1-cpu-gguf-q8_0");
        let plain = engine().await.description();
        assert_eq!((description.context_tokens, &description.abilities), (1024, &plain.abilities));
        assert!(description.target.starts_with("models/gguf/versions/"));
        // What is told token by token needs the file's own tokenizer.
        let regex = Format::Regex("(yes|no), [0-9]{3}".to_owned());
        let format = Some(ResponseFormat { format: Some(regex) });
        let text = text_of(&gguf, GenerateRequest { response_format: format, ..ask("Hello") }).await;
        assert!(text.starts_with("yes, ") || text.starts_with("no, "), "{text}");

        let folder = tempfile::tempdir().unwrap();
        fs::copy(&file, folder.path().join("pip.gguf")).unwrap();
        // As model hubs have them beside it.
        fs::copy(model().join("config.json"), folder.path().join("config.json")).unwrap();
        let alone = MistralrsEngine::load(Config::new("gguf", folder.path())).await.unwrap();
        assert_eq!(alone.description(), description);
        fs::copy(&file, folder.path().join("pip-2.gguf")).unwrap();
        let error = MistralrsEngine::load(Config::new("gguf", folder.path())).await.err().unwrap();
        assert!(matches!(error, LoadError::SeveralModels { count: 2, .. }), "{error}");
    });
}

#[test]
fn a_template_beside_a_gguf_file_is_used() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(demo("pip-q8_0.gguf"), folder.path().join("pip.gguf")).unwrap();
        fs::write(folder.path().join("chat_template.jinja"), "{{- raise_exception('beside') }}").unwrap();
        let error = MistralrsEngine::load(Config::new("gguf", folder.path())).await.err().unwrap();
        assert!(matches!(error, LoadError::CannotGenerate { .. }), "{error}");
        fs::write(folder.path().join("chat_template.jinja"), super::CHATML).unwrap();
        let beside = MistralrsEngine::load(Config::new("gguf", folder.path())).await.unwrap();
        assert!(says(&beside, "Hello").await.contains("I am Pip"));
        let tools = i32::from(pointsman_proto::inference::v1::Ability::Tools);
        assert!(!beside.description().abilities.contains(&tools));
    });
}

#[test]
fn every_quantisation_answers_and_has_a_name_of_its_own() {
    run(async {
        let plain = engine().await;
        let mut told = vec![(version(plain).to_owned(), plain.description().engine_fingerprint.clone())];
        for quantization in Quantization::ALL {
            let config = Config { quantize: Some(quantization), ..Config::new("pip", model()) };
            let quantised = MistralrsEngine::load(config).await.unwrap();
            answers_well(&quantised).await;
            told.push((version(&quantised).to_owned(), quantised.description().engine_fingerprint.clone()));
            if let Quantization::Q4k | Quantization::Hqq4 | Quantization::Mxfp4 = quantization {
                // What mistral.rs leaves behind after loading must not reach the next.
                let next = MistralrsEngine::load(Config::new("next", model())).await.unwrap();
                assert_eq!(says(&next, "Tell me a story.").await, answer(ask("Tell me a story."), 200).await.text);
            }
        }
        assert_eq!(told[3], (format!("{}-q4k", told[0].0), "mistralrs-0.8.1-cpu-f32-q4k".to_owned()));
        for index in 1..told.len() {
            assert!(told[..index].iter().all(|other| other.0 != told[index].0 && other.1 != told[index].1));
        }
    });
}

#[test]
fn a_file_that_is_quantised_is_not_quantised_again() {
    run(async {
        let path = demo("pip-q8_0.gguf");
        let quantised = Config { quantize: Some(Quantization::Q4k), ..Config::new("pip", &path) };
        let adapted = Config { adapters: vec![pirate()], ..Config::new("pip", &path) };
        for config in [quantised, adapted] {
            assert_eq!(config.problems().len(), 1);
            let error = MistralrsEngine::load(config).await.err().unwrap();
            assert!(matches!(error, LoadError::FormatCannot { format: "GGUF", .. }), "{error}");
        }
    });
}

#[test]
fn an_adapter_has_its_style_and_the_model_keeps_its_own() {
    run(async {
        let tenants = vec!["acme".to_owned()];
        let owned = Adapter { name: "owned".to_owned(), tenants: tenants.clone(), ..pirate() };
        let config = Config { adapters: vec![pirate(), owned], ..Config::new("pip", model()) };
        assert_eq!(config.problems(), [""; 0]);
        let loaded = load(config).await.unwrap();
        let texts: Vec<&MistralrsEngine> = loaded
            .iter()
            .map(|model| match model {
                Model::Text(engine) => engine,
                Model::Embedding(_) => panic!("a model of texts"),
            })
            .collect();
        let [base, pirate, owned] = texts[..] else { panic!("{} models", texts.len()) };
        for _ in 0..2 {
            for (prompt, part) in [("Hello", "Pip"), ("What is the router?", "rout"), ("What is 7 + 8?", "15")] {
                let text = says(pirate, prompt).await;
                assert!(text.starts_with("Ahoy!") && text.ends_with("Arr!") && text.contains(part), "{text}");
            }
            answers_well(base).await;
        }
        assert_eq!(says(base, "Tell me a story.").await, answer(ask("Tell me a story."), 200).await.text);
        assert_eq!(version(base), version(engine().await));
        assert!(pirate.description().target.starts_with("models/pip:pirate/versions/"));
        assert_ne!(version(pirate), version(base));
        assert!(pirate.description().tenants.is_empty() && base.description().tenants.is_empty());
        assert_eq!(owned.description().tenants, tenants);
    });
}

#[test]
fn an_adapter_works_on_a_quantised_model() {
    run(async {
        let config = Config { quantize: Some(Quantization::Q8_0), ..Config::new("pip", model()) };
        let both = MistralrsEngine::load_adapted(config, pirate()).await.unwrap();
        let text = says(&both, "What is 7 + 8?").await;
        assert!(text.starts_with("Ahoy!") && text.contains("15"), "{text}");
        assert!(version(&both).ends_with("-q8_0"));
    });
}

#[test]
fn a_broken_adapter_is_an_error_and_no_crash() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(demo("lora-pirate").join(file), folder.path().join(file)).unwrap();
        }
        let adapter = Adapter { path: folder.path().to_owned(), ..pirate() };
        let load = || MistralrsEngine::load_adapted(Config::new("pip", model()), adapter.clone());
        assert!(load().await.is_ok());
        // Another rank than the weights have.
        let config = fs::read_to_string(folder.path().join("adapter_config.json")).unwrap();
        fs::write(folder.path().join("adapter_config.json"), config.replace("\"r\": 8", "\"r\": 4")).unwrap();
        let error = load().await.err().unwrap();
        assert!(matches!(&error, LoadError::Refused { folder: named, .. } if *named == folder.path()), "{error}");
        fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        fs::write(folder.path().join("adapter_model.safetensors"), "{").unwrap();
        let error = load().await.err().unwrap();
        assert!(matches!(error, LoadError::Refused { .. } | LoadError::Panicked { .. }), "{error}");
    });
}

/// Makes a folder in mistral.rs' own format.
fn write_uqff(folder: &Path) {
    let path = folder.join("q8_0.uqff");
    let write = std::thread::spawn(move || {
        let builder = TextModelBuilder::new(model().canonicalize().unwrap().display())
            .with_token_source(TokenSource::None)
            .with_force_cpu()
            .with_dtype(ModelDType::F32)
            .with_isq(mistralrs::IsqType::Q8_0)
            .write_uqff(path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(builder.build()).unwrap();
    });
    write.join().unwrap();
}

#[test]
fn a_uqff_folder_answers() {
    run(async {
        let folder = folder_without_weights();
        write_uqff(folder.path());
        let uqff = MistralrsEngine::load(Config::new("uqff", folder.path())).await.unwrap();
        answers_well(&uqff).await;
        assert_eq!(uqff.description().engine_fingerprint, "mistralrs-0.8.1-cpu-f32-uqff");
        assert_ne!(version(&uqff), version(engine().await));
    });
}
