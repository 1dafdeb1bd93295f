use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::cursor::{self, Position};
use super::segment::{self, Damage, HEADER, MAGIC, Next, SegmentReader};
use super::{SpoolError, sync};

/// What a folder holds when it is opened.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Bytes of each segment by its first sequence number.
    pub(super) segments: BTreeMap<u64, u64>,
    /// The sequence number of the next record: none was given twice.
    pub(super) sequence: u64,
    /// Torn ends that were cut off.
    pub(super) torn: u64,
    pub(super) acknowledged: Option<Position>,
}

/// Makes the folder if it is missing, and locks it for as long as the file is open.
pub(super) fn lock(folder: &Path) -> Result<File, SpoolError> {
    let file = fs::create_dir_all(folder)
        .and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock")))
        .map_err(|source| SpoolError::Open { folder: folder.into(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse { folder: folder.into() }),
        Err(TryLockError::Error(source)) => Err(SpoolError::Open { folder: folder.into(), source }),
    }
}

/// Looks at what the last process left.
///
/// Only the last segment is read: those before it were whole when it was begun, and a power loss that took
/// their ends is come upon by the reader. It is not written to again, whatever it looks like: after a power
/// loss it may be shorter than what a ledger had acknowledged of it.
pub(super) fn recover(folder: &Path, damage: &Damage) -> Result<Recovered, SpoolError> {
    let failed = |source| SpoolError::Open { folder: folder.into(), source };
    let acknowledged = cursor::read(folder)?;
    let mut found = Recovered {
        segments: segment::list(folder).map_err(failed)?.into_iter().collect(),
        sequence: acknowledged.map_or(0, |position| position.sequence + 1),
        torn: 0,
        acknowledged,
    };
    sync::remove_probe(folder);
    if let Some((first, length)) = found.segments.pop_last() {
        let last = read_last(folder, first, length, damage).map_err(failed)?;
        found.sequence = found.sequence.max(last.sequence);
        found.torn = u64::from(last.torn);
        if last.length > 0 {
            found.segments.insert(first, last.length);
        }
    }
    Ok(found)
}

struct Last {
    /// 0 if it held no record and was removed.
    length: u64,
    /// The number of the record after its last.
    sequence: u64,
    torn: bool,
}

fn read_last(folder: &Path, first: u64, length: u64, damage: &Damage) -> io::Result<Last> {
    let path = segment::path(folder, first);
    let mut reader = SegmentReader::open(&path, 0)?;
    let mut sequence = first;
    let next = loop {
        match reader.next()? {
            Next::Record(_) => sequence += 1,
            other => break other,
        }
    };
    if next == Next::Damaged {
        damage.report(folder, first, &reader);
        // As many numbers as there can have been records, so that none is given twice.
        return Ok(Last { length, sequence: sequence + reader.rest() / (HEADER + 1) + 1, torn: false });
    }
    let torn = next == Next::Torn;
    if torn {
        let (path, bytes) = (path.display(), reader.rest());
        tracing::info!(%path, bytes, "the end of a usage segment was not finished before a crash; cut off");
    }
    let length = reader.offset();
    if length <= MAGIC.len() as u64 {
        fs::remove_file(&path)?;
        return Ok(Last { length: 0, sequence, torn });
    }
    if torn {
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(Last { length, sequence, torn })
}
