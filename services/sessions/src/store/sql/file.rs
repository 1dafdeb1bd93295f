//! The file of an SQLite database.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;

use super::failure;
use crate::store::StoreError;

/// Makes the file where it may be made, and marks it as one that this process works with, until that is dropped.
pub(super) fn open(url: &str) -> Result<Option<File>, StoreError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Ok(None);
    }
    let options: SqliteConnectOptions = url.parse().map_err(failure)?;
    let file = options.get_filename();
    if url.contains("mode=rwc") {
        make(file).map_err(|error| StoreError::Failed(error.into()))?;
    } else if !file.exists() {
        let message =
            format!("there is no file {}; add `?mode=rwc` to the URL, and it is made with its folder", file.display());
        return Err(StoreError::Failed(message.into()));
    }
    Ok(mark(file))
}

/// Makes a file and its folder, which nobody else on the machine may read.
fn make(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(file).map(drop)
}

/// Warns where another process works with the file, too: what is committed is safe, but leases are in memory, so that a turn
/// does not wait for one that runs there.
fn mark(file: &Path) -> Option<File> {
    // Beside it: SQLite's own locks end when any descriptor of the file itself is closed.
    let mut name = file.as_os_str().to_owned();
    name.push("-lock");
    let mark = OpenOptions::new().create(true).append(true).mode(0o600).open(&name).ok()?;
    match mark.try_lock() {
        Err(TryLockError::WouldBlock) => {
            tracing::warn!(
                file = %file.display(),
                "another process keeps conversations in the same file: turns of one session do not wait for each other, \
                 and the later one is refused with TURN_CONFLICT; give each process a `--data-dir` of its own, or both PostgreSQL"
            );
            None
        }
        Err(TryLockError::Error(_)) => None,
        Ok(()) => Some(mark),
    }
}

#[cfg(test)]
mod tests {
    use super::open;

    #[test]
    fn a_file_is_made_where_the_url_says_so_and_marked_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/sessions.db");
        let url = format!("sqlite://{}", file.display());
        let told = open(&url).unwrap_err();
        assert!(std::error::Error::source(&told).unwrap().to_string().contains("add `?mode=rwc`"), "{told:?}");
        let made = format!("{url}?mode=rwc");
        let first = open(&made).unwrap();
        assert!(first.is_some() && file.exists());
        assert!(open(&url).unwrap().is_none(), "another has it");
        drop(first);
        assert!(open(&url).unwrap().is_some());
        assert!(open("sqlite::memory:").unwrap().is_none());
    }
}
