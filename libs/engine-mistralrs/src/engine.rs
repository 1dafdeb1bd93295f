use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use image::DynamicImage;
use mistralrs::Model;
use pointsman_engine::{Engine, EngineError, Generation, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, TargetDescription};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::choices::{closed, join};
use crate::guides::Guides;
use crate::mailbox;
use crate::pictures::Picture;
use crate::plan::Plan;
use crate::request::{self, Prompt};
use crate::sight::Sight;
use crate::stream::{Answer, Bounds};
use crate::template::Template;
use crate::vision::Vision;

/// A model that mistral.rs runs, on threads of its own.
///
/// After mistral.rs has panicked, the next request starts it again.
pub struct MistralrsEngine {
    loaded: Arc<Loaded>,
    max_concurrent: usize,
}

/// A model, and what is known of it.
pub(crate) struct Loaded {
    pub(crate) model: Model,
    pub(crate) description: TargetDescription,
    pub(crate) template: Template,
    /// None: it does not see.
    pub(crate) sight: Option<Sight>,
    pub(crate) guides: Arc<Guides>,
    /// One permit for each sequence that mistral.rs may have, running or not yet dropped.
    pub(crate) sequences: Arc<Semaphore>,
}

impl Engine for MistralrsEngine {
    fn description(&self) -> &TargetDescription {
        &self.loaded.description
    }

    /// [`Config::max_concurrent`](crate::Config::max_concurrent); 1 where mistral.rs can do no more.
    fn max_concurrent(&self) -> usize {
        self.max_concurrent
    }

    fn count_prompt_tokens<'a>(
        &'a self,
        request: &'a Valid<GenerateRequest>,
    ) -> BoxFuture<'a, Result<u32, EngineError>> {
        self.loaded.count(request).boxed()
    }

    fn generate(&self, job: Job) -> BoxFuture<'_, Result<Generation, EngineError>> {
        Arc::clone(&self.loaded).start(job).boxed()
    }
}

impl MistralrsEngine {
    pub(crate) fn new(loaded: Loaded, max_concurrent: usize) -> Self {
        Self { loaded: Arc::new(loaded), max_concurrent }
    }

    /// How the model takes pictures, if it sees.
    pub(crate) fn vision(&self) -> Option<&Vision> {
        self.loaded.vision()
    }
}

impl Loaded {
    /// Counts the prompt, and refuses what could not be generated: nothing has begun yet.
    async fn count(self: &Arc<Self>, request: &Valid<GenerateRequest>) -> Result<u32, EngineError> {
        let plan = self.plan(request.clone()).await?;
        let tokens = plan.prompt_tokens(&self.tokenize(&plan).await?);
        // Once more when it is generated: a broken one is to be refused before its caller hears that it was taken,
        // and until its turn comes it need not lie here decoded. One that does not fit is never generated.
        if tokens < self.description.context_tokens {
            self.decode(&plan).await?;
        }
        Ok(tokens)
    }

    async fn plan(self: &Arc<Self>, request: Valid<GenerateRequest>) -> Result<Plan, EngineError> {
        if !Plan::is_costly(&request) {
            return Plan::of(request, &self.template, self.vision(), &self.guides);
        }
        let own = Arc::clone(self);
        self.guides.costly().run(move || Plan::of(request, &own.template, own.vision(), &own.guides)).await?
    }

    fn vision(&self) -> Option<&Vision> {
        self.sight.as_ref().map(|sight| &sight.vision)
    }

    /// Has mistral.rs make the prompt, as it does for a chat.
    async fn tokenize(&self, plan: &Plan) -> Result<Vec<u32>, EngineError> {
        let (sender, tokens) = mpsc::channel(1);
        mailbox::submit(&self.model, request::tokenization(plan.ingredients(), sender))?;
        match mailbox::only_answer(tokens).await {
            Some(Ok(tokens)) => {
                self.sight.as_ref().map_or(Ok(()), |sight| sight.marks.check(&tokens, plan.pictures.len()))?;
                Ok(tokens)
            }
            // Nothing but the chat template can fail here, over messages that it was not made for.
            Some(Err(error)) => Err(EngineError::InvalidRequest {
                message: format!("the model's chat template refuses the messages: {}", request::first_line(&error)),
            }),
            None => Err(mailbox::unanswered("a tokenization")),
        }
    }

    async fn decode(&self, plan: &Plan) -> Result<Vec<DynamicImage>, EngineError> {
        if plan.pictures.is_empty() {
            return Ok(Vec::new());
        }
        let pictures = Arc::clone(&plan.pictures);
        self.guides.costly().run(move || pictures.iter().map(Picture::decode).collect()).await?
    }

    /// Makes what the answers are made to, of a prompt's tokens where they are known.
    async fn prompt(&self, plan: &Plan, tokens: Option<Arc<Vec<u32>>>) -> Result<Prompt, EngineError> {
        Ok(match tokens {
            Some(tokens) if !plan.pictures.is_empty() => {
                let images = Arc::new(self.decode(plan).await?);
                Prompt::Seen(plan.ingredients(), images, plan.is_told_by_tokens().then_some(tokens))
            }
            Some(tokens) => Prompt::Tokens(tokens),
            None => Prompt::Chat(plan.ingredients()),
        })
    }

    async fn start(self: Arc<Self>, job: Job) -> Result<Generation, EngineError> {
        let Job { request, mut prompt_tokens, max_output_tokens } = job;
        let plan = self.plan(request).await?;
        let mut tokens = None;
        if plan.is_told_by_tokens() || !plan.pictures.is_empty() {
            let prompt = self.tokenize(&plan).await?;
            prompt_tokens = plan.prompt_tokens(&prompt);
            tokens = Some(Arc::new(prompt));
        }
        // Beyond the context mistral.rs fails in the middle of a batch, in a matrix product.
        let context_tokens = self.description.context_tokens;
        let room = context_tokens.saturating_sub(prompt_tokens);
        if room == 0 {
            return Err(EngineError::ContextTooLong { prompt_tokens, context_tokens });
        }
        let max_output_tokens = max_output_tokens.min(room);
        if max_output_tokens == 0 {
            return Err(request::invalid("limits.max_output_tokens", "must be at least 1"));
        }
        let prompt = self.prompt(&plan, tokens).await?;
        let begun = Begun { loaded: self, plan, prompt, prompt_tokens, max_output_tokens };
        let permit = Arc::clone(&begun.loaded.sequences).acquire_owned().await.map_err(|_| closed())?;
        let first = begun.answer(0, permit)?;
        match begun.plan.choices() {
            1 => Ok(first),
            count => {
                let sequences = Arc::clone(&begun.loaded.sequences);
                Ok(join(first, count, sequences, move |choice, permit| begun.answer(choice, permit)))
            }
        }
    }
}

/// A request whose prompt is made, and fits.
struct Begun {
    loaded: Arc<Loaded>,
    plan: Plan,
    prompt: Prompt,
    prompt_tokens: u32,
    max_output_tokens: u32,
}

impl Begun {
    /// Begins an answer.
    fn answer(&self, choice: u32, permit: OwnedSemaphorePermit) -> Result<Generation, EngineError> {
        // mistral.rs waits where a channel is full, and everybody with it: this one has room for the whole
        // answer, whether it is read or not.
        let (sender, chunks) = mpsc::channel(usize::try_from(self.max_output_tokens).unwrap_or(usize::MAX >> 4) + 2);
        let (chooser, source) = self.plan.reading(choice, &self.prompt, &self.loaded, permit);
        let bounds = Bounds {
            stop: &self.plan.request.stop,
            prompt_tokens: self.prompt_tokens,
            max_output_tokens: self.max_output_tokens,
        };
        let answer = Answer::new(chunks, source, chooser.progress(), &bounds);
        let request = request::generation(self.prompt.clone(), self.max_output_tokens, chooser, sender);
        mailbox::submit(&self.loaded.model, request)?;
        Ok(answer.into_stream())
    }
}
