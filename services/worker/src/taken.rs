//! A request that was taken: it has a place in the queue, and its caller knows.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, Either, FutureExt, Ready, ready};
use pointsman_engine::{EngineError, Job};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{GenerateRequest, Started};
use pointsman_proto::{Valid, abilities};
use pointsman_types::{TargetName, new_request_id};
use tokio::time::timeout;
use tracing::Instrument;

use crate::admission::Place;
use crate::error::{for_caller, of_silence, report, report_silence};
use crate::frames::Reader;
use crate::generation::{Begun, Generating};
use crate::operation::Operation;
use crate::probe::Round;
use crate::service::Worker;
use crate::targets::serves;
use crate::watchdog::Verdict;

/// How long a caller waits to hear that its request was taken. Counting its prompt is quick, unless the engine
/// is in the middle of something; then the rest of it comes after the word.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(100);

/// A request that was taken. Dropping it leaves the queue.
pub(crate) struct Taken {
    job: Either<Ready<Fitted>, BoxFuture<'static, Fitted>>,
    place: Place,
    accept_time: SystemTime,
}

/// A request as the engine gets it: its prompt counted, its answer bounded.
type Fitted = Result<Job, Error>;

impl Worker {
    /// Checks a request and takes a place for it. What is known at once to be wrong with it is refused here.
    pub(crate) async fn take(
        self: &Arc<Self>,
        message: GenerateRequest,
        accept_time: SystemTime,
    ) -> Result<Taken, Error> {
        let request = Valid::new(message).map_err(Error::invalid)?;
        self.check(&request)?;
        let place = self.admission.place()?;
        let worker = Arc::clone(self);
        let mut job = async move { worker.job(request).await }.boxed();
        let job = match timeout(ACKNOWLEDGE_WITHIN, &mut job).await {
            Ok(job) => Either::Left(ready(Ok(job?))),
            Err(_) => Either::Right(job),
        };
        Ok(Taken { job, place, accept_time })
    }

    /// Does what was asked for, to its end.
    pub(crate) async fn work(self: Arc<Self>, taken: Taken, mut operation: Operation, reader: Reader) {
        let span = operation.span().clone();
        match self.begin(taken, &reader).instrument(span).await {
            Ok(begun) => Generating::new(begun, self.health.clone(), operation).run(reader).await,
            Err(error) => {
                operation.failed(error.reason());
                drop(operation);
                // The reader is dropped only after this.
                let _ = reader.send(Err(error.into()));
            }
        }
    }

    /// Waits for a slot, and has the engine begin.
    async fn begin(&self, taken: Taken, reader: &Reader) -> Result<Begun, Error> {
        let Taken { job, mut place, accept_time } = taken;
        let job = job.await?;
        place.count(job.prompt_tokens, job.max_output_tokens, job.request.choice_count.unwrap_or(1));
        let mut started = self.started(&job.request.request_id, &job.request.model, accept_time);
        let slot = place.slot(job.request.priority()).instrument(tracing::info_span!("queue")).await;
        started.load = Some(self.loads.now());
        let prompt_tokens = job.prompt_tokens;
        let prefill = tracing::info_span!("prefill", gen_ai.usage.input_tokens = prompt_tokens);
        let round = self.health.round();
        let answers = job.request.choice_count.unwrap_or(1).max(1);
        let mut watch = self.watchdog.begin(prompt_tokens, answers);
        let events = tokio::select! {
            // Who hangs is asked nothing more.
            biased;
            verdict = watch.verdict() => return Err(self.condemned(verdict)),
            events = self.engine.generate(job).instrument(prefill.clone()) => events,
        };
        let events = events.map_err(|error| {
            // That is an event, too.
            watch.event();
            self.reported(&error, round)
        })?;
        self.metrics.input_tokens(prompt_tokens);
        // The reader is dropped only after this.
        let _ = reader.send(Ok(Body::Started(Box::new(started))));
        Ok(Begun { events, prefill, slot, watch, round })
    }

    /// Refuses what the engine does not serve, or lacks.
    pub(crate) fn check(&self, request: &GenerateRequest) -> Result<(), Error> {
        self.check_model(&request.model)?;
        let lacking = abilities::lacking(request, self.engine.description());
        if lacking.is_empty() { Ok(()) } else { Err(Error::unsupported(lacking)) }
    }

    /// Refuses another model than the engine's.
    pub(crate) fn check_model(&self, model: &str) -> Result<(), Error> {
        if serves(self.engine.description(), model) { Ok(()) } else { Err(self.unknown(model)) }
    }

    /// Refuses tenants whose target this is not, as if it was not there.
    pub(crate) fn admit(&self, model: &str, tenant: &str) -> Result<(), Error> {
        let tenants = &self.engine.description().tenants;
        let is_theirs = tenants.is_empty() || tenants.iter().any(|allowed| allowed == tenant);
        if is_theirs { Ok(()) } else { Err(self.unknown(model)) }
    }

    fn unknown(&self, model: &str) -> Error {
        let served = if self.served.is_empty() { "no such model".to_owned() } else { self.served.join(", ") + " only" };
        Error::new(Reason::ModelNotFound, format!("`{model}` is not served here: this worker serves {served}"))
    }

    /// Has the engine do something with one result, which may have so many tokens to read, and fails if that takes
    /// the engine too long.
    pub(crate) async fn watched<T>(&self, tokens: u32, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut watch = self.watchdog.begin(tokens, 1);
        let done = tokio::select! {
            // Who hangs is asked nothing more.
            biased;
            verdict = watch.verdict() => return Err(self.condemned(verdict)),
            done = work => done,
        };
        // An error is an event, too.
        watch.event();
        Ok(done)
    }

    /// Counts the prompt, and bounds the answer.
    async fn job(&self, request: Valid<GenerateRequest>) -> Fitted {
        let round = self.health.round();
        let counted = self.watched(0, self.engine.count_prompt_tokens(&request)).await?;
        let prompt_tokens = counted.map_err(|error| self.reported(&error, round))?;
        let wanted = request.limits.and_then(|limits| limits.max_output_tokens).unwrap_or(u32::MAX);
        let room = match self.engine.description().context_tokens {
            0 => u32::MAX,
            context_tokens if prompt_tokens >= context_tokens => {
                return Err(for_caller(&EngineError::ContextTooLong { prompt_tokens, context_tokens }));
            }
            context_tokens => context_tokens - prompt_tokens,
        };
        Ok(Job { request, prompt_tokens, max_output_tokens: wanted.min(room) })
    }

    pub(crate) fn started(&self, request_id: &str, model: &str, accept_time: SystemTime) -> Started {
        let description = self.engine.description();
        let request_id = match request_id {
            "" => new_request_id(),
            id => id.to_owned(),
        };
        let version = description.target.parse::<TargetName>().map(|target| target.version().to_owned());
        Started {
            request_id,
            accept_time: Some(accept_time.into()),
            model: model.to_owned(),
            target: description.target.clone(),
            version: version.unwrap_or_default(),
            instance: self.instance.clone(),
            engine_fingerprint: description.engine_fingerprint.clone(),
            ..Started::default()
        }
    }

    /// Handles an engine's error: the log gets the whole of it, the caller its own part.
    pub(crate) fn reported(&self, error: &EngineError, round: Round) -> Error {
        report(error, &self.health, round, &self.metrics);
        for_caller(error)
    }

    /// Says what the engine's silence is to a caller.
    pub(crate) fn condemned(&self, verdict: Verdict) -> Error {
        report_silence(verdict, &self.metrics);
        of_silence(verdict)
    }
}
