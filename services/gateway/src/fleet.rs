//! The instances that this gateway knows, what they serve, and how they fare.

mod breaker;
mod budget;
mod cooling;
mod instance;
mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pointsman_client::Channel;
#[cfg(test)]
use pointsman_policy::pick;
use pointsman_proto::inference::v1::{DescribeResponse, TargetDescription};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

pub(crate) use instance::{Instance, Picked};
pub(crate) use view::{Asking, View};

use budget::Spending;
use cooling::Cooling;
use view::Member;

/// What is known of the fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instances: Vec<Arc<Instance>>,
    /// What each instance said of itself, in the order of `instances`.
    states: Mutex<States>,
    view: RwLock<Arc<View>>,
    /// The fleet's clock counts from here.
    begin: Instant,
    /// Whether every instance was tried once, and that it comes to be so.
    looked: AtomicBool,
    looks: Notify,
}

#[derive(Debug, Default)]
struct States {
    instances: Vec<State>,
    revision: u64,
    /// By target: outlives the instances' changes.
    kept: HashMap<Box<str>, Kept>,
}

/// What is kept of a target.
#[derive(Debug)]
struct Kept {
    extras: Arc<Extras>,
    /// In the order of the instances.
    cooling: Vec<Arc<Cooling>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// `None` until it was described.
    targets: Option<Vec<TargetDescription>>,
    zone: Box<str>,
    ready: bool,
    tried: bool,
}

/// How long a request waits for the first look at the instances, after a start.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What has come of something that an instance said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Whether any instance is ready.
    pub(crate) ready: bool,
    /// Whether other targets than before can be served.
    pub(crate) offers: bool,
}

/// What was spent on a target, beside its requests.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) retries: Spending,
    pub(crate) hedges: Spending,
}

impl Fleet {
    pub(crate) fn new(instances: Vec<(String, Channel)>) -> Self {
        let instances: Vec<Arc<Instance>> =
            instances.into_iter().map(|(name, channel)| Arc::new(Instance::new(&name, channel))).collect();
        let states = States { instances: vec![State::default(); instances.len()], ..States::default() };
        let begin = Instant::now();
        let (looked, looks) = (AtomicBool::new(instances.is_empty()), Notify::new());
        let inner = Inner { instances, states: Mutex::new(states), view: RwLock::default(), begin, looked, looks };
        inner.publish(&mut inner.states.lock().unwrap_or_else(PoisonError::into_inner));
        Self(Arc::new(inner))
    }

    pub(crate) fn instances(&self) -> &[Arc<Instance>] {
        &self.0.instances
    }

    /// What is known now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until every instance was tried once: a gateway that has just started knows nobody yet, which is no
    /// reason to refuse anything. Not for long: one that hangs holds up the first requests only.
    pub(crate) async fn first_look(&self) {
        let Inner { looked, looks, .. } = &*self.0;
        let look = async {
            loop {
                let next = looks.notified();
                if looked.load(Ordering::Relaxed) {
                    return;
                }
                next.await;
            }
        };
        if !looked.load(Ordering::Relaxed) && timeout(FIRST_LOOK, look).await.is_err() {
            looked.store(true, Ordering::Relaxed);
        }
    }

    /// Milliseconds on the fleet's clock. Begins at 1, since 0 means never.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.0.begin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Notes what an instance says of itself, and that it is ready.
    pub(crate) fn describe(&self, index: usize, described: DescribeResponse) -> Change {
        self.change(index, |state| {
            state.targets = Some(described.targets);
            state.zone = described.zone.into();
            state.ready = true;
        })
    }

    /// Notes that an instance is not ready. What it served is still known while it is away: the model is
    /// then not ready, not unknown.
    pub(crate) fn unready(&self, index: usize) -> Change {
        self.change(index, |state| state.ready = false)
    }

    /// Whether an instance is kept from requests for any of its targets.
    #[cfg(test)]
    pub(crate) fn state(&self, index: usize, now: u64) -> pick::State {
        let states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.instances[index].breaker.is_open(now) {
            pick::State::Broken
        } else if states.kept.values().any(|kept| kept.cooling[index].until(now).is_some()) {
            pick::State::Cooling
        } else {
            pick::State::Ready
        }
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut State)) -> Change {
        let mut states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut states.instances[index]);
        states.instances[index].tried = true;
        // Under the lock, so that no older view comes after a newer one.
        let offers = self.0.publish(&mut states);
        if !self.0.looked.load(Ordering::Relaxed) && states.instances.iter().all(|state| state.tried) {
            self.0.looked.store(true, Ordering::Relaxed);
            self.0.looks.notify_waiters();
        }
        Change { ready: states.instances.iter().any(|state| state.ready), offers }
    }
}

impl Inner {
    /// Returns whether other targets than before can be served.
    fn publish(&self, states: &mut States) -> bool {
        states.revision += 1;
        let incomplete = states.instances.iter().any(|state| state.targets.is_none());
        let mut view = View::new(states.revision, incomplete);
        for (index, (instance, state)) in self.instances.iter().zip(&states.instances).enumerate() {
            for description in state.targets.iter().flatten() {
                let new = || Kept {
                    extras: Arc::default(),
                    cooling: self.instances.iter().map(|_| Arc::default()).collect(),
                };
                let kept = states.kept.entry(description.target.as_str().into()).or_insert_with(new);
                let member = || Member {
                    instance: Arc::clone(instance),
                    zone: state.zone.clone(),
                    cooling: Arc::clone(&kept.cooling[index]),
                };
                view.add(description, &state.zone, state.ready.then(member), &kept.extras);
            }
        }
        // Those of targets that are gone for good would grow without end.
        states.kept.retain(|target, _| view.knows(target));
        let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let changed = !current.offers().eq(view.offers());
        *current = Arc::new(view);
        changed
    }
}

#[cfg(test)]
mod tests;
