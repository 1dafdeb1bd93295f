use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::writer::Unsynced;
use super::{Folder, Kept, Spool, SpoolError, locked};

/// How much a power loss may cost at most, but for the time that a sync takes.
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(1);
/// What must fit on the disk before a spool that could not write is trusted again, in bytes.
const PROBE_BYTES: usize = 1 << 20;
const PROBE: &str = "probe";

impl Spool {
    /// Brings to the disk each [`SYNC_EVERY`] what was written since; never ends.
    ///
    /// Also what finds out that a disk works again: nothing else writes while new requests are refused.
    pub(crate) async fn keep_synced(self) {
        let mut ticks = tokio::time::interval(SYNC_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // An error was logged when it began, and the next round tries again.
            let _ = self.sync().await;
        }
    }

    /// Brings to the disk what was written until now: on return it outlives a power loss.
    pub(crate) async fn sync(&self) -> Result<(), SpoolError> {
        let folder = match &self.0 {
            Kept::InFolder(folder) if locked(&folder.writer).needs_sync() || folder.is_syncing() => folder.clone(),
            _ => return Ok(()),
        };
        match tokio::task::spawn_blocking(move || folder.sync()).await {
            Ok(synced) => synced,
            Err(error) => Err(SpoolError::Sync(io::Error::other(error))),
        }
    }
}

impl Folder {
    /// Whether a sync runs that may have taken what another would do.
    fn is_syncing(&self) -> bool {
        self.syncing.try_lock().is_err()
    }

    /// Blocks for the disk: milliseconds as a rule, and on a busy one seconds. Appends go on meanwhile.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        let _alone = locked(&self.syncing);
        let unsynced = locked(&self.writer).take_unsynced();
        let synced = unsynced.sync(&self.path).inspect_err(|_| locked(&self.writer).put_back(unsynced));
        let failing = locked(&self.writer).is_failing();
        let worked = synced.and_then(|()| if failing { self.try_again() } else { Ok(()) });
        let mut writer = locked(&self.writer);
        match worked {
            Ok(()) if failing => writer.works(),
            Ok(()) => {}
            Err(error) => {
                writer.failed(&error);
                return Err(SpoolError::Sync(error));
            }
        }
        Ok(())
    }

    /// Tries whether the disk takes records again.
    fn try_again(&self) -> io::Result<()> {
        locked(&self.writer).take_back()?;
        let tried = File::create(self.path.join(PROBE)).and_then(|mut file| {
            file.write_all(&vec![0xA5; PROBE_BYTES])?;
            file.sync_all()
        });
        remove_probe(&self.path);
        tried
    }
}

impl Unsynced {
    fn sync(&self, folder: &Path) -> io::Result<()> {
        for file in self.sealed.iter().chain(&self.live) {
            file.sync_data()?;
        }
        if self.folder { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

/// What a crash left of a try is in nobody's way but for its bytes.
pub(super) fn remove_probe(folder: &Path) {
    let _ = fs::remove_file(folder.join(PROBE));
}
