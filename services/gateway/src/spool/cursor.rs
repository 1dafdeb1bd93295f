use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::str::FromStr;

use super::segment::{self, Next, SegmentReader};
use super::{Folder, Kept, Spool, SpoolError, locked};

const NAME: &str = "cursor";

/// Where a record stands; later records compare greater. Acknowledging it acknowledges all before it.
///
/// As text, for readers: `{sequence}-{segment}-{offset}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The number of the record, from 0, over all segments.
    pub(super) sequence: u64,
    /// The first sequence number of its segment.
    pub(super) segment: u64,
    /// Where it ends, in bytes from the beginning of its segment.
    pub(super) offset: u64,
}

impl Spool {
    /// Lets go of all records up to and with the one at `position`: they are not read again, and segments
    /// that were read to the end are removed. The segment being written stays.
    ///
    /// Blocks for a sync of a small file: call it for a batch, off the async threads. A position before one
    /// that was already acknowledged changes nothing. After an error, or a crash, records may be read again.
    ///
    /// Errors: no record can stand there, or the disk.
    pub(crate) fn acknowledge(&self, position: Position) -> Result<(), SpoolError> {
        match &self.0 {
            Kept::InFolder(folder) => folder.acknowledge(position),
            Kept::Dropped(_) => Ok(()),
        }
    }
}

impl Folder {
    fn acknowledge(&self, position: Position) -> Result<(), SpoolError> {
        let mut acknowledged = locked(&self.acknowledged);
        if acknowledged.is_none_or(|before| before < position) {
            self.check(position)?;
            replace(&self.path, position).map_err(SpoolError::Acknowledge)?;
            *acknowledged = Some(position);
        }
        self.remove_acknowledged(*acknowledged)
    }

    /// Refuses a position behind all records, or outside of the segment that it names.
    pub(super) fn check(&self, position: Position) -> Result<(), SpoolError> {
        if locked(&self.writer).may_hold(position) { Ok(()) } else { Err(SpoolError::NoSuchPosition) }
    }

    /// Removes the segments that a cursor has left behind.
    pub(super) fn remove_acknowledged(&self, position: Option<Position>) -> Result<(), SpoolError> {
        let Some(position) = position else { return Ok(()) };
        let sealed = locked(&self.writer).sealed_until(position.segment);
        for first in sealed {
            let path = segment::path(&self.path, first);
            if first < position.segment || self.is_read(first, position.offset).map_err(SpoolError::Acknowledge)? {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(SpoolError::Acknowledge(error)),
                    _ => locked(&self.writer).removed(first),
                }
            }
        }
        Ok(())
    }

    /// Whether nothing readable stands behind `offset` in a finished segment.
    fn is_read(&self, first: u64, offset: u64) -> io::Result<bool> {
        let mut reader = match SegmentReader::open(&segment::path(&self.path, first), offset) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            opened => opened?,
        };
        match reader.next()? {
            Next::Record(_) => return Ok(false),
            // Who read it while it was written took it for a record that was not yet whole.
            Next::Torn | Next::Damaged => self.damage.report(&self.path, first, &reader),
            Next::End => {}
        }
        Ok(true)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.sequence, self.segment, self.offset)
    }
}

impl FromStr for Position {
    type Err = SpoolError;

    fn from_str(text: &str) -> Result<Self, SpoolError> {
        numbers(text, '-').ok_or(SpoolError::NoSuchPosition)
    }
}

fn numbers(text: &str, separator: char) -> Option<Position> {
    let mut numbers = text.split(separator).map(|number| number.parse().ok());
    let position = Position { sequence: numbers.next()??, segment: numbers.next()??, offset: numbers.next()?? };
    numbers.next().is_none().then_some(position)
}

/// Reads the position that was acknowledged last. Without a readable cursor all records are read again.
pub(super) fn read(folder: &Path) -> Result<Option<Position>, SpoolError> {
    let path = folder.join(NAME);
    match fs::read(&path) {
        Ok(bytes) => {
            let position = std::str::from_utf8(&bytes).ok().and_then(parse);
            if position.is_none() {
                tracing::warn!(path = %path.display(), "the usage spool's cursor is damaged; all its records are read again");
            }
            Ok(position)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SpoolError::Read { path, source }),
    }
}

/// `{sequence} {segment} {offset} {crc32 of what is before, in hexadecimal}`.
fn parse(text: &str) -> Option<Position> {
    let (numbers, checksum) = text.trim_end().rsplit_once(' ')?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(numbers.as_bytes()) {
        return None;
    }
    self::numbers(numbers, ' ')
}

/// Writes the cursor beside the old one and puts it in its place. The folder is not synced: a power loss
/// may bring the old one back, which only means that records are read again.
fn replace(folder: &Path, Position { sequence, segment, offset }: Position) -> io::Result<()> {
    let numbers = format!("{sequence} {segment} {offset}");
    let new = folder.join("cursor.new");
    let mut file = File::create(&new)?;
    file.write_all(format!("{numbers} {:08x}\n", crc32fast::hash(numbers.as_bytes())).as_bytes())?;
    file.sync_data()?;
    fs::rename(new, folder.join(NAME))
}
