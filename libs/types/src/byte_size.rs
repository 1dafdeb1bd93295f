use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A number of bytes, written `4MiB`, `64KiB`, `1GiB` or `512B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// The text is no size in bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is no size: write a whole number and B, KiB, MiB or GiB, such as 4MiB")]
pub struct ParseByteSizeError {
    text: String,
}

/// Largest first, so that `Display` finds the longest unit that divides.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// Makes a size of this many binary kilobytes.
    pub const fn kibibytes(count: u64) -> Self {
        Self(count << 10)
    }

    /// Makes a size of this many binary megabytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Returns the number of bytes as a length in memory; the largest there is if it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        UNITS
            .iter()
            .find_map(|(unit, factor)| {
                let count: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
                count.checked_mul(*factor).map(Self)
            })
            .ok_or_else(|| ParseByteSizeError { text: text.to_owned() })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("0B", 0, "0B"),
            ("512B", 512, "512B"),
            ("64 KiB", 65_536, "64KiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("4MiB", 4 << 20, "4MiB"),
        ] {
            let size: ByteSize = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written), "{text}");
        }
        for text in ["", "4", "4MB", "-1KiB", "1.5GiB", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
