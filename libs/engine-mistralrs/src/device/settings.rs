//! The settings of what a model runs on, and the texts that they are written as.

use std::fmt;
use std::str::FromStr;

use pointsman_types::ByteSize;
use serde::{Deserialize, Serialize};

/// A device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first one of the kind that the build is for.
    #[default]
    Auto,
    /// No accelerator, whatever the build is for.
    Cpu,
    /// An NVIDIA device, by its number.
    Cuda(usize),
    /// Apple's.
    Metal,
}

/// The number format that the model calculates in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// Chosen by mistral.rs; on the CPU 32 bits.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// 16 bits with the exponent of 32.
    Bf16,
}

/// How keys and values are kept in blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagedAttention {
    /// `auto`, `on` or `off`. Default `auto`: on with CUDA, else off.
    pub mode: PagedMode,
    /// Tokens in a block: 8, 16 or 32. Default 32.
    pub block_size: Option<usize>,
    /// Memory on each device for keys and values, taken at the start: of the whole (`80%`, the weights included),
    /// `8GiB`, or what so many tokens of all sequences together need (`65536 tokens`). Default `90%`.
    pub memory: KvMemory,
}

/// Whether there is paged attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PagedMode {
    /// Where it is mature.
    #[default]
    Auto,
    /// Or the model does not load.
    On,
    /// A cache for each sequence.
    Off,
}

/// Memory for keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum KvMemory {
    /// So many percent of the device's memory may be in use, the weights included.
    Percent(u8),
    /// So much.
    Bytes(ByteSize),
    /// What so many tokens need.
    Tokens(usize),
}

impl Default for KvMemory {
    fn default() -> Self {
        Self::Percent(90)
    }
}

/// Where the layers are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceMap {
    /// mistral.rs spreads them over devices of the kind, and what does not fit goes to the CPU.
    #[default]
    Auto,
    /// All on one device.
    Single,
    /// So many on each device, in order; the rest on the CPU.
    Layers(Vec<(usize, usize)>),
}

macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(Device);
as_text!(KvMemory);
as_text!(DeviceMap);

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device; write `auto`, `cpu`, `cuda:0` or `metal`");
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "metal" => Self::Metal,
            _ => Self::Cuda(text.strip_prefix("cuda:").and_then(|number| number.parse().ok()).ok_or_else(wrong)?),
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for KvMemory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let tokens = text.strip_suffix("tokens").and_then(|number| number.trim_end().parse().ok());
        let bytes = || text.parse().ok().filter(|bytes: &ByteSize| bytes.bytes() >= 1 << 20);
        (percent.filter(|percent| (1..=100).contains(percent)).map(Self::Percent))
            .or(tokens.filter(|count| *count > 0).map(Self::Tokens))
            .or_else(|| bytes().map(Self::Bytes))
            .ok_or_else(|| format!("`{text}` is no memory; write `80%`, `8GiB` (at least 1MiB) or `65536 tokens`"))
    }
}

impl fmt::Display for KvMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Tokens(count) => write!(f, "{count} tokens"),
        }
    }
}

impl FromStr for DeviceMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = |text: &str| {
            let (device, layers) = text.split_once(':')?;
            Some((device.trim().parse().ok()?, layers.trim().parse().ok().filter(|layers| *layers > 0)?))
        };
        match text {
            "auto" => Ok(Self::Auto),
            "single" => Ok(Self::Single),
            _ => text.split(';').map(share).collect::<Option<_>>().map(Self::Layers).ok_or_else(|| {
                format!("`{text}` is no device map; write `auto`, `single`, or `DEVICE:LAYERS;…` such as `0:20;1:12`")
            }),
        }
    }
}

impl fmt::Display for DeviceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Single => f.write_str("single"),
            Self::Layers(shares) => {
                let shares: Vec<String> = shares.iter().map(|(device, layers)| format!("{device}:{layers}")).collect();
                f.write_str(&shares.join(";"))
            }
        }
    }
}
