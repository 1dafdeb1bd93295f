use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::Position;
use super::segment::{self, Damage, Next, SegmentReader};
use super::{Kept, Spool, SpoolError, locked};

impl Spool {
    /// Reads the records behind a position, and behind what was acknowledged, oldest first, up to what is there
    /// now: call again for what came since.
    ///
    /// Blocks for reads. Costs what there is to read, not what there is in the folder. Errors: no record can
    /// stand at that position, or the disk.
    pub(crate) fn records(&self, after: Option<Position>) -> Result<Records, SpoolError> {
        let Kept::InFolder(folder) = &self.0 else { return Ok(Records::default()) };
        let acknowledged = *locked(&folder.acknowledged);
        let after = after.filter(|after| acknowledged.is_none_or(|acknowledged| acknowledged < *after));
        if let Some(after) = after {
            folder.check(after)?;
        }
        Records::behind(after.or(acknowledged), &folder.path, Arc::clone(&folder.damage))
    }
}

/// The segments from one on, without a gap. A listing may show a segment that was made meanwhile and not the
/// one made before it; but what is older than a segment that one listing shows, the next cannot miss.
fn segments(folder: &Path, from: u64) -> io::Result<VecDeque<u64>> {
    let Some((newest, _)) = segment::list(folder)?.pop() else { return Ok(VecDeque::new()) };
    let listed = segment::list(folder)?.into_iter().map(|(first, _)| first);
    Ok(listed.filter(|first| (from..=newest).contains(first)).collect())
}

/// The records of a spool and where each stands. After an error there is nothing more.
#[derive(Debug, Default)]
pub(crate) struct Records {
    folder: PathBuf,
    damage: Arc<Damage>,
    /// Nothing up to here is read.
    after: Option<Position>,
    /// Segments that are not yet open.
    segments: VecDeque<u64>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reader: SegmentReader,
    segment: u64,
    /// The number of the next record.
    sequence: u64,
}

impl Records {
    /// The spool may be open and written to meanwhile.
    pub(super) fn behind(after: Option<Position>, folder: &Path, damage: Arc<Damage>) -> Result<Self, SpoolError> {
        let from = after.map_or(0, |position| position.segment);
        let segments = segments(folder, from).map_err(|source| SpoolError::Read { path: folder.into(), source })?;
        Ok(Self { folder: folder.into(), damage, after, segments, open: None })
    }

    fn read(&mut self) -> io::Result<Option<(Position, Vec<u8>)>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(first) = self.segments.front() else { return Ok(None) };
                self.open = self.open(*first)?;
                self.segments.pop_front();
                continue;
            };
            match open.reader.next()? {
                Next::Record(record) => {
                    let (sequence, offset) = (open.sequence, open.reader.offset());
                    open.sequence += 1;
                    return Ok(Some((Position { sequence, segment: open.segment, offset }, record)));
                }
                // At the end of the last segment a record may be half written: it is whole next time.
                Next::Torn | Next::Damaged if !self.segments.is_empty() => {
                    self.damage.report(&self.folder, open.segment, &open.reader);
                }
                Next::Torn | Next::Damaged | Next::End => {}
            }
            self.open = None;
        }
    }

    /// `None` if it was acknowledged meanwhile.
    fn open(&self, segment: u64) -> io::Result<Option<Open>> {
        let after = self.after.filter(|position| position.segment == segment);
        let (offset, sequence) = after.map_or((0, segment), |position| (position.offset, position.sequence + 1));
        match SegmentReader::open(&segment::path(&self.folder, segment), offset) {
            Ok(reader) => Ok(Some(Open { reader, segment, sequence })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Records {
    type Item = Result<(Position, Vec<u8>), SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose().map(|read| {
            read.map_err(|source| {
                let first = self.open.take().map(|open| open.segment).or(self.segments.front().copied());
                self.segments.clear();
                SpoolError::Read { path: segment::path(&self.folder, first.unwrap_or(0)), source }
            })
        })
    }
}
