use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Hardware, LoadError, Quantization};

/// What to load, and how much of it runs at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model's name, the `m` of its target `models/{m}/versions/{v}`: lower-case letters, digits, `-`
    /// and `.`. Required.
    pub name: String,
    /// The folder with `config.json`, `tokenizer.json`, `tokenizer_config.json`, a chat template and the
    /// weights as `*.safetensors`. Required.
    pub model: PathBuf,
    /// The number format that the weights are turned into while they are loaded: less memory, another answer here
    /// and there. `q4k`, `q6k`, `q8_0` and so on. Default: as they are.
    #[serde(default)]
    pub quantize: Option<Quantization>,
    /// How many generations run at once, batched; at least 1. Others wait. On the CPU it is always 1, because
    /// there mistral.rs 0.8.1 mixes up the answers of a batch. Default 16.
    #[serde(default = "default_max_concurrent")]
    pub max_concurrent: usize,
    /// What it runs on. Default: the device that the build is for.
    #[serde(default)]
    pub hardware: Hardware,
}

fn default_max_concurrent() -> usize {
    16
}

impl Config {
    /// Names a model and its folder, and leaves the rest at its default.
    pub fn new(name: impl Into<String>, model: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            quantize: None,
            max_concurrent: default_max_concurrent(),
            hardware: Hardware::default(),
        }
    }

    /// Returns what is wrong with these values, without a look at the folder.
    pub fn problems(&self) -> Vec<String> {
        let own = self.check_names().err().map(|error| format!("engine.mistralrs: {error}"));
        let hardware = self.hardware.problems().into_iter().map(|problem| format!("engine.mistralrs.{problem}"));
        own.into_iter().chain(hardware).collect()
    }

    pub(crate) fn check(&self) -> Result<(), LoadError> {
        self.check_names()?;
        let problems = self.hardware.problems();
        if problems.is_empty() { Ok(()) } else { Err(LoadError::HardwareRefused { problems }) }
    }

    fn check_names(&self) -> Result<(), LoadError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if self.name.is_empty() || !self.name.bytes().all(allowed) {
            return Err(LoadError::NameInvalid { name: self.name.clone() });
        }
        if self.max_concurrent == 0 {
            return Err(LoadError::NothingConcurrent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn names_fit_resource_names() {
        for (name, valid) in
            [("pip", true), ("qwen3-0.6b", true), ("", false), ("Pip", false), ("a/b", false), ("ä", false)]
        {
            assert_eq!(Config::new(name, "folder").check().is_ok(), valid, "{name:?}");
        }
        assert!(Config { max_concurrent: 0, ..Config::new("pip", "folder") }.check().is_err());
    }
}
