//! Which engine a worker has. The one place that names engines.

use std::path::Path;
#[cfg(feature = "mistralrs")]
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use pointsman_engine::Engine;
use pointsman_engine::simulated::{self, SimulatedEngine};
use pointsman_server::ConfigError;
use serde::{Deserialize, Serialize};

use crate::arguments::{EngineKind, EngineOptions};

/// The demo model, from the root of a clone.
#[cfg(feature = "mistralrs")]
const DEMO_MODEL: &str = "models/demo/model";
/// What the demo model is called.
#[cfg(feature = "mistralrs")]
const DEMO_NAME: &str = "pip";

/// The section `engine`: exactly one engine, by name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EngineConfig {
    /// mistral.rs with a model from a folder.
    #[cfg(feature = "mistralrs")]
    Mistralrs(pointsman_engine_mistralrs::Config),
    /// No model: deterministic text.
    Simulated(simulated::Config),
    /// Not chosen, and this build can load no model.
    #[cfg(not(feature = "mistralrs"))]
    #[serde(skip)]
    Unchosen,
}

impl Default for EngineConfig {
    fn default() -> Self {
        #[cfg(feature = "mistralrs")]
        return Self::Mistralrs(pointsman_engine_mistralrs::Config::new(DEMO_NAME, demo_model()));
        #[cfg(not(feature = "mistralrs"))]
        return Self::Unchosen;
    }
}

impl EngineConfig {
    /// Changes the choice to what the command line says. Returns what is wrong with that.
    pub(crate) fn choose(&mut self, options: &EngineOptions) -> Vec<String> {
        if options.engine == Some(EngineKind::Simulated) && options.model.is_some() {
            return vec!["--model: the simulated engine has no model; leave one of the two out".to_owned()];
        }
        match options.engine {
            Some(EngineKind::Simulated) if !matches!(self, Self::Simulated(_)) => {
                *self = Self::Simulated(simulated::Config::default());
            }
            #[cfg(feature = "mistralrs")]
            Some(EngineKind::Mistralrs) if !matches!(self, Self::Mistralrs(_)) => *self = Self::default(),
            #[cfg(not(feature = "mistralrs"))]
            Some(EngineKind::Mistralrs) => *self = Self::Unchosen,
            _ => {}
        }
        #[cfg(feature = "mistralrs")]
        if let Some(model) = &options.model {
            *self = Self::Mistralrs(pointsman_engine_mistralrs::Config::new(model_name(model), model));
        }
        #[cfg(not(feature = "mistralrs"))]
        if options.model.is_some() {
            *self = Self::Unchosen;
        }
        match (self, &options.script) {
            (_, None) => {}
            (Self::Simulated(config), Some(script)) => config.script = Some(script.clone()),
            _ => return vec!["--script: only the simulated engine follows one; add `--engine simulated`".to_owned()],
        }
        Vec::new()
    }

    /// Chooses the model in a folder, with its weights as they are.
    pub(crate) fn unquantized(folder: &Path) -> Result<Self> {
        #[cfg(feature = "mistralrs")]
        return Ok(Self::Mistralrs(pointsman_engine_mistralrs::Config::new(model_name(folder), folder)));
        #[cfg(not(feature = "mistralrs"))]
        anyhow::bail!("this build has no mistral.rs to load {} with", folder.display());
    }

    /// The same in another number format; fails with the names that there are.
    pub(crate) fn quantized(folder: &Path, name: &str) -> Result<Self, String> {
        #[cfg(feature = "mistralrs")]
        {
            use pointsman_engine_mistralrs::{Config, Quantization};
            let known = Quantization::ALL.into_iter().find(|quantization| quantization.name() == name);
            let quantize = known.ok_or_else(|| {
                let names = Quantization::ALL.map(Quantization::name).join(", ");
                format!("`{name}` is no quantisation; write `none` or one of {names}")
            })?;
            Ok(Self::Mistralrs(Config { quantize: Some(quantize), ..Config::new(model_name(folder), folder) }))
        }
        #[cfg(not(feature = "mistralrs"))]
        return Err(format!("this build has no mistral.rs to load {} as {name} with", folder.display()));
    }

    /// Returns what is wrong with the choice.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            #[cfg(feature = "mistralrs")]
            Self::Mistralrs(config) => config.problems(),
            Self::Simulated(config) => config.problems(),
            #[cfg(not(feature = "mistralrs"))]
            Self::Unchosen => {
                vec![
                    "engine: this build has no mistral.rs; use `--engine simulated`, or build it with default features"
                        .to_owned(),
                ]
            }
        }
    }

    /// Starts the engine. May take as long as a model is large.
    pub(crate) async fn start(self) -> Result<Arc<dyn Engine>> {
        match self {
            #[cfg(feature = "mistralrs")]
            Self::Mistralrs(config) => Ok(Arc::new(pointsman_engine_mistralrs::MistralrsEngine::load(config).await?)),
            Self::Simulated(config) => {
                let script = config.read_script().map_err(ConfigError::Invalid)?;
                let engine = SimulatedEngine::new(config);
                Ok(Arc::new(match script {
                    Some(script) => engine.scripted(script),
                    None => engine,
                }))
            }
            #[cfg(not(feature = "mistralrs"))]
            Self::Unchosen => anyhow::bail!("no engine was chosen"),
        }
    }
}

/// The demo model of the clone that we stand in, else of the clone that this program was built in.
#[cfg(feature = "mistralrs")]
fn demo_model() -> PathBuf {
    let here = PathBuf::from(DEMO_MODEL);
    if here.is_dir() { here } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DEMO_MODEL) }
}

/// A model is called as its folder is, in the letters that a resource name may have; the demo model has a
/// name of its own.
#[cfg(feature = "mistralrs")]
fn model_name(folder: &Path) -> String {
    let same = |a: &Path, b: &Path| a.canonicalize().ok().is_some_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if same(folder, &demo_model()) {
        return DEMO_NAME.to_owned();
    }
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
    name.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect()
}
