use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Notices when any of some files changes. It looks, and waits for no event: of a file that is reached through links,
/// as those of a Kubernetes secret are, nothing tells.
#[derive(Debug)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    seen: Option<Stamps>,
}

/// What changes when a file does, through links too: who replaces it keeps none of these.
type Stamps = Vec<Option<(SystemTime, u64, u64)>>;

impl FileWatch {
    /// Watches from now on: what changes later is noticed. It blocks while it looks.
    pub fn from_now(paths: Vec<PathBuf>) -> Self {
        let seen = Some(stamps(&paths));
        Self { paths, seen }
    }

    /// Has seen nothing yet: the first look notices the files as they are.
    pub fn unseen(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: None }
    }

    /// Looks, and returns whether any file is another than at the last look.
    pub async fn look(&mut self) -> bool {
        let paths = self.paths.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || stamps(&paths)).await else { return false };
        let now = Some(now);
        std::mem::replace(&mut self.seen, now.clone()) != now
    }

    /// Waits until a look notices a change.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.look().await {
                return;
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::FileWatch;

    #[tokio::test]
    async fn what_is_written_replaced_and_removed_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other, link) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("link"));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&other, "1").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut watch = FileWatch::from_now(vec![link.clone()]);
        let changes: [&dyn Fn(); 3] = [
            &|| std::fs::write(&one, "12").unwrap(),
            &|| {
                std::fs::remove_file(&link).unwrap();
                std::os::unix::fs::symlink(&other, &link).unwrap();
            },
            &|| std::fs::remove_file(&other).unwrap(),
        ];
        assert!(!watch.look().await);
        for change in changes {
            change();
            assert!(watch.look().await);
            assert!(!watch.look().await);
        }
        assert!(FileWatch::unseen(vec![one]).look().await);
    }
}
