//! What is kept of the attempts at a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_policy::Decision;
use pointsman_proto::inference::v1::{Attempt, AttemptKind};
use pointsman_proto::ledger::v1::UsageRecord;
use tokio::time::Instant;

use super::Order;
use super::call::Call;
use super::machine::{Number, Outcome};

/// The attempts at a request, oldest first. Shared with the surface, which tells them in headers and trailers.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Vec<Record>>);

impl Trail {
    /// Returns the attempts in one line: `{target}@{instance} {outcome} {milliseconds}ms`, separated by
    /// commas. `None` if there was none.
    pub(crate) fn line(&self) -> Option<String> {
        let records = self.lock();
        let line = |record: &Record| {
            let (outcome, duration) = record.state();
            format!("{}@{} {outcome} {}ms", record.target, record.instance, duration.as_millis())
        };
        (!records.is_empty()).then(|| records.iter().map(line).collect::<Vec<_>>().join(", "))
    }

    pub(super) fn messages(&self) -> Vec<Attempt> {
        self.lock().iter().map(Record::to_message).collect()
    }

    /// Adds an attempt; its number is that of the records before it. A later one was none.
    pub(super) fn add(&self, number: Number, record: Record) {
        let mut records = self.lock();
        records.truncate(number);
        records.push(record);
    }

    /// Notes how an attempt ended, and returns what is known of it.
    pub(super) fn end(&self, number: Number, outcome: &Outcome) -> Option<Record> {
        let mut records = self.lock();
        let record = records.get_mut(number)?;
        record.end = Some((outcome.name(), record.begin.elapsed()));
        Some(record.clone())
    }

    /// Target and instance of the newest attempt that runs.
    pub(super) fn running(&self) -> Option<(Arc<str>, Arc<str>)> {
        let records = self.lock();
        let running = records.iter().rev().find(|record| record.end.is_none())?;
        Some((Arc::clone(&running.target), Arc::clone(&running.instance)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt.
#[derive(Clone, Debug)]
pub(super) struct Record {
    target: Arc<str>,
    instance: Arc<str>,
    kind: AttemptKind,
    begin: Instant,
    start_time: SystemTime,
    /// `None` while it runs.
    end: Option<(&'static str, Duration)>,
}

impl Record {
    pub(super) fn new(target: &Arc<str>, instance: &Arc<str>, kind: AttemptKind) -> Self {
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

    fn to_message(&self) -> Attempt {
        let (outcome, duration) = self.state();
        Attempt {
            target: self.target.to_string(),
            instance: self.instance.to_string(),
            outcome: outcome.to_owned(),
            kind: self.kind.into(),
            duration: duration.try_into().ok(),
        }
    }

    /// What the ledger is to know of the attempt.
    pub(super) fn usage(&self, number: Number, order: &Order, call: &Call) -> UsageRecord {
        let (context, decision) = (&order.context, &order.decision);
        UsageRecord {
            attempt_id: attempt_id(decision, number),
            request_id: order.request.request_id.clone(),
            tenant: context.tenant.clone(),
            key: context.key.clone(),
            model: order.request.model.clone(),
            decision_id: context.decision_id.clone(),
            policy_revision: decision.policy_revision.to_string(),
            attempt: Some(self.to_message()),
            start_time: Some(self.start_time.into()),
            usage: call.usage,
            pieces: call.pieces,
            since_accept: order.accept.elapsed().try_into().ok(),
        }
    }
}

/// Names an attempt: `{decision id}-{number}`, from 1. Not by the request's id, which its caller may give again.
pub(super) fn attempt_id(decision: &Decision, number: Number) -> String {
    format!("{}-{}", decision.id(), number + 1)
}

impl Outcome {
    /// `FINISHED`, `LOST_RACE`, or the reason of an error.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::LostRace => "LOST_RACE",
            Self::Failed(error) | Self::Stopped(error) => error.reason().name(),
        }
    }
}

/// The error of an extra attempt that would be one too many. The caller gets the error before it.
pub(super) fn over_budget(target: &str) -> Error {
    let message = format!("{target} fails too much for another attempt; try again later");
    Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1))
}
