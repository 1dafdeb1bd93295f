//! Which engines a worker has. The one place that names kinds of them.

mod one_or_more;

use std::collections::HashSet;
use std::path::Path;
#[cfg(feature = "mistralrs")]
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use pointsman_engine::Engine;
use pointsman_engine::simulated::{self, SimulatedEngine};
use pointsman_server::ConfigError;
use serde::{Deserialize, Serialize};

use crate::arguments::{EngineKind, EngineOptions};
use one_or_more::OneOrMore;

/// The demo model, from the root of a clone.
#[cfg(feature = "mistralrs")]
const DEMO_MODEL: &str = "models/demo/model";
/// What the demo model is called.
#[cfg(feature = "mistralrs")]
const DEMO_NAME: &str = "pip";

/// The section `engine`: exactly one kind of engine, by name, with one model or a list of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EngineConfig {
    /// mistral.rs with models from files.
    #[cfg(feature = "mistralrs")]
    Mistralrs(OneOrMore<pointsman_engine_mistralrs::Config>),
    /// No model: deterministic text.
    Simulated(OneOrMore<simulated::Config>),
    /// Not chosen, and this build can load no model.
    #[cfg(not(feature = "mistralrs"))]
    #[serde(skip)]
    Unchosen,
}

impl Default for EngineConfig {
    fn default() -> Self {
        #[cfg(feature = "mistralrs")]
        return Self::Mistralrs(OneOrMore::one(pointsman_engine_mistralrs::Config::new(DEMO_NAME, demo_model())));
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
                *self = Self::Simulated(OneOrMore::one(simulated::Config::default()));
            }
            #[cfg(feature = "mistralrs")]
            Some(EngineKind::Mistralrs) if !matches!(self, Self::Mistralrs(_)) => *self = Self::default(),
            #[cfg(not(feature = "mistralrs"))]
            Some(EngineKind::Mistralrs) => *self = Self::Unchosen,
            _ => {}
        }
        #[cfg(feature = "mistralrs")]
        if let Some(model) = &options.model {
            let config = pointsman_engine_mistralrs::Config::new(model_name(model), model);
            *self = Self::Mistralrs(OneOrMore::one(config));
        }
        #[cfg(not(feature = "mistralrs"))]
        if options.model.is_some() {
            *self = Self::Unchosen;
        }
        match (self, &options.script) {
            (_, None) => {}
            (Self::Simulated(configs), Some(script)) => {
                configs.0.iter_mut().for_each(|config| config.script = Some(script.clone()));
            }
            _ => return vec!["--script: only the simulated engine follows one; add `--engine simulated`".to_owned()],
        }
        Vec::new()
    }

    /// Chooses the model in a folder, with its weights as they are.
    pub(crate) fn unquantized(folder: &Path) -> Result<Self> {
        #[cfg(feature = "mistralrs")]
        {
            let config = pointsman_engine_mistralrs::Config::new(model_name(folder), folder);
            Ok(Self::Mistralrs(OneOrMore::one(config)))
        }
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
            let config = Config { quantize: Some(quantize), ..Config::new(model_name(folder), folder) };
            Ok(Self::Mistralrs(OneOrMore::one(config)))
        }
        #[cfg(not(feature = "mistralrs"))]
        return Err(format!("this build has no mistral.rs to load {} as {name} with", folder.display()));
    }

    /// Returns what is wrong with the choice.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            #[cfg(feature = "mistralrs")]
            Self::Mistralrs(configs) => problems(
                "engine.mistralrs",
                &configs.0,
                pointsman_engine_mistralrs::Config::problems,
                pointsman_engine_mistralrs::Config::models,
            ),
            Self::Simulated(configs) => {
                problems("engine.simulated", &configs.0, simulated::Config::problems, |config| {
                    vec![config.target.clone()]
                })
            }
            #[cfg(not(feature = "mistralrs"))]
            Self::Unchosen => {
                vec![
                    "engine: this build has no mistral.rs; use `--engine simulated`, or build it with default features"
                        .to_owned(),
                ]
            }
        }
    }

    /// Starts the engines, one for each target, and returns the first and the others. May take as long as the models
    /// are large.
    pub(crate) async fn start(self) -> Result<(Arc<dyn Engine>, Vec<Arc<dyn Engine>>)> {
        let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
        match self {
            #[cfg(feature = "mistralrs")]
            Self::Mistralrs(configs) => {
                for config in configs.0 {
                    // One after the other: each takes the whole machine.
                    for model in pointsman_engine_mistralrs::load(config).await? {
                        match model {
                            pointsman_engine_mistralrs::Model::Text(engine) => engines.push(Arc::new(engine)),
                            pointsman_engine_mistralrs::Model::Embedding(engine) => engines.push(Arc::new(engine)),
                        }
                    }
                }
            }
            Self::Simulated(configs) => {
                for config in configs.0 {
                    let script = config.read_script().map_err(ConfigError::Invalid)?;
                    let engine = SimulatedEngine::new(config);
                    engines.push(Arc::new(match script {
                        Some(script) => engine.scripted(script),
                        None => engine,
                    }));
                }
            }
            #[cfg(not(feature = "mistralrs"))]
            Self::Unchosen => anyhow::bail!("no engine was chosen"),
        }
        let mut engines = engines.into_iter();
        let first = engines.next().context("no engine is configured")?;
        Ok((first, engines.collect()))
    }
}

/// Returns what is wrong with a list of engines: with each, and with all of them together.
fn problems<C>(
    section: &str,
    configs: &[C],
    of_one: impl Fn(&C) -> Vec<String>,
    names: impl Fn(&C) -> Vec<String>,
) -> Vec<String> {
    if configs.is_empty() {
        return vec![format!("{section}: name at least one model")];
    }
    let place = |index: usize| if configs.len() == 1 { section.to_owned() } else { format!("{section}[{index}]") };
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (index, config) in configs.iter().enumerate() {
        problems.extend(of_one(config).iter().map(|problem| problem.replacen(section, &place(index), 1)));
        for name in names(config) {
            if seen.contains(&name) {
                problems.push(format!("{}: `{name}` is there already; give each a name of its own", place(index)));
            }
            seen.insert(name);
        }
    }
    problems
}

/// The demo model of the clone that we stand in, else of the clone that this program was built in.
#[cfg(feature = "mistralrs")]
fn demo_model() -> PathBuf {
    let here = PathBuf::from(DEMO_MODEL);
    if here.is_dir() { here } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DEMO_MODEL) }
}

/// A model is called as its folder or file is, in the letters that a resource name may have; the demo model has a
/// name of its own.
#[cfg(feature = "mistralrs")]
fn model_name(folder: &Path) -> String {
    let same = |a: &Path, b: &Path| a.canonicalize().ok().is_some_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if same(folder, &demo_model()) {
        return DEMO_NAME.to_owned();
    }
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let is_gguf = folder.extension().is_some_and(|extension| extension == "gguf");
    let name = if is_gguf { folder.file_stem() } else { folder.file_name() };
    let name = name.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
    name.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect()
}
