use std::path::PathBuf;

use futures::future::{BoxFuture, FutureExt};
use mistralrs::{Model, Request, RequestMessage, Response, SamplingParams};
use pointsman_engine::{Embedded, Engine, EngineError, Generation, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{Ability, EmbedRequest, GenerateRequest, TargetDescription};
use tokio::sync::mpsc;

use crate::files::Files;
use crate::load::{block_on, describe, embedding_builder, on_own_thread, within};
use crate::mailbox;
use crate::request::{first_line, invalid, text_tokenization};
use crate::{Config, LoadError};

/// A model that makes vectors of texts, near each other where the texts mean the same.
pub struct EmbeddingModel {
    model: Model,
    description: TargetDescription,
}

/// Vectors of texts, in the order of the texts, and the tokens of all texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One for each text, as long as the description says.
    pub vectors: Vec<Vec<f32>>,
    /// What was read.
    pub tokens: u32,
}

impl EmbeddingModel {
    /// Loads a model from a folder in the layout of sentence-transformers, and tries it with one text. Else like
    /// [`MistralrsEngine::load`](crate::MistralrsEngine::load).
    pub async fn load(config: Config) -> Result<Self, LoadError> {
        config.check()?;
        let (limit, place) = (config.load_timeout, config.model.clone());
        within(limit, place.clone(), Box::pin(Self::load_and_try(config, place))).await
    }

    async fn load_and_try(config: Config, place: PathBuf) -> Result<Self, LoadError> {
        let mut model = on_own_thread(place.clone(), move || load_here(&config)).await?;
        let tried = model.embed(vec!["Hello".to_owned()]).await;
        let tried = tried.map_err(|source| LoadError::CannotGenerate { folder: place, source })?;
        let dimensions = tried.vectors.first().map_or(0, Vec::len);
        model.description.embedding_dimensions = u32::try_from(dimensions).unwrap_or_default();
        Ok(model)
    }

    /// Describes the target.
    pub fn description(&self) -> &TargetDescription {
        &self.description
    }

    /// Makes a vector of each text, all of them or none. Dropping the future ends the work with the text that it is
    /// at.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, EngineError> {
        // An empty text ends mistral.rs.
        if let Some(empty) = texts.iter().position(String::is_empty) {
            return Err(invalid(&format!("inputs[{empty}]"), "must not be empty"));
        }
        let mut prompts = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            prompts.push(self.tokenize(index, text).await?);
        }
        let mut embeddings = Embeddings { vectors: Vec::new(), tokens: 0 };
        for prompt in prompts {
            embeddings.tokens += u32::try_from(prompt.len()).unwrap_or(u32::MAX);
            embeddings.vectors.push(self.vector(prompt).await?);
        }
        Ok(embeddings)
    }

    async fn tokenize(&self, index: usize, text: String) -> Result<Vec<u32>, EngineError> {
        let (sender, tokens) = mpsc::channel(1);
        mailbox::submit(&self.model, text_tokenization(text, true, sender))?;
        let tokens = match mailbox::only_answer(tokens).await {
            Some(Ok(tokens)) => tokens,
            Some(Err(error)) => return Err(EngineError::Failed { detail: error.to_string() }),
            None => return Err(mailbox::unanswered("a tokenization")),
        };
        let (prompt_tokens, context_tokens) =
            (u32::try_from(tokens.len()).unwrap_or(u32::MAX), self.description.context_tokens);
        if tokens.is_empty() {
            return Err(invalid(&format!("inputs[{index}]"), "has nothing that the model reads"));
        }
        if prompt_tokens > context_tokens {
            return Err(EngineError::ContextTooLong { prompt_tokens, context_tokens });
        }
        Ok(tokens)
    }

    async fn vector(&self, prompt: Vec<u32>) -> Result<Vec<f32>, EngineError> {
        let (sender, answers) = mpsc::channel(1);
        mailbox::submit(&self.model, request(prompt, sender))?;
        match mailbox::only_answer(answers).await {
            Some(Response::Embeddings { embeddings, .. }) => Ok(embeddings),
            Some(Response::ValidationError(error)) => Err(EngineError::InvalidRequest { message: first_line(&error) }),
            Some(Response::InternalError(error)) => Err(EngineError::Failed { detail: error.to_string() }),
            Some(_) => Err(EngineError::Failed { detail: "mistral.rs answered with no embedding".to_owned() }),
            None => Err(mailbox::unanswered("a text")),
        }
    }
}

impl Engine for EmbeddingModel {
    fn description(&self) -> &TargetDescription {
        &self.description
    }

    /// Texts go through one after the other.
    fn max_concurrent(&self) -> usize {
        1
    }

    fn count_prompt_tokens<'a>(&'a self, _: &'a Valid<GenerateRequest>) -> BoxFuture<'a, Result<u32, EngineError>> {
        std::future::ready(Err(embeds_only())).boxed()
    }

    fn generate(&self, _: Job) -> BoxFuture<'_, Result<Generation, EngineError>> {
        std::future::ready(Err(embeds_only())).boxed()
    }

    fn embed<'a>(&'a self, request: &'a Valid<EmbedRequest>) -> BoxFuture<'a, Result<Embedded, EngineError>> {
        async {
            let Embeddings { vectors, tokens } = Self::embed(self, request.inputs.clone()).await?;
            Ok(Embedded { embeddings: vectors, input_tokens: tokens })
        }
        .boxed()
    }
}

/// The worker refuses what the description lacks before it asks.
fn embeds_only() -> EngineError {
    EngineError::Failed { detail: "an embedding model was asked to generate".to_owned() }
}

/// Loads on the current thread, and blocks it.
fn load_here(config: &Config) -> Result<EmbeddingModel, LoadError> {
    let files = Files::open(&config.model)?;
    files.check(config)?;
    let folder = match &files {
        Files::Folder(folder) if folder.embeds => folder,
        _ => {
            let (path, what) = (config.model.clone(), "embedding: there is no modules.json");
            return Err(LoadError::FormatCannot { path, format: "a model of texts", what });
        }
    };
    let version = files.version(&[], config.quantize)?;
    let refused = |source| LoadError::Refused { folder: PathBuf::from(&folder.path), source };
    let model = embedding_builder(config, folder).and_then(|builder| block_on(builder.build())).map_err(refused)?;
    let description = TargetDescription {
        target: format!("models/{}/versions/{version}", config.name),
        abilities: vec![Ability::Embeddings.into()],
        embeds_only: true,
        tenants: config.tenants.clone(),
        ..describe(&model, &files, config)
    };
    Ok(EmbeddingModel { model, description })
}

fn request(prompt: Vec<u32>, response: mpsc::Sender<Response>) -> Request {
    let messages = RequestMessage::EmbeddingTokens { prompt };
    Request::Normal(Box::new(mailbox::bare(messages, SamplingParams::deterministic(), response)))
}
