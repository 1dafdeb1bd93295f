use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mistralrs::{
    EmbeddingModelBuilder, GgufModelBuilder, LoraModelBuilder, MultimodalModelBuilder, TextModelBuilder, TokenSource,
    UqffTextModelBuilder,
};
use pointsman_engine::try_out;
use pointsman_proto::inference::v1::{Ability, TargetDescription};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::adapter::AdapterFolder;
use crate::device::Builder;
use crate::engine::Loaded;
use crate::files::Files;
use crate::folder::Folder;
use crate::gguf::Gguf;
use crate::guides::Guides;
use crate::sight::{self, Sight};
use crate::template::Template;
use crate::{Adapter, Config, EmbeddingModel, LoadError, MistralrsEngine};

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

fn abilities(template: &Template, sees: bool) -> Vec<Ability> {
    let mut abilities = ABILITIES.to_vec();
    if !template.has_channels() {
        abilities.extend(ABILITIES_BY_TOKENS);
    }
    if template.knows_tools() {
        abilities.push(Ability::Tools);
    }
    if template.knows_thinking() {
        abilities.push(Ability::Reasoning);
    }
    if sees {
        abilities.push(Ability::Images);
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
///
/// One, too, where a model sees: a step that continues answers with pictures and without reckons the places of the
/// first as if they had none (`get_rope_index` gets their last token alone). The scheduler of paged attention would
/// keep the two apart, and never ends over it: it puts off one that does not go with the first for as long as any is
/// left (`PagedAttentionScheduler::schedule`). Read, not tried.
fn max_concurrent(config: &Config, sees: bool) -> usize {
    let alone = config.hardware.is_cpu() || sees;
    if alone { 1 } else { config.max_concurrent.min(Semaphore::MAX_PERMITS) }
}

/// A model that was loaded.
pub enum Model {
    /// It generates.
    Text(MistralrsEngine),
    /// It makes vectors of texts.
    Embedding(EmbeddingModel),
}

/// Loads a model, and once more for each of its adapters, one after the other.
pub async fn load(config: Config) -> Result<Vec<Model>, LoadError> {
    config.check()?;
    if Files::open(&config.model)?.embeds() {
        return Ok(vec![Model::Embedding(EmbeddingModel::load(config).await?)]);
    }
    let adapters = config.adapters.clone();
    let mut models = vec![Model::Text(MistralrsEngine::load(config.clone()).await?)];
    for adapter in adapters {
        models.push(Model::Text(MistralrsEngine::load_adapted(config.clone(), adapter).await?));
    }
    Ok(models)
}

impl MistralrsEngine {
    /// Loads a model without its adapters, reads its weights' digest, and tries it with one token.
    ///
    /// Takes as long as reading the weights twice; needs a tokio runtime. Dropping the future lets the loading
    /// run to its end unseen. Fails with what is missing, before mistral.rs is asked.
    pub async fn load(config: Config) -> Result<Self, LoadError> {
        Self::load_target(config, None).await
    }

    /// Loads a model with one of its adapters, which is then another model.
    pub async fn load_adapted(config: Config, adapter: Adapter) -> Result<Self, LoadError> {
        Self::load_target(config, Some(adapter)).await
    }

    async fn load_target(config: Config, adapter: Option<Adapter>) -> Result<Self, LoadError> {
        config.check()?;
        let (limit, place) = (config.load_timeout, config.model.clone());
        within(limit, place.clone(), Box::pin(Self::load_and_try(config, adapter, place))).await
    }

    async fn load_and_try(config: Config, adapter: Option<Adapter>, place: PathBuf) -> Result<Self, LoadError> {
        let engine = on_own_thread(place.clone(), move || load_here(&config, adapter.as_ref())).await?;
        // A model in a number format that the device lacks loads, and fails every request.
        let tried = match (try_out(&engine).await, engine.vision()) {
            (Ok(()), Some(vision)) => sight::try_out(&engine, vision).await,
            (tried, _) => tried,
        };
        tried.map_err(|source| LoadError::CannotGenerate { folder: place, source })?;
        Ok(engine)
    }
}

/// Gives up what takes longer than a limit.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    path: PathBuf,
    loading: impl Future<Output = Result<T, LoadError>>,
) -> Result<T, LoadError> {
    match limit {
        Some(limit) => timeout(limit, loading).await.unwrap_or(Err(LoadError::TooLong { path, limit })),
        None => loading.await,
    }
}

/// Loads on a thread of its own: mistral.rs leaves settings of quantisation and adapters behind in thread-locals,
/// where the next model that is loaded on the same thread would find them.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    place: PathBuf,
    load: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let (done, loaded) = oneshot::channel();
    let run = move || done.send(load()).is_ok();
    thread::Builder::new().name("pointsman-load".to_owned()).spawn(run).map_err(LoadError::ThreadRefused)?;
    loaded.await.map_err(|_| LoadError::Panicked { folder: place })?
}

/// Loads on the current thread, and blocks it.
fn load_here(config: &Config, adapter: Option<&Adapter>) -> Result<MistralrsEngine, LoadError> {
    let files = Files::open(&config.model)?;
    files.check(config)?;
    if files.embeds() {
        let (path, what) = (config.model.clone(), "generating text");
        return Err(LoadError::FormatCannot { path, format: "an embedding model", what });
    }
    let folder = adapter.map(|adapter| AdapterFolder::open(&adapter.path)).transpose()?;
    let beside = folder.as_ref().map(AdapterFolder::files);
    let version = files.version(beside.as_ref().map_or(&[], |files| files.as_slice()), config.quantize)?;
    let template = files.template()?;
    let place = adapter.map_or(&config.model, |adapter| &adapter.path);
    let refused = |source| LoadError::Refused { folder: place.clone(), source };
    let model = build(config, &files, folder.as_ref()).map_err(refused)?;
    let vision = files.vision().map(|vision| vision.clone().on(config.hardware.is_cpu()));
    let sight = vision.map(|vision| block_on(Sight::learn(&model, vision)));
    let sight = sight.transpose().map_err(refused)?;
    // After mistral.rs, which says what is wrong with the files.
    let vocabulary = files.vocabulary(&template)?;
    let (name, tenants) = match adapter {
        Some(adapter) if adapter.tenants.is_empty() => (format!("{}:{}", config.name, adapter.name), &config.tenants),
        Some(adapter) => (format!("{}:{}", config.name, adapter.name), &adapter.tenants),
        None => (config.name.clone(), &config.tenants),
    };
    let description = TargetDescription {
        target: format!("models/{name}/versions/{version}"),
        abilities: abilities(&template, sight.is_some()).into_iter().map(i32::from).collect(),
        tenants: tenants.clone(),
        ..describe(&model, &files, config)
    };
    let max_concurrent = max_concurrent(config, sight.is_some());
    let guides = Arc::new(Guides::new(Arc::new(vocabulary)));
    let sequences = Arc::new(Semaphore::new(max_concurrent));
    Ok(MistralrsEngine::new(Loaded { model, description, template, sight, guides, sequences }, max_concurrent))
}

/// Describes what a model of any kind has: its context, and what decides its answers beside its weights.
pub(crate) fn describe(model: &mistralrs::Model, files: &Files, config: &Config) -> TargetDescription {
    let limit = model.inner().config(None).ok().and_then(|config| config.max_seq_len);
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX);
    let (device, own) = (config.hardware.kind(), config.hardware.model_dtype().to_string());
    TargetDescription {
        context_tokens: files.context_tokens().min(limit),
        engine_fingerprint: format!("{ENGINE}-{device}-{}", files.format(&own, config.quantize)),
        ..TargetDescription::default()
    }
}

/// Runs the loading to its end on this thread.
pub(crate) fn block_on<T>(loading: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(loading)
}

fn build(config: &Config, files: &Files, adapter: Option<&AdapterFolder>) -> anyhow::Result<mistralrs::Model> {
    let folder = match files {
        Files::Gguf(gguf) => return block_on(gguf_builder(config, gguf)?.build()),
        Files::Folder(folder) if folder.vision.is_some() => {
            return block_on(multimodal_builder(config, folder)?.build());
        }
        Files::Folder(folder) => folder,
    };
    let builder = text_builder(config, folder)?;
    let Some(adapter) = adapter else { return block_on(builder.build()) };
    let revision = adapter.revision()?;
    let builder = builder.with_hf_revision(revision.path().display());
    block_on(LoraModelBuilder::from_text_model_builder(builder, ["adapter"]).build())
}

fn text_builder(config: &Config, folder: &Folder) -> anyhow::Result<TextModelBuilder> {
    let builder = match &folder.uqff {
        Some(first) => {
            let name = first.file_name().map(PathBuf::from).unwrap_or_default();
            UqffTextModelBuilder::new(&folder.path, vec![name]).into_inner()
        }
        None => TextModelBuilder::new(&folder.path),
    };
    let builder = builder.with_token_source(TokenSource::None).with_max_num_seqs(max_concurrent(config, false));
    let mut builder = config.hardware.apply(builder)?;
    if let Some(quantize) = config.quantize {
        builder = builder.with_isq(quantize.isq());
    }
    Ok(builder)
}

fn multimodal_builder(config: &Config, folder: &Folder) -> anyhow::Result<MultimodalModelBuilder> {
    let builder = MultimodalModelBuilder::new(&folder.path)
        .with_token_source(TokenSource::None)
        .with_max_num_seqs(max_concurrent(config, true));
    // Of a prompt whose beginning is kept, mistral.rs shows the model a part of the pictures only.
    let builder = config.hardware.apply(builder)?.prefix_cache(None);
    Ok(match config.quantize {
        Some(quantize) => builder.with_isq(quantize.isq()),
        None => builder,
    })
}

fn gguf_builder(config: &Config, gguf: &Gguf) -> anyhow::Result<GgufModelBuilder> {
    let (folder, name) = &gguf.place;
    let mut builder = GgufModelBuilder::new(folder, vec![name])
        .with_token_source(TokenSource::None)
        .with_max_num_seqs(max_concurrent(config, false));
    if let Some(template) = &gguf.template_beside {
        builder = builder.with_chat_template(template);
    }
    config.hardware.apply(builder)
}

pub(crate) fn embedding_builder(config: &Config, folder: &Folder) -> anyhow::Result<EmbeddingModelBuilder> {
    config.hardware.apply(EmbeddingModelBuilder::new(&folder.path).with_token_source(TokenSource::None))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::path::PathBuf;
    use std::time::Duration;

    use pointsman_proto::inference::v1::Ability;

    use super::{abilities, max_concurrent, within};
    use crate::template::Template;
    use crate::{Config, LoadError};

    #[tokio::test(start_paused = true)]
    async fn loading_has_a_limit_where_one_is_set() {
        let (limit, path) = (Some(Duration::from_secs(90)), PathBuf::from("folder"));
        let error = within(limit, path.clone(), pending::<Result<(), _>>()).await.unwrap_err();
        assert!(matches!(&error, LoadError::TooLong { limit, .. } if limit.as_secs() == 90), "{error}");
        for limit in [limit, None] {
            assert_eq!(within(limit, path.clone(), ready(Ok(7))).await.unwrap(), 7);
        }
    }

    #[test]
    fn a_model_that_sees_answers_one_at_a_time() {
        let config = Config::new("eyes", "folder");
        assert_eq!(max_concurrent(&config, true), 1);
    }

    #[test]
    fn abilities_are_what_the_template_lets_a_model_do() {
        for (template, tools, logprobs) in [
            ("{{ messages }}", false, true),
            ("{{ tools }}<tool_call>", true, true),
            ("{{ tools }}<tool_call><|channel|>", false, false),
        ] {
            let abilities = abilities(&Template::from(template), tools);
            assert_eq!(abilities.contains(&Ability::Images), tools);
            assert!(!abilities.contains(&Ability::Reasoning));
            assert_eq!(abilities.contains(&Ability::Tools), tools, "{template}");
            assert_eq!(abilities.contains(&Ability::Logprobs), logprobs, "{template}");
            assert!(abilities.contains(&Ability::MultipleChoices));
        }
    }
}
