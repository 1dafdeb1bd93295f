//! An engine without a model: deterministic text, continuous batching, a timing model, faults on schedule.
//!
//! It answers `You said: …` with the caller's last words, so that a test can tell whose answer it reads, or
//! what a [`Script`] says. Its embeddings are made of a hash of each text: the same text gives the same vector of
//! length 1, and they say nothing of what texts mean.
//! All running sequences step together, as in a real engine; with the default timing of zero a sequence
//! runs as fast as it is read, which is what a benchmark of everything around it wants.

mod batch;
mod embedding;
mod plan;
mod prompt;
mod script;
mod sequence;
mod state;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{Ability, EmbedRequest, GenerateRequest, Priority, TargetDescription};
use pointsman_types::TargetName;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{Embedded, Engine, EngineError, Event, Generation, Job};
use batch::Arrival;
use plan::{Interruption, Pace, Plan};
use sequence::{Sequence, Step};
use state::Shared;

pub use embedding::Embeddings;
pub use script::{Mistake, Script};

/// How a simulated engine behaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The target that it serves. Default `models/simulated/versions/1`.
    pub target: String,
    /// The tenants that may use it. Default: none, which means all.
    pub tenants: Vec<String>,
    /// Tokens that prompt and answer may have together. Default 8,192.
    pub context_tokens: u32,
    /// Length of every answer in tokens. Default: as long as the answer is.
    pub answer_tokens: Option<u32>,
    /// Sequences that step together; more wait inside the engine. Default 64.
    pub batch: usize,
    /// How long things take. Default: no time.
    pub timing: Timing,
    /// The embeddings that it makes.
    pub embeddings: Embeddings,
    /// What goes wrong, and when. It comes before what a script says. Default: nothing.
    pub faults: Vec<Fault>,
    /// What is answered to whom: a YAML file, from the working directory. Default: every caller's last words.
    pub script: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: "models/simulated/versions/1".to_owned(),
            tenants: Vec::new(),
            context_tokens: 8192,
            answer_tokens: None,
            batch: 64,
            timing: Timing::default(),
            embeddings: Embeddings::default(),
            faults: Vec::new(),
            script: None,
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
        problems.extend(self.embeddings.problems());
        if self.script.is_some() && self.answer_tokens.is_some() {
            problems.push(
                "engine.simulated.answer_tokens: the script says how long answers are; leave one of the two out"
                    .to_owned(),
            );
        }
        problems.extend(self.read_script().err().unwrap_or_default());
        problems
    }

    /// Reads the script, if there is one; else returns everything that is wrong with it.
    pub fn read_script(&self) -> Result<Option<Script>, Vec<String>> {
        let Some(path) = &self.script else { return Ok(None) };
        let told = |what: String| format!("engine.simulated.script: {}: {what}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| vec![told(format!("cannot be read: {error}"))])?;
        let script = Script::parse(&text);
        script.map(Some).map_err(|mistakes| mistakes.iter().map(|mistake| told(mistake.to_string())).collect())
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
    /// The engine hangs: nothing comes any more, for anybody.
    Hang,
    /// The device breaks: from now on everything fails.
    Break,
}

/// The simulated engine.
#[derive(Debug)]
pub struct SimulatedEngine {
    config: Config,
    description: TargetDescription,
    requests: AtomicU64,
    arrivals: mpsc::UnboundedSender<Arrival>,
    script: Option<Script>,
    state: Shared,
}

impl SimulatedEngine {
    /// Starts the engine. Must be called inside a Tokio runtime; its batch ends when it is dropped.
    pub fn new(config: Config) -> Self {
        let (arrivals, queue) = mpsc::unbounded_channel();
        let state = Shared::default();
        tokio::spawn(batch::run(config.batch, config.timing, queue, state.clone()));
        let generates =
            [Ability::Sampling, Ability::Seed, Ability::Stop].into_iter().filter(|_| !config.embeddings.only);
        let description = TargetDescription {
            target: config.target.clone(),
            context_tokens: config.context_tokens,
            abilities: generates.chain(config.embeddings.abilities()).map(i32::from).collect(),
            engine_fingerprint: "simulated-1".to_owned(),
            embeds_only: config.embeddings.only,
            embedding_dimensions: config.embeddings.width,
            tenants: config.tenants.clone(),
            ..TargetDescription::default()
        };
        Self { config, description, requests: AtomicU64::new(0), arrivals, script: None, state }
    }

    /// Answers as the script says.
    #[must_use]
    pub fn scripted(self, script: Script) -> Self {
        Self { script: Some(script), ..self }
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
        async {
            self.state.check().await?;
            Ok(prompt::count_prompt_tokens(request))
        }
        .boxed()
    }

    fn generate(&self, job: Job) -> BoxFuture<'_, Result<Generation, EngineError>> {
        let generation = self.plan(&job).map(|plan| self.run(plan, &job));
        async { generation }.boxed()
    }

    fn embed<'a>(&'a self, request: &'a Valid<EmbedRequest>) -> BoxFuture<'a, Result<Embedded, EngineError>> {
        let fault = self.fault();
        embedding::embed(request, &self.config, fault, &self.state).boxed()
    }
}

impl SimulatedEngine {
    fn plan(&self, job: &Job) -> Result<Plan, EngineError> {
        let fault = self.fault();
        let mut plan = match &self.script {
            Some(script) if !is_trial(job) => Plan { is_scripted: fault.is_none(), ..script.plan(&job.request)? },
            _ => Plan::echo(&job.request, self.config.answer_tokens),
        };
        plan.interruption = fault.map(Interruption::from).or(plan.interruption);
        Ok(plan)
    }

    fn run(&self, plan: Plan, job: &Job) -> Generation {
        let (pace, is_scripted) = (plan.pace, plan.is_scripted);
        let sequence = Sequence::new(plan, job);
        let generation = if self.config.timing.is_zero() {
            stream::unfold(Some((sequence, self.state.clone())), run_alone).boxed()
        } else {
            self.join_batch(sequence, job)
        };
        let generation = paced(generation, pace);
        if is_scripted { attended(generation) } else { generation }
    }

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

/// Whether this is a try of the worker itself ([`crate::try_out`]), which must use up no reply of a script.
/// A gateway gives every request an id.
fn is_trial(job: &Job) -> bool {
    job.request.priority() == Priority::System && job.request.request_id.is_empty()
}

/// Holds each event back for as long as the plan says, beside what the engine's own timing takes.
fn paced(generation: Generation, pace: Pace) -> Generation {
    if pace == Pace::default() {
        return generation;
    }
    let following = move |state: Option<(Generation, Duration)>| async move {
        let (mut generation, wait) = state?;
        let next = generation.next().await;
        tokio::time::sleep(wait).await;
        let goes_on = matches!(next, Some(Ok(Event::Delta { .. })));
        Some((next?, goes_on.then_some((generation, pace.per_piece))))
    };
    stream::unfold(Some((generation, pace.first_piece)), following).boxed()
}

/// Says every second that a silence is chosen.
fn attended(generation: Generation) -> Generation {
    let following = |mut generation: Generation| async move {
        match tokio::time::timeout(Duration::from_secs(1), generation.next()).await {
            Ok(event) => Some((event?, generation)),
            Err(_) => Some((Ok(Event::Alive), generation)),
        }
    };
    stream::unfold(generation, following).boxed()
}

/// A sequence that runs by itself, until it has ended.
type Alone = Option<(Sequence, Shared)>;

/// Runs a sequence as fast as it is read.
async fn run_alone(alone: Alone) -> Option<(Result<Event, EngineError>, Alone)> {
    let (mut sequence, state) = alone?;
    if let Err(error) = state.check().await {
        return Some((Err(error), None));
    }
    match sequence.step() {
        Step::Event(event) => Some((Ok(event), Some((sequence, state)))),
        Step::Error(error) => Some((Err(error), None)),
        Step::Lose => Some((Err(EngineError::Lost { detail: "a fault on schedule".to_owned() }), None)),
        Step::Stall => std::future::pending().await,
        Step::Fall(to) => {
            state.fall(to);
            state.check().await.err().map(|error| (Err(error), None))
        }
        Step::End => None,
    }
}

#[cfg(test)]
mod tests;
