//! The policy in force: read from its file, and again when that changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pointsman_policy::source::load;
use pointsman_policy::{CompiledPolicy, Unserved};
use pointsman_server::FileWatch;

use crate::fleet::Fleet;
use crate::metrics::Metrics;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many mistakes are logged of a file that is refused.
const LOGGED_MISTAKES: usize = 10;

/// The policy in force. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct InForce(Arc<RwLock<Arc<CompiledPolicy>>>);

impl InForce {
    /// Begins with the file's policy, or with none. Fails with the mistakes of the file, one on each line.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, String> {
        let policy = path.map_or_else(|| Ok(CompiledPolicy::none()), read).map_err(|mistakes| mistakes.join("\n"))?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(policy)))))
    }

    /// Returns the policy.
    pub(crate) fn get(&self) -> Arc<CompiledPolicy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the file for ever, and takes a changed one if it is right; a broken one changes nothing. Warns
    /// of targets that nobody in the fleet serves.
    pub(crate) async fn follow(self, path: Option<PathBuf>, fleet: Fleet, metrics: Metrics) {
        let Some(path) = path else { return std::future::pending().await };
        // Of no time yet: it may have changed since it was read, and the same policy again changes nothing.
        let mut file = FileWatch::unseen(vec![path.clone()]);
        let mut warned = Warned::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if file.look().await {
                self.take(&path, &metrics).await;
            }
            for unserved in warned.news(&self.get(), &fleet.view().fleet) {
                warn(&unserved);
            }
        }
    }

    async fn take(&self, path: &Path, metrics: &Metrics) {
        let file = path.to_owned();
        let loaded = tokio::task::spawn_blocking(move || read(&file)).await;
        match loaded.unwrap_or_else(|error| Err(vec![error.to_string()])) {
            Ok(policy) if policy.revision == self.get().revision => {}
            Ok(policy) => {
                tracing::info!(revision = &*policy.revision, "a new policy is in force");
                metrics.policy_taken(true);
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
            }
            Err(mistakes) => {
                let revision = &*self.get().revision;
                let mistakes = in_one_line(&mistakes);
                tracing::error!(%mistakes, revision, "the changed policy is refused; the last good one stays");
                metrics.policy_taken(false);
            }
        }
    }
}

/// Which targets of which policy were warned of.
#[derive(Debug, Default)]
struct Warned {
    /// The revisions of the policy and the fleet that were looked at last.
    seen: (Arc<str>, u64),
    /// Virtual models with a target.
    targets: BTreeSet<(String, String)>,
}

impl Warned {
    /// Returns what is to be warned of: targets that no instance serves, each once while a policy is in force.
    /// Not before every instance has said what it serves.
    fn news(&mut self, policy: &CompiledPolicy, fleet: &pointsman_policy::Fleet) -> BTreeSet<Unserved> {
        let now = (Arc::clone(&policy.revision), fleet.revision);
        if fleet.incomplete || self.seen == now {
            return BTreeSet::new();
        }
        if self.seen.0 != now.0 {
            self.targets.clear();
        }
        self.seen = now;
        let mut unserved = policy.unserved(fleet);
        unserved.retain(|one| self.targets.insert((one.virtual_model.clone(), one.target.clone())));
        unserved
    }
}

fn warn(unserved: &Unserved) {
    let meant = unserved.near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let (virtual_model, target_name) = (&*unserved.virtual_model, &*unserved.target);
    tracing::warn!(virtual_model, target_name, "the policy names a target that no instance serves{meant}");
}

/// The first mistakes, and how many more there are.
fn in_one_line(mistakes: &[String]) -> String {
    let told = mistakes.iter().take(LOGGED_MISTAKES).map(|mistake| mistake.replace('\n', " "));
    let mut told: Vec<String> = told.collect();
    if mistakes.len() > told.len() {
        told.push(format!("and {} more", mistakes.len() - told.len()));
    }
    told.join("; ")
}

/// Reads a policy file. Fails with its mistakes.
pub(crate) fn read(path: &Path) -> Result<CompiledPolicy, Vec<String>> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{file}: cannot be read: {error}")])?;
    load(&text).map_err(|mistakes| mistakes.iter().map(|mistake| format!("{file}:{mistake}")).collect())
}

#[cfg(test)]
mod tests {
    use pointsman_policy::Fleet;
    use pointsman_policy::source::load;
    use pointsman_proto::inference::v1::TargetDescription;

    use super::{LOGGED_MISTAKES, Warned, in_one_line};

    #[test]
    fn an_unserved_target_is_warned_of_once_for_a_policy() {
        let policy = |targets: &str| {
            load(&format!("virtual_models: [{{name: chat, rules: [{{name: all, targets: [{targets}]}}]}}]")).unwrap()
        };
        let mut revision = 0;
        let mut fleet = |incomplete, targets: &[&str]| {
            revision += 1;
            let mut fleet = Fleet::new(revision, incomplete);
            for target in targets {
                fleet.add(&TargetDescription { target: (*target).into(), ..TargetDescription::default() }, "");
            }
            fleet
        };
        let mut warned = Warned::default();
        let mut news = |policy, fleet: Fleet| {
            let told = warned.news(policy, &fleet);
            told.into_iter().map(|unserved| unserved.target).collect::<Vec<_>>()
        };
        let nothing: [&str; 0] = [];
        let first = policy("{target: a}, {target: b}");
        // An instance that was not asked yet may serve both.
        assert_eq!(news(&first, fleet(true, &[])), nothing);
        assert_eq!(news(&first, fleet(false, &["models/b/versions/1"])), ["a"]);
        assert_eq!(news(&first, fleet(false, &["models/b/versions/1"])), nothing);
        assert_eq!(news(&first, fleet(false, &[])), ["b"]);
        assert_eq!(news(&first, fleet(false, &["models/a/versions/1"])), nothing);
        let second = policy("{target: a}, {target: c}");
        assert_eq!(news(&second, fleet(false, &[])), ["a", "c"]);
        assert_eq!(news(&second, fleet(false, &[])), nothing);
    }

    #[test]
    fn mistakes_stand_in_one_line() {
        let mistakes = |count: usize| (0..count).map(|number| format!("{number}\nx")).collect::<Vec<_>>();
        assert_eq!(in_one_line(&mistakes(2)), "0 x; 1 x");
        assert!(in_one_line(&mistakes(LOGGED_MISTAKES)).ends_with("; 9 x"));
        assert!(in_one_line(&mistakes(LOGGED_MISTAKES + 3)).ends_with("; 9 x; and 3 more"));
    }
}
