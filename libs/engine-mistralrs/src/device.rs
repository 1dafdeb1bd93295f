//! What a model runs on: the device, its number format, and how its memory is used. What the build or mistral.rs
//! 0.8.1 cannot do is refused here, with what to do instead; mistral.rs itself would quietly take something else.

mod builder;
mod settings;

use mistralrs::core::{DeviceLayerMapMetadata, DeviceMapMetadata};
use mistralrs::{
    AutoDeviceMapParams, DeviceMapSetting, MemoryGpuConfig, ModelDType, PagedAttentionConfig, PagedAttentionMetaBuilder,
};
use serde::{Deserialize, Serialize};

pub(crate) use builder::Builder;
pub use settings::{Device, DeviceMap, Dtype, KvMemory, PagedAttention, PagedMode};

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
