//! The targets of a worker, each with an engine, slots and a queue of its own.

use std::sync::Arc;

use pointsman_proto::inference::v1::TargetDescription;
use pointsman_types::TargetName;

use crate::service::Worker;

/// At least one target, in the order of the configuration.
pub(crate) struct Targets {
    first: Arc<Worker>,
    others: Vec<Arc<Worker>>,
}

impl Targets {
    pub(crate) fn new(first: Worker, others: impl IntoIterator<Item = Worker>) -> Self {
        Self { first: Arc::new(first), others: others.into_iter().map(Arc::new).collect() }
    }

    /// Returns who serves a target's resource name, or its model's; of several versions, the first. Whatever else
    /// is asked for goes to the first target, which refuses it.
    pub(crate) fn named(&self, name: &str) -> &Arc<Worker> {
        self.all().find(|worker| serves(worker.engine.description(), name)).unwrap_or(&self.first)
    }

    /// Describes every target, those too that are unavailable now.
    pub(crate) fn describe(&self) -> Vec<TargetDescription> {
        let describe = |worker: &Arc<Worker>| TargetDescription {
            unavailable: !worker.health.works(),
            ..worker.engine.description().clone()
        };
        self.all().map(describe).collect()
    }

    /// Returns what all targets have in common.
    pub(crate) fn first(&self) -> &Arc<Worker> {
        &self.first
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Worker>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Whether a name means this target: its resource name, or its model's.
pub(crate) fn serves(description: &TargetDescription, name: &str) -> bool {
    let target = &description.target;
    target == name || target.parse::<TargetName>().is_ok_and(|target| target.model() == name)
}
