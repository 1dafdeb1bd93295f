use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use mistralrs::{Model, Request};
use pointsman_engine::{Engine, EngineError, Generation, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, TargetDescription};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};

use crate::request;
use crate::sampling::TokenChooser;
use crate::stream::Answer;

/// A model that mistral.rs runs, on threads of its own.
///
/// After mistral.rs has panicked, the next request starts it again.
pub struct MistralrsEngine {
    model: Model,
    description: TargetDescription,
    max_concurrent: usize,
    /// One permit for each sequence that mistral.rs may have, running or not yet dropped.
    sequences: Arc<Semaphore>,
}

impl Engine for MistralrsEngine {
    fn description(&self) -> &TargetDescription {
        &self.description
    }

    /// [`Config::max_concurrent`](crate::Config::max_concurrent); on the CPU 1.
    fn max_concurrent(&self) -> usize {
        self.max_concurrent
    }

    fn count_prompt_tokens<'a>(
        &'a self,
        request: &'a Valid<GenerateRequest>,
    ) -> BoxFuture<'a, Result<u32, EngineError>> {
        self.tokenize(request).boxed()
    }

    fn generate(&self, job: Job) -> BoxFuture<'_, Result<Generation, EngineError>> {
        self.start(job).boxed()
    }
}

impl MistralrsEngine {
    pub(crate) fn new(model: Model, description: TargetDescription, max_concurrent: usize) -> Self {
        Self { model, description, max_concurrent, sequences: Arc::new(Semaphore::new(max_concurrent)) }
    }

    /// Has mistral.rs make the prompt, as it will for the request itself.
    async fn tokenize(&self, request: &GenerateRequest) -> Result<u32, EngineError> {
        let (sender, mut tokens) = mpsc::channel(1);
        self.submit(request::tokenization(request, sender)?)?;
        // A task of its own holds the channel's end until it is answered: mistral.rs panics, and takes every
        // running generation with it, when this future is dropped and nobody listens any more.
        let tokens = tokio::spawn(async move { tokens.recv().await }).await.ok().flatten();
        match tokens {
            Some(Ok(tokens)) => Ok(u32::try_from(tokens.len()).unwrap_or(u32::MAX)),
            // Nothing but the chat template can fail here, over messages that it was not made for.
            Some(Err(error)) => Err(EngineError::InvalidRequest {
                message: format!("the model's chat template refuses the messages: {}", request::first_line(&error)),
            }),
            None => Err(EngineError::Lost { detail: "mistral.rs did not answer a tokenization".to_owned() }),
        }
    }

    async fn start(&self, job: Job) -> Result<Generation, EngineError> {
        // Beyond the context mistral.rs fails in the middle of a batch, in a matrix product.
        let context_tokens = self.description.context_tokens;
        let room = context_tokens.saturating_sub(job.prompt_tokens);
        if room == 0 {
            return Err(EngineError::ContextTooLong { prompt_tokens: job.prompt_tokens, context_tokens });
        }
        let max_output_tokens = job.max_output_tokens.min(room);
        if max_output_tokens == 0 {
            let message = "limits.max_output_tokens must be at least 1".to_owned();
            return Err(EngineError::InvalidRequest { message });
        }
        let permit = Arc::clone(&self.sequences).acquire_owned().await;
        let permit = permit.map_err(|_| EngineError::Lost { detail: "the engine was closed".to_owned() })?;
        // mistral.rs waits where a channel is full, and everybody with it: this one has room for the whole
        // answer, whether it is read or not.
        let (sender, chunks) = mpsc::channel(usize::try_from(max_output_tokens).unwrap_or(usize::MAX >> 4) + 2);
        let chooser = TokenChooser::new(&job.request, permit);
        let answer = Answer::new(chunks, chooser.progress(), &job, max_output_tokens);
        self.submit(request::generation(&job.request, max_output_tokens, chooser, sender)?)?;
        Ok(answer.into_stream())
    }

    fn submit(&self, request: Request) -> Result<(), EngineError> {
        let sender = self.model.inner().get_sender(None);
        let sender = sender.map_err(|error| EngineError::Lost { detail: error.to_string() })?;
        sender.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => EngineError::Saturated,
            TrySendError::Closed(_) => EngineError::Lost { detail: "mistral.rs takes no requests".to_owned() },
        })
    }
}
