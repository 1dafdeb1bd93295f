//! Makes the demo model anew with the recipe of `models/demo/recipe`, or checks that recipe.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{shell, tools};

/// Where the committed model and its recipe are.
const DEMO: &str = "models/demo";
/// What everything but training needs: small.
const FOR_FILES: &str = "models/demo/recipe/requirements-files.txt";
/// The same with torch: 5.5 GB on Linux.
const FOR_TRAINING: &str = "models/demo/recipe/requirements.txt";

/// What to make, where, and how long to train.
#[derive(Args)]
pub struct Arguments {
    /// What to make; model, lora, embed and gguf if nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// The folder to write into. The committed files change only if it is `models/demo` [default: `demo-model` below
    /// the build folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long to train each part, in minutes of CPU time per thread [default: 24 for the model, 3 for the others].
    #[arg(long, value_name = "N", value_parser = minutes)]
    minutes: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// The chat model.
    Model,
    /// The LoRA adapter, for the model that stands in the folder, or else the committed one.
    Lora,
    /// The embedding model, from the same.
    Embed,
    /// The GGUF file, of the same.
    Gguf,
    /// Compares the committed files with what the recipe makes, and trains tiny models for a few steps.
    Check,
}

/// Makes the parts, those first from which others are made.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.clone().unwrap_or_else(|| crate::target_dir().join("demo-model"));
    // The recipe runs in another folder.
    let out = std::path::absolute(out)?;
    for part in in_order(&arguments.parts) {
        make(part, &out, arguments.minutes)?;
    }
    Ok(())
}

/// Makes anew what needs no training, and compares it with the committed files byte by byte.
pub fn check_files() -> Result<()> {
    shell::run(recipe(FOR_FILES)?.arg("check-files"))
}

fn in_order(parts: &[Part]) -> Vec<Part> {
    if parts.is_empty() {
        return vec![Part::Model, Part::Lora, Part::Embed, Part::Gguf];
    }
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    parts.dedup();
    parts
}

fn make(part: Part, out: &Path, minutes: Option<f64>) -> Result<()> {
    let from = base_model(out);
    let (command, target) = match part {
        Part::Check => {
            check_files()?;
            return shell::run(recipe(FOR_TRAINING)?.arg("check-training"));
        }
        Part::Gguf => {
            let mut command = recipe(FOR_FILES)?;
            command.arg("gguf").arg("--model").arg(&from).arg("--out").arg(out.join("pip-q8_0.gguf"));
            return shell::run(&mut command);
        }
        Part::Model => ("model", "model"),
        Part::Lora => ("lora", "lora-pirate"),
        Part::Embed => ("embed", "embed"),
    };
    let mut training = recipe(FOR_TRAINING)?;
    training.arg(command).arg("--out").arg(out.join(target));
    if part != Part::Model {
        training.arg("--model").arg(&from);
    }
    if let Some(minutes) = minutes {
        training.args(["--minutes", &minutes.to_string()]);
    }
    shell::run(&mut training)
}

/// Returns the model of the folder, if one was made there, else the committed one.
fn base_model(out: &Path) -> PathBuf {
    let made = out.join("model");
    if made.join("model.safetensors").is_file() { made } else { crate::root().join(DEMO).join("model") }
}

/// Returns the recipe's command line; what is to be done is added to it.
fn recipe(requirements: &str) -> Result<Command> {
    let name = if requirements == FOR_TRAINING { "demo-model-training" } else { "demo-model-files" };
    let mut python = Command::new(tools::python::environment_of(name, requirements)?.join("bin/python"));
    // The compiled files go below the build folder, not beside the sources.
    python.env("PYTHONPYCACHEPREFIX", crate::target_dir().join("tools/pycache"));
    python.current_dir(crate::root().join(DEMO)).args(["-m", "recipe"]);
    Ok(python)
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && f64::is_finite(minutes) => Ok(minutes),
        _ => Err("expected a number of minutes above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn what_is_made_from_the_model_comes_after_it() {
        assert!(in_order(&[]) == [Part::Model, Part::Lora, Part::Embed, Part::Gguf]);
        assert!(in_order(&[Part::Gguf, Part::Model, Part::Gguf]) == [Part::Model, Part::Gguf]);
    }

    #[test]
    fn minutes_are_above_zero() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for text in ["0", "-1", "inf", "NaN", "long"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }

    /// The two environments must not disagree about a version.
    #[test]
    fn training_has_the_pins_of_everything_else() -> Result<()> {
        let pins = |path: &str| -> Result<BTreeSet<String>> {
            let text = fs::read_to_string(crate::root().join(path))?;
            Ok(text.lines().filter(|line| line.contains("==")).map(str::to_owned).collect())
        };
        let (small, whole) = (pins(FOR_FILES)?, pins(FOR_TRAINING)?);
        assert!(!small.is_empty() && small.is_subset(&whole), "{:?}", small.difference(&whole));
        Ok(())
    }
}
