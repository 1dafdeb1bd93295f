use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use mistralrs::{Model, TextModelBuilder, TokenSource};
use pointsman_engine::try_out;
use pointsman_proto::inference::v1::{Ability, TargetDescription};
use tokio::sync::{Semaphore, oneshot};

use crate::engine::Loaded;
use crate::folder::Folder;
use crate::guides::Guides;
use crate::template::Template;
use crate::vocabulary::Vocabulary;
use crate::{Config, LoadError, MistralrsEngine, digest};

/// What a model can do, whatever its template.
const ABILITIES: [Ability; 5] =
    [Ability::Sampling, Ability::Seed, Ability::Stop, Ability::LogitBias, Ability::MultipleChoices];

/// What needs an answer that is read token by token.
const ABILITIES_BY_TOKENS: [Ability; 6] = [
    Ability::Penalties,
    Ability::Logprobs,
    Ability::JsonObject,
    Ability::JsonSchema,
    Ability::Regex,
    Ability::LarkGrammar,
];

fn abilities(template: &Template) -> Vec<Ability> {
    let mut abilities = ABILITIES.to_vec();
    if !template.has_channels() {
        abilities.extend(ABILITIES_BY_TOKENS);
    }
    if template.knows_tools() {
        abilities.push(Ability::Tools);
    }
    abilities.sort_unstable();
    abilities
}

/// Engine and version. With device, number format and weights, all that decides a text.
const ENGINE: &str = "mistralrs-0.8.1";

/// How many sequences mistral.rs may have at once, of those that are wanted.
///
/// On the CPU one: its attention for one new token (`flash_attn_cpu_single_q`) has room for the results of a
/// single sequence, and gives those of the last one in a batch to all. Two conversations that reach the same
/// length are continued with each other's content.
fn max_concurrent(config: &Config) -> usize {
    if config.hardware.is_cpu() { 1 } else { config.max_concurrent.min(Semaphore::MAX_PERMITS) }
}

impl MistralrsEngine {
    /// Loads a model, reads its weights' digest, and tries it with one token.
    ///
    /// Takes as long as reading the weights twice; needs a tokio runtime. Dropping the future lets the loading
    /// run to its end unseen. Fails with what is missing, before mistral.rs is asked.
    pub async fn load(config: Config) -> Result<Self, LoadError> {
        config.check()?;
        let folder = config.model.clone();
        // On a thread of its own: mistral.rs leaves settings of quantisation and adapters behind in
        // thread-locals, where the next model that is loaded on the same thread would find them.
        let (done, loaded) = oneshot::channel();
        let load = move || done.send(load_here(&config)).is_ok();
        thread::Builder::new().name("pointsman-load".to_owned()).spawn(load).map_err(LoadError::ThreadRefused)?;
        let engine = loaded.await.map_err(|_| LoadError::Panicked { folder: folder.clone() })??;
        // A model in a number format that the device lacks loads, and fails every request.
        try_out(&engine).await.map_err(|source| LoadError::CannotGenerate { folder, source })?;
        Ok(engine)
    }
}

/// Loads on the current thread, and blocks it.
fn load_here(config: &Config) -> Result<MistralrsEngine, LoadError> {
    let folder = Folder::open(&config.model)?;
    let version = digest::version(&folder.weights).map_err(|(path, source)| LoadError::Unreadable { path, source })?;
    let template = Template::read(&config.model)?;
    let refused = |source| LoadError::Refused { folder: PathBuf::from(&folder.path), source };
    let model = build(config, &folder.path).map_err(refused)?;
    // After mistral.rs, which says what is wrong with the files.
    let vocabulary = Vocabulary::read(&config.model, template.text())?;
    let limit = model.inner().config(None).ok().and_then(|config| config.max_seq_len);
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX);
    let description = TargetDescription {
        target: format!("models/{}/versions/{version}", config.name),
        context_tokens: folder.context_tokens.min(limit),
        abilities: abilities(&template).into_iter().map(i32::from).collect(),
        engine_fingerprint: match config.quantize {
            None => format!("{ENGINE}-{}", config.hardware.fingerprint()),
            Some(quantize) => format!("{ENGINE}-{}-{}", config.hardware.fingerprint(), quantize.name()),
        },
    };
    let max_concurrent = max_concurrent(config);
    let guides = Arc::new(Guides::new(Arc::new(vocabulary)));
    let sequences = Arc::new(Semaphore::new(max_concurrent));
    Ok(MistralrsEngine::new(Loaded { model, description, template, guides, sequences }, max_concurrent))
}

fn build(config: &Config, folder: &str) -> anyhow::Result<Model> {
    let builder =
        TextModelBuilder::new(folder).with_token_source(TokenSource::None).with_max_num_seqs(max_concurrent(config));
    let mut builder = config.hardware.apply(builder)?;
    if let Some(quantize) = config.quantize {
        builder = builder.with_isq(quantize.isq());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(builder.build())
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::Ability;

    use super::abilities;
    use crate::template::Template;

    #[test]
    fn abilities_are_what_the_template_lets_a_model_do() {
        for (template, tools, logprobs) in [
            ("{{ messages }}", false, true),
            ("{{ tools }}<tool_call>", true, true),
            ("{{ tools }}<tool_call><|channel|>", false, false),
        ] {
            let abilities = abilities(&Template::from(template));
            assert_eq!(abilities.contains(&Ability::Tools), tools, "{template}");
            assert_eq!(abilities.contains(&Ability::Logprobs), logprobs, "{template}");
            assert!(abilities.contains(&Ability::MultipleChoices));
        }
    }
}
