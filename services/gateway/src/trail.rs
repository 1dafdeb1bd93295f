//! How a request came to its answer: the decision, the policy, the attempts. Whatever becomes of a request, and
//! wherever it is answered, every response tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use pointsman_proto::inference::v1::{Attempt, AttemptKind};
use pointsman_proto::metadata::{ATTEMPTS, DECISION_ID, POLICY_REVISION, REPEATED};
use tokio::time::Instant;

use crate::frame_log::Reader;

/// What is known so far. Shared by the surface, which tells it in headers and trailers, and by whoever finds it out.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Empty: none was made.
    decision_id: Arc<str>,
    /// Empty: there is no policy.
    policy_revision: Arc<str>,
    /// Oldest first.
    attempts: Vec<Record>,
    /// The attempts as another gateway tells them.
    told: Option<String>,
    /// Whether an answer is given that was asked for before.
    is_repeated: bool,
    /// The trail of the request that made this answer. It follows none itself.
    first: Option<Arc<Trail>>,
}

impl Trail {
    /// A decision is being made, by this policy.
    pub(crate) fn deciding(&self, decision_id: Arc<str>, policy_revision: &Arc<str>) {
        let mut known = self.lock();
        known.decision_id = decision_id;
        known.policy_revision = Arc::clone(policy_revision);
    }

    /// The answer is one that was asked for before.
    pub(crate) fn repeat(&self) {
        self.lock().is_repeated = true;
    }

    /// The answer is one that was asked for before, and this reads it.
    pub(crate) fn repeating(&self, reader: Reader) -> Reader {
        self.repeat();
        self.follow(reader.trail());
        reader
    }

    /// The answer is that of another request, whose trail this is.
    pub(crate) fn follow(&self, first: &Arc<Trail>) {
        self.lock().first = Some(Arc::clone(first));
    }

    /// Another gateway answers: these are its headers, or its trailers.
    pub(crate) fn told(&self, metadata: &HeaderMap) {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let mut known = self.lock();
        if let Some(id) = text(DECISION_ID) {
            known.decision_id = id.into();
        }
        if let Some(revision) = text(POLICY_REVISION) {
            known.policy_revision = revision.into();
        }
        if let Some(line) = text(ATTEMPTS) {
            known.told = Some(line.to_owned());
        }
        known.is_repeated |= text(REPEATED) == Some("true");
    }

    /// Gives each header and its value.
    pub(crate) fn each(&self, mut put: impl FnMut(&'static str, &str)) {
        let known = self.lock();
        if known.is_repeated {
            put(REPEATED, "true");
        }
        match &known.first {
            Some(first) => first.lock().each(put),
            None => known.each(put),
        }
    }

    /// Returns the attempts in one line: `{target}@{instance} {outcome} {milliseconds}ms`, separated by
    /// commas. `None` if there was none.
    pub(crate) fn line(&self) -> Option<String> {
        let known = self.lock();
        match &known.first {
            Some(first) => first.lock().line(),
            None => known.line(),
        }
    }

    pub(crate) fn messages(&self) -> Vec<Attempt> {
        self.lock().attempts.iter().map(Record::to_message).collect()
    }

    /// Adds an attempt; its number is that of the attempts before it. A later one was none.
    pub(crate) fn add(&self, number: usize, record: Record) {
        let mut known = self.lock();
        known.attempts.truncate(number);
        known.attempts.push(record);
    }

    /// Notes how an attempt ended, and returns what is known of it.
    pub(crate) fn end(&self, number: usize, outcome: &'static str) -> Option<Record> {
        let mut known = self.lock();
        let record = known.attempts.get_mut(number)?;
        record.end = Some((outcome, record.begin.elapsed()));
        Some(record.clone())
    }

    /// Target and instance of the newest attempt that runs.
    pub(crate) fn running(&self) -> Option<(Arc<str>, Arc<str>)> {
        let known = self.lock();
        let running = known.attempts.iter().rev().find(|record| record.end.is_none())?;
        Some((Arc::clone(&running.target), Arc::clone(&running.instance)))
    }

    /// Target and instance of the attempt that was answered last.
    pub(crate) fn answered_by(&self) -> Option<(Arc<str>, Arc<str>)> {
        let known = self.lock();
        let is_answer = |record: &&Record| record.end.is_some_and(|(outcome, _)| outcome == "FINISHED");
        let answered = known.attempts.iter().rev().find(is_answer)?;
        Some((Arc::clone(&answered.target), Arc::clone(&answered.instance)))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn each(&self, mut put: impl FnMut(&'static str, &str)) {
        if !self.decision_id.is_empty() {
            put(DECISION_ID, &self.decision_id);
        }
        if !self.policy_revision.is_empty() {
            put(POLICY_REVISION, &self.policy_revision);
        }
        if let Some(line) = self.line() {
            put(ATTEMPTS, &line);
        }
    }

    fn line(&self) -> Option<String> {
        if self.told.is_some() {
            return self.told.clone();
        }
        let line = |record: &Record| {
            let (outcome, duration) = record.state();
            format!("{}@{} {outcome} {}ms", record.target, record.instance, duration.as_millis())
        };
        (!self.attempts.is_empty()).then(|| self.attempts.iter().map(line).collect::<Vec<_>>().join(", "))
    }
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    target: Arc<str>,
    instance: Arc<str>,
    kind: AttemptKind,
    begin: Instant,
    pub(crate) start_time: SystemTime,
    /// `None` while it runs.
    end: Option<(&'static str, Duration)>,
}

impl Record {
    pub(crate) fn new(target: &Arc<str>, instance: &Arc<str>, kind: AttemptKind) -> Self {
        Self {
            target: Arc::clone(target),
            instance: Arc::clone(instance),
            kind,
            begin: Instant::now(),
            start_time: SystemTime::now(),
            end: None,
        }
    }

    /// How it ended, and after what time; or that it has not.
    fn state(&self) -> (&'static str, Duration) {
        self.end.unwrap_or_else(|| ("ANSWERING", self.begin.elapsed()))
    }

    pub(crate) fn to_message(&self) -> Attempt {
        let (outcome, duration) = self.state();
        Attempt {
            target: self.target.to_string(),
            instance: self.instance.to_string(),
            outcome: outcome.to_owned(),
            kind: self.kind.into(),
            duration: duration.try_into().ok(),
        }
    }
}
