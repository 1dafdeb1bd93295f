//! What a worker needs of an inference engine, and a simulated one.
//!
//! [`Engine`] is the seam between the mesh and whatever turns prompts into tokens. Queue, slots
//! and telemetry are the worker's. Abilities are data ([`Engine::description`]), not
//! methods that fail: a worker refuses by name what the description lacks, before the engine is asked.
//!
//! - [`simulated`]: deterministic text or the replies of a script, continuous batching, a timing model, failures on
//!   schedule.
//! - [`stop`]: finds stop texts across token borders, for engines that do not.
//! - [`try_out`]: whether an engine works, shown by one token.

pub mod simulated;
pub mod stop;

mod error;
mod try_out;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{Delta, EmbedRequest, FinishReason, GenerateRequest, TargetDescription, Usage};

pub use error::EngineError;
pub use try_out::try_out;

/// Turns prompts into tokens.
///
/// An implementation may fail a request or be lost as a whole ([`EngineError::Lost`]); after it was lost,
/// the next generation is a new try, so that a worker can probe for its return.
pub trait Engine: Send + Sync + 'static {
    /// Describes the one target that this engine serves.
    fn description(&self) -> &TargetDescription;

    /// Returns how many generations run at once. The worker gives out no more slots than these; one more
    /// would wait inside [`Engine::generate`].
    fn max_concurrent(&self) -> usize;

    /// Counts the tokens of the prompt that the request makes, template included, exactly.
    fn count_prompt_tokens<'a>(
        &'a self,
        request: &'a Valid<GenerateRequest>,
    ) -> BoxFuture<'a, Result<u32, EngineError>>;

    /// Starts a generation.
    ///
    /// The engine buffers what the reader does not take, so that a slow reader never holds up another.
    /// Dropping the stream ends the work within one decode step.
    fn generate(&self, job: Job) -> BoxFuture<'_, Result<Generation, EngineError>>;

    /// Embeds texts, all of them or none. Dropping the future ends the work soon.
    ///
    /// Only asked of an engine whose description has `ABILITY_EMBEDDINGS`, and for no more numbers than that says; one
    /// without need not write it.
    fn embed<'a>(&'a self, request: &'a Valid<EmbedRequest>) -> BoxFuture<'a, Result<Embedded, EngineError>> {
        let detail = format!("{} was asked for embeddings, which its description does not have", request.model);
        std::future::ready(Err(EngineError::Failed { detail })).boxed()
    }
}

/// The embeddings of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// One for each text, in order: as many finite numbers as the request asks for, or as the description says.
    pub embeddings: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub input_tokens: u32,
}

/// One generation for an engine to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// The request; it asks for nothing that the engine's description lacks.
    pub request: Valid<GenerateRequest>,
    /// Tokens of its prompt, as counted by [`Engine::count_prompt_tokens`].
    pub prompt_tokens: u32,
    /// The most tokens that the answer may have; prompt and answer together fit the context.
    pub max_output_tokens: u32,
}

/// The events of one generation. It ends after [`Event::Finished`] or an error; an end without either
/// means that the engine was lost.
pub type Generation = BoxStream<'static, Result<Event, EngineError>>;

/// A step of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A piece of the answer, and how many tokens it took. Zero text may take tokens, too: a piece that is
    /// held back because it may begin a stop text is delivered with a later one.
    Delta {
        /// The piece.
        delta: Delta,
        /// Tokens generated since the last event.
        tokens: u32,
    },
    /// Nothing yet, and not because the engine cannot: it keeps this answer back, as a script says. Whoever
    /// watches the engine must not take the silence for its end.
    Alive,
    /// One of several answers is complete. A generation of one answer has [`Event::Finished`] alone.
    ChoiceFinished {
        /// Which answer, from 0.
        choice: u32,
        /// Why it ended.
        reason: FinishReason,
    },
    /// The generation is complete.
    Finished {
        /// Why it ended: the answer, or the last of several.
        reason: FinishReason,
        /// What it consumed.
        usage: Usage,
    },
}
