use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::locked;

/// The largest record, in bytes.
pub(crate) const LARGEST_RECORD: usize = 64 << 10;
/// What a segment begins with; the last byte is the version of the format.
pub(super) const MAGIC: &[u8; 8] = b"PMSPOOL\x01";
/// Bytes before a record's payload.
pub(super) const HEADER: u64 = 8;
/// The largest segment that holds a single record, in bytes.
pub(super) const LARGEST_SINGLE: u64 = MAGIC.len() as u64 + HEADER + LARGEST_RECORD as u64;

/// Puts a record behind what is in `buffer`. Its size was checked.
pub(super) fn encode(record: &[u8], buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
    buffer.extend_from_slice(record);
}

/// Reads one segment, from its beginning or from where a record ended.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: BufReader<File>,
    offset: u64,
    /// How long the segment was when it was opened: it may be growing.
    length: u64,
}

/// What stands next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Record(Vec<u8>),
    End,
    /// A beginning that the end of the file cuts off.
    Torn,
    /// What was never written so. Nothing behind it can be found: it is lost.
    Damaged,
}

impl SegmentReader {
    /// Opens a segment; reads on at `offset`, 0 for the beginning.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file: BufReader::with_capacity(LARGEST_RECORD, file), offset, length })
    }

    /// Where the last record that was read ended.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes stand behind the last record that was read.
    pub(super) fn rest(&self) -> u64 {
        self.length.saturating_sub(self.offset)
    }

    /// Reads the next record. After anything but a record there is nothing more to read.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        match self.read() {
            // A write that failed was taken back meanwhile.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Next::Torn),
            other => other,
        }
    }

    fn read(&mut self) -> io::Result<Next> {
        if self.offset == 0 && self.rest() > 0 {
            let mut magic = [0; MAGIC.len()];
            self.file.read_exact(&mut magic)?;
            if &magic != MAGIC {
                return self.unreadable(magic == [0; MAGIC.len()]);
            }
            self.offset = MAGIC.len() as u64;
        }
        match self.rest() {
            0 => return Ok(Next::End),
            1..HEADER => return Ok(Next::Torn),
            _ => {}
        }
        let mut field = [0; 4];
        self.file.read_exact(&mut field)?;
        let payload = u32::from_le_bytes(field) as usize;
        self.file.read_exact(&mut field)?;
        let checksum = u32::from_le_bytes(field);
        // A record of zero bytes is never written: its header would be what a power loss may leave.
        if payload == 0 || payload > LARGEST_RECORD {
            return self.unreadable(payload == 0 && checksum == 0);
        }
        let size = HEADER + payload as u64;
        if size > self.rest() {
            return Ok(Next::Torn);
        }
        let mut record = vec![0; payload];
        self.file.read_exact(&mut record)?;
        if crc32fast::hash(&record) != checksum {
            return Ok(if size == self.rest() { Next::Torn } else { Next::Damaged });
        }
        self.offset += size;
        Ok(Next::Record(record))
    }

    /// A file system may have grown the file before a power loss and not have filled it: zeros to the end.
    fn unreadable(&mut self, zeros: bool) -> io::Result<Next> {
        let torn = zeros && self.file.by_ref().bytes().all(|byte| matches!(byte, Ok(0)));
        Ok(if torn { Next::Torn } else { Next::Damaged })
    }
}

/// The file of the segment whose first record has this sequence number.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.spool"))
}

/// The segments in a folder by first sequence number, ascending, with their lengths in bytes.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".spool")).and_then(|first| first.parse().ok());
        let Some(first) = first.filter(|first| path(folder, *first) == entry.path()) else { continue };
        match entry.metadata() {
            Ok(metadata) => found.push((first, metadata.len())),
            // Acknowledged meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The segments that were found to be damaged, by first sequence number: each is told once.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<BTreeSet<u64>>);

impl Damage {
    /// Says that the rest of a segment is lost.
    pub(super) fn report(&self, folder: &Path, first: u64, reader: &SegmentReader) {
        if locked(&self.0).insert(first) {
            let (path, offset, bytes) = (path(folder, first), reader.offset(), reader.rest());
            let path = path.display();
            tracing::warn!(%path, offset, bytes, "a usage segment is damaged; the records behind the damage are lost");
        }
    }

    pub(super) fn segments(&self) -> u64 {
        locked(&self.0).len() as u64
    }
}
