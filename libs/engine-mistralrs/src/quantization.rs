use mistralrs::IsqType;
use serde::{Deserialize, Serialize};

/// A number format for weights, made while they are loaded. Those of mistral.rs 0.8.1 that were seen to answer
/// well on a CPU; a GPU does not know all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// 4 bits, in blocks of 32.
    Q4_0,
    /// 8 bits, in blocks of 32.
    Q8_0,
    /// 4 bits, in blocks of 256 with scales of their own.
    Q4k,
    /// 6 bits, in blocks of 256 with scales of their own.
    Q6k,
    /// 4 bits, half-quadratic.
    Hqq4,
    /// 8 bits, half-quadratic.
    Hqq8,
    /// 8-bit floats.
    F8e4m3,
    /// 8-bit floats in blocks.
    F8q8,
    /// 4-bit floats in blocks with a shared exponent.
    Mxfp4,
    /// 4 bits, affine.
    Afq4,
    /// 8 bits, affine.
    Afq8,
}

impl Quantization {
    /// Every one of them.
    pub const ALL: [Self; 11] = [
        Self::Q4_0,
        Self::Q8_0,
        Self::Q4k,
        Self::Q6k,
        Self::Hqq4,
        Self::Hqq8,
        Self::F8e4m3,
        Self::F8q8,
        Self::Mxfp4,
        Self::Afq4,
        Self::Afq8,
    ];

    /// Returns its name, as it is configured and as it stands in versions and fingerprints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q8_0 => "q8_0",
            Self::Q4k => "q4k",
            Self::Q6k => "q6k",
            Self::Hqq4 => "hqq4",
            Self::Hqq8 => "hqq8",
            Self::F8e4m3 => "f8e4m3",
            Self::F8q8 => "f8q8",
            Self::Mxfp4 => "mxfp4",
            Self::Afq4 => "afq4",
            Self::Afq8 => "afq8",
        }
    }

    pub(crate) fn isq(self) -> IsqType {
        match self {
            Self::Q4_0 => IsqType::Q4_0,
            Self::Q8_0 => IsqType::Q8_0,
            Self::Q4k => IsqType::Q4K,
            Self::Q6k => IsqType::Q6K,
            Self::Hqq4 => IsqType::HQQ4,
            Self::Hqq8 => IsqType::HQQ8,
            Self::F8e4m3 => IsqType::F8E4M3,
            Self::F8q8 => IsqType::F8Q8,
            Self::Mxfp4 => IsqType::MXFP4,
            Self::Afq4 => IsqType::AFQ4,
            Self::Afq8 => IsqType::AFQ8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantization;

    #[test]
    fn they_are_configured_by_their_names() {
        for quantization in Quantization::ALL {
            let named: Quantization = serde_json::from_value(quantization.name().into()).unwrap();
            assert_eq!(named, quantization);
        }
    }
}
