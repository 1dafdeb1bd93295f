use std::path::PathBuf;
use std::time::Duration;

use pointsman_types::{is_segment, is_tenant_name};
use serde::{Deserialize, Serialize};

use crate::adapter::AdapterFolder;
use crate::files::Files;
use crate::{Hardware, LoadError, Quantization};

/// What to load, and how much of it runs at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model's name, the `m` of its target `models/{m}/versions/{v}`: lower-case letters, digits, `-`
    /// and `.`. Required.
    pub name: String,
    /// A folder with `config.json`, `tokenizer.json`, `tokenizer_config.json`, a chat template and the
    /// weights as `*.safetensors` or `*.uqff`; or a `.gguf` file, or a folder with a single one. Required.
    pub model: PathBuf,
    /// The number format that the weights are turned into while they are loaded: less memory, another answer here
    /// and there. `q4k`, `q6k`, `q8_0` and so on. Not for GGUF and UQFF, which are quantised. Default: as they are.
    #[serde(default)]
    pub quantize: Option<Quantization>,
    /// LoRA adapters of this model; each is a target of its own, and the model is loaded once more for it.
    /// Default: none.
    #[serde(default)]
    pub adapters: Vec<Adapter>,
    /// The tenants that may use it; to others it is not there. Default: none, which means all.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// How many generations run at once, batched; at least 1. Others wait. On the CPU it is always 1, because
    /// there mistral.rs 0.8.1 mixes up the answers of a batch, and so it is for a model that sees. Default 16.
    #[serde(default = "default_max_concurrent")]
    pub max_concurrent: usize,
    /// How long it may take until the model has generated its first token, each adapter for itself; then the process
    /// ends. Default: as long as it takes.
    #[serde(default, with = "humantime_serde::option")]
    pub load_timeout: Option<Duration>,
    /// What it runs on. Default: the device that the build is for.
    #[serde(default)]
    pub hardware: Hardware,
}

/// A LoRA adapter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// The adapter's name, the `a` of its target `models/{m}:{a}/versions/{v}`; like the model's. Required.
    pub name: String,
    /// The folder with `adapter_config.json` and `adapter_model.safetensors`, as PEFT writes them. Required.
    pub path: PathBuf,
    /// The tenants that may use it. Default: those that may use the model.
    #[serde(default)]
    pub tenants: Vec<String>,
}

fn default_max_concurrent() -> usize {
    16
}

impl Config {
    /// Names a model and its files, and leaves the rest at its default.
    pub fn new(name: impl Into<String>, model: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            quantize: None,
            adapters: Vec::new(),
            tenants: Vec::new(),
            max_concurrent: default_max_concurrent(),
            load_timeout: None,
            hardware: Hardware::default(),
        }
    }

    /// Returns what is wrong with these values and with the files that they name, as far as that shows without
    /// reading weights.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.check_names().err().iter().map(ToString::to_string).collect();
        match Files::open(&self.model).and_then(|files| files.check(self)) {
            Ok(()) => {}
            Err(error) => problems.push(error.to_string()),
        }
        for adapter in &self.adapters {
            problems.extend(AdapterFolder::open(&adapter.path).err().iter().map(ToString::to_string));
        }
        let hardware = self.hardware.problems().into_iter().map(|problem| format!("engine.mistralrs.{problem}"));
        problems.iter().map(|problem| format!("engine.mistralrs: {problem}")).chain(hardware).collect()
    }

    /// Returns the models that it becomes on the mesh: its own, and one for each adapter.
    pub fn models(&self) -> Vec<String> {
        let adapters = self.adapters.iter().map(|adapter| format!("{}:{}", self.name, adapter.name));
        std::iter::once(self.name.clone()).chain(adapters).collect()
    }

    pub(crate) fn check(&self) -> Result<(), LoadError> {
        self.check_names()?;
        let problems = self.hardware.problems();
        if problems.is_empty() { Ok(()) } else { Err(LoadError::HardwareRefused { problems }) }
    }

    fn check_names(&self) -> Result<(), LoadError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        let names = std::iter::once(&self.name).chain(self.adapters.iter().map(|adapter| &adapter.name));
        for name in names {
            if name.is_empty() || !name.bytes().all(allowed) {
                return Err(LoadError::NameInvalid { name: name.clone() });
            }
        }
        if let Some(name) = self.models().into_iter().find(|name| !is_segment(name)) {
            return Err(LoadError::NameTooLong { name });
        }
        let tenants = self.adapters.iter().flat_map(|adapter| &adapter.tenants).chain(&self.tenants);
        if let Some(name) = tenants.into_iter().find(|name| !is_tenant_name(name)) {
            return Err(LoadError::TenantInvalid { name: name.clone() });
        }
        if self.max_concurrent == 0 {
            return Err(LoadError::NothingConcurrent);
        }
        if self.load_timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(LoadError::NoTimeToLoad);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Adapter, Config};

    fn adapter(name: &str) -> Adapter {
        Adapter { name: name.to_owned(), path: "folder".into(), tenants: Vec::new() }
    }

    #[test]
    fn names_fit_resource_names() {
        for (name, valid) in [
            ("pip", true),
            ("qwen3-0.6b", true),
            ("", false),
            ("Pip", false),
            ("a/b", false),
            ("a:b", false),
            ("ä", false),
        ] {
            assert_eq!(Config::new(name, "folder").check().is_ok(), valid, "{name:?}");
            let adapted = Config { adapters: vec![adapter(name)], ..Config::new("pip", "folder") };
            assert_eq!(adapted.check().is_ok(), valid, "{name:?}");
        }
        let long = Config { adapters: vec![adapter(&"a".repeat(60))], ..Config::new("pip", "folder") };
        assert!(long.check().is_err() && Config::new("a".repeat(60), "folder").check().is_ok());
        assert!(Config { max_concurrent: 0, ..Config::new("pip", "folder") }.check().is_err());
        assert!(Config { load_timeout: Some(Duration::ZERO), ..Config::new("pip", "folder") }.check().is_err());
        assert!(Config { tenants: vec!["a b".to_owned()], ..Config::new("pip", "folder") }.check().is_err());
    }

    #[test]
    fn an_adapter_is_a_model_of_its_own() {
        let config = Config { adapters: vec![adapter("pirate"), adapter("poet")], ..Config::new("pip", "folder") };
        assert_eq!(config.models(), ["pip", "pip:pirate", "pip:poet"]);
    }

    #[test]
    fn what_is_missing_is_told_for_each_path() {
        let config = Config { adapters: vec![adapter("pirate")], ..Config::new("Pip", "no/such") };
        let problems = config.problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.starts_with("engine.mistralrs: ")), "{problems:?}");
    }
}
