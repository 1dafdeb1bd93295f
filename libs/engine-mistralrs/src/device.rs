//! What a model runs on: the device, its number format, and how its memory is used. What the build or mistral.rs
//! 0.8.1 cannot do is refused here, with what to do instead; mistral.rs itself would quietly take something else.

use std::fmt;
use std::str::FromStr;

use mistralrs::core::{DeviceLayerMapMetadata, DeviceMapMetadata};
use mistralrs::{
    AutoDeviceMapParams, DeviceMapSetting, EmbeddingModelBuilder, GgufModelBuilder, MemoryGpuConfig, ModelDType,
    MultimodalModelBuilder, PagedAttentionConfig, PagedAttentionMetaBuilder, TextModelBuilder,
};
use pointsman_types::ByteSize;
use serde::{Deserialize, Serialize};

/// Sequences whose keys and values are kept for later prompts, unless told otherwise: mistral.rs' own default.
const PREFIX_CACHE: usize = 16;
/// Those that its kernels are made for (`SUPPORTED_BLOCK_SIZE`).
const BLOCK_SIZES: [usize; 3] = [8, 16, 32];

/// What a model runs on. Nothing but the CPU was ever tried: see `docs/guides/gpu.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hardware {
    /// `auto`, `cpu`, `cuda:0` or `metal`. Default `auto`: the first device of the kind that the build is for.
    pub device: Device,
    /// `auto`, `f32`, `f16` or `bf16`. Default `auto`: on the CPU `f32`, else what the weights are in and the device
    /// can do.
    pub dtype: Dtype,
    /// Keys and values in blocks that sequences share.
    pub paged_attention: PagedAttention,
    /// How many sequences' keys and values are kept for prompts that begin alike. Default 16; on the CPU 0, and
    /// nothing else there.
    pub prefix_cache: Option<usize>,
    /// `auto`, `single`, or layers for each device: `0:20;1:12`. Default `auto`.
    pub device_map: DeviceMap,
}

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

/// The kind of device that a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Cpu,
    Cuda,
    Metal,
}

/// This build. mistral.rs takes Metal where both are there.
pub(crate) const BUILD: Build = if cfg!(feature = "metal") {
    Build::Metal
} else if cfg!(feature = "cuda") {
    Build::Cuda
} else {
    Build::Cpu
};

impl Hardware {
    /// Whether the model runs on the CPU.
    pub(crate) fn is_cpu(&self) -> bool {
        BUILD == Build::Cpu || self.device == Device::Cpu
    }

    /// Returns what of it cannot be had of this build, and what to do.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems_of(BUILD)
    }

    fn problems_of(&self, build: Build) -> Vec<String> {
        let is_cpu = build == Build::Cpu || self.device == Device::Cpu;
        let device = device_problem(self.device, build).map(|problem| format!("hardware.device: {problem}"));
        let mut problems: Vec<String> = device.into_iter().collect();
        if is_cpu && !matches!(self.dtype, Dtype::Auto | Dtype::F32) {
            problems
                .push("hardware.dtype: on the CPU mistral.rs 0.8.1 generates in `f32` only; write `auto`".to_owned());
        }
        if is_cpu && self.paged_attention.mode == PagedMode::On {
            problems.push(
                "hardware.paged_attention.mode: there is none on the CPU; write `auto`, or build with `--features cuda` or `metal`"
                    .to_owned(),
            );
        }
        if self.paged_attention.block_size.is_some_and(|size| !BLOCK_SIZES.contains(&size)) {
            problems.push("hardware.paged_attention.block_size: must be 8, 16 or 32".to_owned());
        }
        if is_cpu && self.prefix_cache.is_some_and(|count| count > 0) {
            problems.push(
                "hardware.prefix_cache: on the CPU mistral.rs 0.8.1 never lets go of what it keeps; leave it out, or write 0"
                    .to_owned(),
            );
        }
        problems.extend(self.device_map_problem(is_cpu).map(|problem| format!("hardware.device_map: {problem}")));
        problems
    }

    fn device_map_problem(&self, is_cpu: bool) -> Option<&'static str> {
        let DeviceMap::Layers(shares) = &self.device_map else { return None };
        if is_cpu {
            return Some("there is but one CPU; leave it out");
        }
        let mut devices: Vec<usize> = shares.iter().map(|(device, _)| *device).collect();
        // mistral.rs takes the first device for a single entry, whatever number it has.
        if matches!(devices[..], [device] if device != 0) {
            return Some("a single device is device 0; choose another with CUDA_VISIBLE_DEVICES");
        }
        devices.sort_unstable();
        let count = devices.len();
        devices.dedup();
        (devices.len() < count).then_some("names a device twice; add its layers up")
    }

    /// Sets a builder up.
    pub(crate) fn apply<B: Builder>(&self, mut builder: B) -> anyhow::Result<B> {
        builder = builder.dtype(self.model_dtype()).device_mapping(self.device_mapping());
        if self.is_cpu() {
            // The prefix cache counts only sequences on other devices when it evicts: on the CPU it would
            // keep the keys and values of every sequence that ever finished, and search them all.
            return Ok(builder.force_cpu().prefix_cache(None));
        }
        let kept = self.prefix_cache.unwrap_or(PREFIX_CACHE);
        builder = builder.prefix_cache((kept > 0).then_some(kept));
        Ok(match self.paged()? {
            Some(paged) => builder.paged_attention(paged),
            None => builder,
        })
    }

    /// The kind of device, for the engine's fingerprint.
    pub(crate) fn kind(&self) -> &'static str {
        match (self.is_cpu(), BUILD) {
            (true, _) | (false, Build::Cpu) => "cpu",
            (false, Build::Cuda) => "cuda",
            (false, Build::Metal) => "metal",
        }
    }

    /// The number format, as mistral.rs is told it.
    pub(crate) fn model_dtype(&self) -> ModelDType {
        match self.dtype {
            Dtype::Auto if self.is_cpu() => ModelDType::F32,
            Dtype::Auto => ModelDType::Auto,
            Dtype::F32 => ModelDType::F32,
            Dtype::F16 => ModelDType::F16,
            Dtype::Bf16 => ModelDType::BF16,
        }
    }

    fn device_mapping(&self) -> DeviceMapSetting {
        match &self.device_map {
            DeviceMap::Auto => DeviceMapSetting::Auto(AutoDeviceMapParams::default_text()),
            DeviceMap::Single => DeviceMapSetting::dummy(),
            DeviceMap::Layers(shares) => {
                let layers =
                    shares.iter().map(|&(ordinal, layers)| DeviceLayerMapMetadata { ordinal, layers }).collect();
                DeviceMapSetting::Map(DeviceMapMetadata::from_num_device_layers(layers))
            }
        }
    }

    /// Whether keys and values are in blocks, where that can be.
    fn has_paged_attention(&self) -> bool {
        match self.paged_attention.mode {
            PagedMode::Auto => BUILD == Build::Cuda,
            PagedMode::On => true,
            PagedMode::Off => false,
        }
    }

    fn paged(&self) -> anyhow::Result<Option<PagedAttentionConfig>> {
        let PagedAttention { block_size, memory, .. } = &self.paged_attention;
        if !self.has_paged_attention() {
            return Ok(None);
        }
        let memory = match *memory {
            KvMemory::Percent(percent) => MemoryGpuConfig::Utilization(f32::from(percent) / 100.0),
            KvMemory::Bytes(bytes) => MemoryGpuConfig::MbAmount(bytes.as_usize() >> 20),
            KvMemory::Tokens(count) => MemoryGpuConfig::ContextSize(count),
        };
        let builder = PagedAttentionMetaBuilder::default().with_gpu_memory(memory);
        let builder = match block_size {
            Some(size) => builder.with_block_size(*size),
            None => builder,
        };
        builder.build().map(Some)
    }
}

/// A builder of mistral.rs, as far as it can be set up. GGUF files say themselves what they are in, and embedding
/// models keep nothing: what a builder lacks is left as it is.
pub(crate) trait Builder: Sized {
    fn dtype(self, dtype: ModelDType) -> Self;
    fn device_mapping(self, mapping: DeviceMapSetting) -> Self;
    fn force_cpu(self) -> Self;
    fn prefix_cache(self, count: Option<usize>) -> Self;
    fn paged_attention(self, config: PagedAttentionConfig) -> Self;
}

macro_rules! builder {
    ($type:ty, $($own:ident($value:ty) => $theirs:ident),*; $($lacks:ident($unused:ty)),*) => {
        impl Builder for $type {
            fn force_cpu(self) -> Self {
                self.with_force_cpu()
            }

            fn device_mapping(self, mapping: DeviceMapSetting) -> Self {
                self.with_device_mapping(mapping)
            }

            $(fn $own(self, value: $value) -> Self {
                self.$theirs(value)
            })*

            $(fn $lacks(self, _: $unused) -> Self {
                self
            })*
        }
    };
}

builder!(
    TextModelBuilder,
    dtype(ModelDType) => with_dtype,
    prefix_cache(Option<usize>) => with_prefix_cache_n,
    paged_attention(PagedAttentionConfig) => with_paged_attn;
);
builder!(
    MultimodalModelBuilder,
    dtype(ModelDType) => with_dtype,
    prefix_cache(Option<usize>) => with_prefix_cache_n,
    paged_attention(PagedAttentionConfig) => with_paged_attn;
);
builder!(
    GgufModelBuilder,
    prefix_cache(Option<usize>) => with_prefix_cache_n,
    paged_attention(PagedAttentionConfig) => with_paged_attn;
    dtype(ModelDType)
);
builder!(
    EmbeddingModelBuilder,
    dtype(ModelDType) => with_dtype;
    prefix_cache(Option<usize>),
    paged_attention(PagedAttentionConfig)
);

/// Returns why this build does not run on this device, if it does not.
fn device_problem(device: Device, build: Build) -> Option<String> {
    let lacks = |feature: &str| {
        Some(format!("this build knows no `{device}`; build it with `cargo build --release --features {feature}`"))
    };
    match (device, build) {
        (Device::Auto | Device::Cpu, _) | (Device::Cuda(0), Build::Cuda) | (Device::Metal, Build::Metal) => None,
        // The builder's own choice of a device has no effect (`resolve_device(force_cpu, None)`).
        (Device::Cuda(number), Build::Cuda) => Some(format!(
            "mistral.rs 0.8.1 takes the first CUDA device that it sees; write `cuda:0`, and start the process with CUDA_VISIBLE_DEVICES={number}"
        )),
        (Device::Cuda(_), Build::Metal) => {
            Some("a build with `metal` knows no CUDA; build it with `--features cuda` alone".to_owned())
        }
        (Device::Cuda(_), Build::Cpu) => lacks("cuda"),
        (Device::Metal, Build::Cpu | Build::Cuda) => lacks("metal"),
    }
}

#[cfg(test)]
mod tests;
