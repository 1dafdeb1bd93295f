use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What a spool could not do. The operating system's reason is the source.
#[derive(Debug)]
pub(crate) enum SpoolError {
    /// The folder cannot be read or written.
    Open { folder: PathBuf, source: io::Error },
    /// Another process has the folder, or another spool of this one.
    InUse { folder: PathBuf },
    /// The limit leaves no room beside the reserve.
    Limit { limit_bytes: u64, least: u64 },
    /// A record is empty, or larger than [`super::segment::LARGEST_RECORD`].
    Size { bytes: usize },
    /// The limit is reached.
    Full { limit_bytes: u64 },
    /// A record was not written.
    Write(io::Error),
    /// What was written is perhaps not on the disk.
    Sync(io::Error),
    /// A segment or the cursor was not read.
    Read { path: PathBuf, source: io::Error },
    /// A position where no record of this spool ends.
    NoSuchPosition,
    /// The cursor was not moved, or a segment not removed: records may be read again.
    Acknowledge(io::Error),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { folder, .. } => write!(f, "the usage spool in {} could not be opened", folder.display()),
            Self::InUse { folder } => write!(
                f,
                "the usage spool in {} is in use by another process: give each gateway its own folder",
                folder.display()
            ),
            Self::Limit { limit_bytes, least } => {
                write!(f, "a usage spool of {limit_bytes} bytes is too small: the least is {least}")
            }
            Self::Size { bytes } => write!(f, "a usage record of {bytes} bytes is empty or too large for the spool"),
            Self::Full { limit_bytes } => write!(f, "the usage spool has reached its limit of {limit_bytes} bytes"),
            Self::Write(_) => f.write_str("a usage record could not be written"),
            Self::Sync(_) => f.write_str("usage records could not be brought to the disk"),
            Self::Read { path, .. } => write!(f, "{} could not be read", path.display()),
            Self::NoSuchPosition => f.write_str("no usage record stands at that position"),
            Self::Acknowledge(_) => f.write_str("usage records could not be acknowledged"),
        }
    }
}

impl Error for SpoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Some(source),
            Self::Write(source) | Self::Sync(source) | Self::Acknowledge(source) => Some(source),
            Self::InUse { .. } | Self::Limit { .. } | Self::Size { .. } | Self::Full { .. } | Self::NoSuchPosition => {
                None
            }
        }
    }
}
