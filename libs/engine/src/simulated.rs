//! An engine without a model: deterministic text, continuous batching, a timing model, faults on schedule.
//!
//! It answers `You said: …` with the caller's last words, so that a test can tell whose answer it reads.
//! All running sequences step together, as in a real engine; with the default timing of zero a sequence
//! runs as fast as it is read, which is what a benchmark of everything around it wants.

mod batch;
mod sequence;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{Ability, GenerateRequest, TargetDescription};
use pointsman_types::TargetName;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{Engine, EngineError, Generation, Job};
use batch::Arrival;
use sequence::{Sequence, Step};

/// How a simulated engine behaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The target that it serves. Default `models/simulated/versions/1`.
    pub target: String,
    /// Tokens that prompt and answer may have together. Default 8,192.
    pub context_tokens: u32,
    /// Length of every answer in tokens. Default: as long as the answer is.
    pub answer_tokens: Option<u32>,
    /// Sequences that step together; more wait inside the engine. Default 64.
    pub batch: usize,
    /// How long things take. Default: no time.
    pub timing: Timing,
    /// What goes wrong, and when. Default: nothing.
    pub faults: Vec<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: "models/simulated/versions/1".to_owned(),
            context_tokens: 8192,
            answer_tokens: None,
            batch: 64,
            timing: Timing::default(),
            faults: Vec::new(),
        }
    }
}

/// How long the work of an engine takes. A step of n sequences takes `step + (n - 1) × step_per_sequence`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Reading one token of a prompt; nothing else steps meanwhile.
    #[serde(with = "humantime_serde")]
    pub prefill_per_token: Duration,
    /// One token for one sequence.
    #[serde(with = "humantime_serde")]
    pub step: Duration,
    /// What each further sequence adds to a step.
    #[serde(with = "humantime_serde")]
    pub step_per_sequence: Duration,
}

impl Config {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = self.target.parse::<TargetName>() {
            problems.push(format!("engine.simulated.target: {error}"));
        }
        if !(1..=4096).contains(&self.batch) {
            problems.push("engine.simulated.batch: must be 1 to 4096".to_owned());
        }
        problems
    }
}

impl Timing {
    fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// Something that goes wrong with some requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests: each whose number is a multiple of this, counted from 1. 0: none.
    pub every: u64,
    /// After how many tokens.
    pub after_tokens: u32,
    /// What happens then.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// This generation fails; others go on.
    Fail,
    /// The engine dies, and with it every generation that runs. The next one starts it again.
    Lose,
    /// This generation stops without an end or an error: the channel closes.
    Truncate,
    /// This generation sends nothing more.
    Stall,
}

/// The simulated engine.
#[derive(Debug)]
pub struct SimulatedEngine {
    config: Config,
    description: TargetDescription,
    requests: AtomicU64,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

impl SimulatedEngine {
    /// Starts the engine. Must be called inside a Tokio runtime; its batch ends when it is dropped.
    pub fn new(config: Config) -> Self {
        let (arrivals, queue) = mpsc::unbounded_channel();
        tokio::spawn(batch::run(config.batch, config.timing, queue));
        let abilities = [Ability::Sampling, Ability::Seed, Ability::Stop];
        let description = TargetDescription {
            target: config.target.clone(),
            context_tokens: config.context_tokens,
            abilities: abilities.into_iter().map(i32::from).collect(),
            engine_fingerprint: "simulated-1".to_owned(),
        };
        Self { config, description, requests: AtomicU64::new(0), arrivals }
    }

    fn fault(&self) -> Option<Fault> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.config.faults.iter().copied().find(|fault| fault.every > 0 && number.is_multiple_of(fault.every))
    }
}

impl Engine for SimulatedEngine {
    fn description(&self) -> &TargetDescription {
        &self.description
    }

    fn max_concurrent(&self) -> usize {
        self.config.batch
    }

    fn count_prompt_tokens<'a>(
        &'a self,
        request: &'a Valid<GenerateRequest>,
    ) -> BoxFuture<'a, Result<u32, EngineError>> {
        async { Ok(sequence::count_prompt_tokens(request)) }.boxed()
    }

    fn generate(&self, job: Job) -> BoxFuture<'_, Result<Generation, EngineError>> {
        let sequence = Sequence::new(&job, self.config.answer_tokens, self.fault());
        let generation = if self.config.timing.is_zero() {
            stream::unfold(Some(sequence), run_alone).boxed()
        } else {
            self.join_batch(sequence, &job)
        };
        async { Ok(generation) }.boxed()
    }
}

impl SimulatedEngine {
    fn join_batch(&self, sequence: Sequence, job: &Job) -> Generation {
        // Room for every event: the batch never waits for a reader.
        let (events, reader) = mpsc::channel(job.max_output_tokens as usize + 2);
        let arrival = Arrival { sequence, prompt_tokens: job.prompt_tokens, events };
        match self.arrivals.send(arrival) {
            Ok(()) => stream::unfold(reader, async |mut reader| Some((reader.recv().await?, reader))).boxed(),
            Err(_) => stream::iter([Err(EngineError::Lost { detail: "the batch is gone".to_owned() })]).boxed(),
        }
    }
}

/// Runs a sequence as fast as it is read.
async fn run_alone(sequence: Option<Sequence>) -> Option<(Result<crate::Event, EngineError>, Option<Sequence>)> {
    let mut sequence = sequence?;
    match sequence.step() {
        Step::Event(event) => Some((Ok(event), Some(sequence))),
        Step::Fail => Some((Err(EngineError::Failed { detail: "a fault on schedule".to_owned() }), None)),
        Step::Lose => Some((Err(EngineError::Lost { detail: "a fault on schedule".to_owned() }), None)),
        Step::Stall => std::future::pending().await,
        Step::End => None,
    }
}

#[cfg(test)]
mod tests;
