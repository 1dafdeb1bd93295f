//! The policy in force: read from its file, and again when that changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use pointsman_policy::CompiledPolicy;
use pointsman_policy::source::load;

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
        let policy = path.map_or_else(|| Ok(CompiledPolicy::none()), read)?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(policy)))))
    }

    /// Returns the policy.
    pub(crate) fn get(&self) -> Arc<CompiledPolicy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the file for ever, and takes a changed one if it is right; a broken one changes nothing.
    pub(crate) async fn follow(self, path: Option<PathBuf>, metrics: Metrics) {
        let Some(path) = path else { return std::future::pending().await };
        // Of no time yet: it may have changed since it was read, and the same policy again changes nothing.
        let mut seen = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = stamp(&path).await;
            if now == seen {
                continue;
            }
            seen = now;
            let file = path.clone();
            let loaded = tokio::task::spawn_blocking(move || read(&file)).await;
            match loaded.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(policy) if policy.revision == self.get().revision => {}
                Ok(policy) => {
                    tracing::info!(revision = &*policy.revision, "a new policy is in force");
                    metrics.policy_taken(true);
                    *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
                }
                Err(mistakes) => {
                    let revision = &*self.get().revision;
                    tracing::error!(mistakes, revision, "the changed policy is refused; the last good one stays");
                    metrics.policy_taken(false);
                }
            }
        }
    }
}

/// Reads a policy file. Fails with its mistakes, one on each line.
pub(crate) fn read(path: &Path) -> Result<CompiledPolicy, String> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: cannot be read: {error}"))?;
    load(&text).map_err(|mistakes| {
        let lines: Vec<String> =
            mistakes.iter().take(LOGGED_MISTAKES).map(|mistake| format!("{file}:{mistake}")).collect();
        lines.join("\n")
    })
}

/// What changes when a file does, through links too: who replaces it keeps none of these.
async fn stamp(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
