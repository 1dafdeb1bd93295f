use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::recovery::Recovered;
use super::segment::{self, HEADER, LARGEST_RECORD, MAGIC};
use super::{Position, SpoolError, Status};

/// What an append changes, behind one lock. Nothing here waits for the disk.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    limit_bytes: u64,
    segment_bytes: u64,
    /// The segment being written: made by the first record after an opening or after the last was full.
    live: Option<Live>,
    /// Bytes of each finished segment by its first sequence number.
    sealed: BTreeMap<u64, u64>,
    /// Of the live segment and the sealed ones.
    bytes: u64,
    /// The number of the next record.
    sequence: u64,
    records: u64,
    lost: u64,
    torn: u64,
    unsynced: Unsynced,
    /// Whether the last write or sync failed. Only a sync that succeeds ends it.
    failing: bool,
    /// For header and payload, so that one write(2) takes both.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Live {
    first: u64,
    file: Arc<File>,
    /// Bytes of whole records; 0 while not even the beginning is written.
    length: u64,
    /// Whether a write failed and may have left a part behind `length`.
    torn: bool,
}

/// What was written since the last sync.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    pub(super) sealed: Vec<Arc<File>>,
    pub(super) live: Option<Arc<File>>,
    /// Whether a segment was made: its name is in the folder.
    pub(super) folder: bool,
}

impl Writer {
    pub(super) fn new(folder: PathBuf, limit_bytes: u64, segment_bytes: u64, found: Recovered) -> Self {
        Self {
            folder,
            limit_bytes,
            segment_bytes,
            live: None,
            bytes: found.segments.values().sum(),
            sealed: found.segments,
            sequence: found.sequence,
            records: 0,
            lost: 0,
            torn: found.torn,
            unsynced: Unsynced::default(),
            failing: false,
            buffer: Vec::new(),
        }
    }

    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), SpoolError> {
        self.put(record).inspect_err(|_| self.lost += 1)
    }

    fn put(&mut self, record: &[u8]) -> Result<(), SpoolError> {
        if record.is_empty() || record.len() > LARGEST_RECORD {
            return Err(SpoolError::Size { bytes: record.len() });
        }
        let size = HEADER + record.len() as u64;
        let length = self.live.as_ref().map_or(0, |live| live.length);
        let begins = length == 0 || length + size > self.segment_bytes;
        self.buffer.clear();
        if begins {
            self.buffer.extend_from_slice(MAGIC);
        }
        segment::encode(record, &mut self.buffer);
        if self.bytes + self.buffer.len() as u64 > self.limit_bytes {
            return Err(SpoolError::Full { limit_bytes: self.limit_bytes });
        }
        self.write(begins).map_err(|error| {
            self.failed(&error);
            SpoolError::Write(error)
        })
    }

    fn write(&mut self, begins: bool) -> io::Result<()> {
        self.take_back()?;
        if begins {
            self.seal();
        }
        let live = match &mut self.live {
            Some(live) => live,
            none => {
                let path = segment::path(&self.folder, self.sequence);
                let file = Arc::new(OpenOptions::new().append(true).create_new(true).open(path)?);
                self.unsynced.folder = true;
                none.insert(Live { first: self.sequence, file, length: 0, torn: false })
            }
        };
        // Not cut short on a regular file but by a full disk or a signal that kills.
        if let Err(error) = (&*live.file).write_all(&self.buffer) {
            live.torn = true;
            // What fails here is tried again before the next write.
            let _ = self.take_back();
            return Err(error);
        }
        let written = self.buffer.len() as u64;
        live.length += written;
        self.bytes += written;
        self.sequence += 1;
        self.records += 1;
        if self.unsynced.live.is_none() {
            self.unsynced.live = Some(Arc::clone(&live.file));
        }
        Ok(())
    }

    /// Cuts off what a failed write left.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        if let Some(live) = self.live.as_mut().filter(|live| live.torn) {
            live.file.set_len(live.length)?;
            live.torn = false;
        }
        Ok(())
    }

    /// As after a write that failed half way.
    #[cfg(test)]
    pub(super) fn live_is_torn(&mut self) {
        if let Some(live) = &mut self.live {
            live.torn = true;
        }
    }

    /// Ends the live segment, unless nothing is in it.
    fn seal(&mut self) {
        if let Some(live) = self.live.take_if(|live| live.length > 0) {
            self.sealed.insert(live.first, live.length);
            self.unsynced.sealed.extend(self.unsynced.live.take());
        }
    }

    /// Hands over what is to be synced.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        std::mem::take(&mut self.unsynced)
    }

    /// Whether there is something to sync, or a failure to come back from.
    pub(super) fn needs_sync(&self) -> bool {
        let Unsynced { sealed, live, folder } = &self.unsynced;
        self.failing || *folder || live.is_some() || !sealed.is_empty()
    }

    /// Takes back what could not be synced.
    pub(super) fn put_back(&mut self, unsynced: Unsynced) {
        self.unsynced.sealed.extend(unsynced.sealed.into_iter().chain(unsynced.live));
        self.unsynced.folder |= unsynced.folder;
    }

    pub(super) fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let folder = self.folder.display();
            tracing::error!(%folder, %error, "the usage spool cannot be written; new requests are refused");
        }
    }

    pub(super) fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(folder = %self.folder.display(), "the usage spool can be written again");
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    pub(super) fn has_room(&self, bytes: u64) -> bool {
        !self.failing && self.bytes + bytes <= self.limit_bytes
    }

    /// Whether a record that was appended may end there: not whether one does.
    pub(super) fn may_hold(&self, Position { sequence, segment, offset }: Position) -> bool {
        let live = self.live.as_ref().filter(|live| live.first == segment).map(|live| live.length);
        let length = live.or(self.sealed.get(&segment).copied());
        (segment..self.sequence).contains(&sequence) && length.is_some_and(|length| offset <= length)
    }

    /// The finished segments up to and with one.
    pub(super) fn sealed_until(&self, last: u64) -> Vec<u64> {
        self.sealed.range(..=last).map(|(first, _)| *first).collect()
    }

    pub(super) fn removed(&mut self, first: u64) {
        self.bytes -= self.sealed.remove(&first).unwrap_or(0);
    }

    pub(super) fn status(&self) -> Status {
        let live = self.live.as_ref().filter(|live| live.length > 0);
        let segments = self.sealed.len() as u64 + u64::from(live.is_some());
        Status { bytes: self.bytes, records: self.records, segments, torn: self.torn, damaged: 0, lost: self.lost }
    }
}
