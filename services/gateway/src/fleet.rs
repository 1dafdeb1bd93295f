//! The instances that this gateway knows, what they serve, and how much it has sent to each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pointsman_client::Channel;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::TargetDescription;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_types::TargetName;

/// One live process that serves targets.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Its configured name.
    pub(crate) name: String,
    /// How it is spoken to.
    pub(crate) channel: Channel,
    in_flight: AtomicUsize,
}

impl Instance {
    /// A client of it. Answers are as large as the model makes them: the instance bounds them.
    pub(crate) fn client(&self) -> InferenceServiceClient<Channel> {
        InferenceServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }
}

/// What is known of the fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    instances: Arc<[Arc<Instance>]>,
    /// What each instance said of itself, in the order of `instances`.
    states: Arc<Mutex<Vec<State>>>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    /// Where the next search for the least busy instance begins, so that ties are shared.
    turn: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// `None` until it was described.
    targets: Option<Vec<TargetDescription>>,
    ready: bool,
}

/// What is looked up for each request; made anew when something changes.
#[derive(Debug, Default)]
struct Snapshot {
    /// By resource name.
    targets: BTreeMap<String, Arc<Target>>,
    /// By model name: the target of the first instance, in the order of configuration, that serves the model.
    models: BTreeMap<String, Arc<Target>>,
    /// Whether some instance was never described.
    incomplete: bool,
}

/// A model version in the fleet.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) description: TargetDescription,
    /// The instances that serve it and are ready.
    instances: Vec<Arc<Instance>>,
}

impl Fleet {
    pub(crate) fn new(instances: Vec<(String, Channel)>) -> Self {
        let instances: Arc<[Arc<Instance>]> = instances
            .into_iter()
            .map(|(name, channel)| Arc::new(Instance { name, channel, in_flight: AtomicUsize::new(0) }))
            .collect();
        let states = vec![State::default(); instances.len()];
        let fleet = Self { states: Arc::default(), snapshot: Arc::default(), turn: Arc::default(), instances };
        fleet.publish(&states);
        *fleet.states.lock().unwrap_or_else(PoisonError::into_inner) = states;
        fleet
    }

    pub(crate) fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// Finds the target that a caller's name means.
    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Target>, Error> {
        let snapshot = self.snapshot();
        if let Some(target) = snapshot.models.get(name).or_else(|| snapshot.targets.get(name)) {
            return Ok(Arc::clone(target));
        }
        if snapshot.incomplete {
            let message = format!("no instance that serves `{name}` has been reached yet; try again");
            return Err(Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1)));
        }
        let known: Vec<&str> = snapshot.models.keys().map(String::as_str).collect();
        let message = format!("no model `{name}` is served here; there is {}", known.join(", "));
        Err(Error::new(Reason::ModelNotFound, message))
    }

    /// Picks the ready instance with the fewest requests of this gateway in flight, and counts one more.
    pub(crate) fn pick(&self, target: &Target) -> Result<Picked, Error> {
        let count = target.instances.len();
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let rotated = (0..count).map(|offset| &target.instances[(start.wrapping_add(offset)) % count]);
        match rotated.min_by_key(|instance| instance.in_flight.load(Ordering::Relaxed)) {
            Some(instance) => Ok(Picked::new(instance)),
            None => {
                let message = format!("no instance of {} is ready; try again", target.description.target);
                Err(Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1)))
            }
        }
    }

    /// Model names and the targets they mean now.
    pub(crate) fn models(&self) -> Vec<(String, Arc<Target>)> {
        let snapshot = self.snapshot();
        snapshot.models.iter().map(|(name, target)| (name.clone(), Arc::clone(target))).collect()
    }

    /// All targets.
    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        self.snapshot().targets.values().cloned().collect()
    }

    /// Notes what an instance said of itself. Returns whether any instance is ready now.
    pub(crate) fn set(&self, index: usize, targets: Option<Vec<TargetDescription>>, ready: bool) -> bool {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states[index].ready = ready;
        // What it served is still known while it is away: the model is then not ready, not unknown.
        if let Some(targets) = targets {
            states[index].targets = Some(targets);
        }
        // Under the lock, so that no older snapshot comes after a newer one.
        self.publish(&states);
        states.iter().any(|state| state.ready)
    }

    fn publish(&self, states: &[State]) {
        let mut found: BTreeMap<String, Target> = BTreeMap::new();
        let mut first: Vec<(String, String)> = Vec::new();
        for (instance, state) in self.instances.iter().zip(states.iter()) {
            for description in state.targets.iter().flatten() {
                let name = description.target.clone();
                if let Ok(parsed) = name.parse::<TargetName>() {
                    first.push((parsed.model().to_owned(), name.clone()));
                }
                let new = || Target { description: description.clone(), instances: Vec::new() };
                let target = found.entry(name).or_insert_with(new);
                if state.ready {
                    target.instances.push(Arc::clone(instance));
                }
            }
        }
        let targets: BTreeMap<String, Arc<Target>> =
            found.into_iter().map(|(name, target)| (name, Arc::new(target))).collect();
        let mut models = BTreeMap::new();
        for (model, name) in first {
            if let Some(target) = targets.get(&name) {
                models.entry(model).or_insert_with(|| Arc::clone(target));
            }
        }
        let incomplete = states.iter().any(|state| state.targets.is_none());
        let snapshot = Arc::new(Snapshot { targets, models, incomplete });
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request in flight to an instance, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Picked(Arc<Instance>);

impl Picked {
    fn new(instance: &Arc<Instance>) -> Self {
        instance.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(instance))
    }
}

impl std::ops::Deref for Picked {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use pointsman_client::{Config, remote};
    use pointsman_errors::Reason;
    use pointsman_proto::inference::v1::TargetDescription;

    use super::Fleet;

    fn fleet(count: usize) -> Fleet {
        let channel = || remote("http://127.0.0.1:1", &Config::default()).unwrap();
        Fleet::new((0..count).map(|index| (format!("w{index}"), channel())).collect())
    }

    fn serves(target: &str) -> Option<Vec<TargetDescription>> {
        Some(vec![TargetDescription { target: target.to_owned(), ..TargetDescription::default() }])
    }

    #[tokio::test]
    async fn requests_go_where_the_fewest_are() {
        let fleet = fleet(3);
        for index in 0..3 {
            fleet.set(index, serves("models/m/versions/1"), true);
        }
        let target = fleet.resolve("m").unwrap();
        let mut picked: Vec<_> = (0..30).map(|_| fleet.pick(&target).unwrap()).collect();
        let count = |picked: &[super::Picked], name: &str| picked.iter().filter(|one| one.name == name).count();
        assert_eq!(["w0", "w1", "w2"].map(|name| count(&picked, name)), [10, 10, 10]);
        picked.retain(|one| one.name != "w1");
        let next: Vec<_> = (0..10).map(|_| fleet.pick(&target).unwrap()).collect();
        assert_eq!(count(&next, "w1"), 10, "the ten that ended make room at w1");
    }

    #[tokio::test]
    async fn what_is_away_is_known_and_what_is_unknown_is_said() {
        let fleet = fleet(2);
        let reason = |name: &str| match fleet.resolve(name).and_then(|target| fleet.pick(&target)) {
            Ok(picked) => picked.name.clone(),
            Err(error) => error.reason().to_string(),
        };
        assert_eq!(reason("m"), Reason::NoInstanceReady.name(), "nobody was asked yet");
        fleet.set(0, serves("models/m/versions/1"), true);
        fleet.set(1, serves("models/m/versions/2"), true);
        assert_eq!(reason("m"), "w0");
        assert_eq!(reason("models/m/versions/2"), "w1");
        assert_eq!(reason("other"), Reason::ModelNotFound.name());
        fleet.set(0, None, false);
        assert_eq!(reason("models/m/versions/1"), Reason::NoInstanceReady.name());
    }
}
