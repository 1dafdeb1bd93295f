//! Measures the project. Each part writes its figures to `{target}/bench/{part}.json`, and all of them
//! together are rendered as docs/reference/performance.md.

mod builds;
mod engine;
mod gateway;
mod machine;
mod mesh;
mod page;
mod policy;
mod rivals;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::shell;

/// Something that is measured in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The gateway in front of a simulated worker, pinned to one core: 4 minutes.
    Gateway,
    /// The gateway beside nginx, sglang-router, smg and LiteLLM, which it installs: 7 minutes.
    Rivals,
    /// Decisions and picks, and a simulated fleet: 2 minutes.
    Policy,
    /// The demo model, directly, through the worker and through the gateway: 5 minutes.
    Engine,
    /// Clean builds, with and without mistral.rs: 10 to 40 minutes.
    Builds,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Rivals => "rivals",
            Self::Policy => "policy",
            Self::Engine => "engine",
            Self::Builds => "builds",
        }
    }
}

/// Measures these parts and renders the page.
pub fn run(parts: &[Part]) -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    for part in parts {
        let mut figures = match part {
            Part::Gateway => gateway::measure(&Binaries::lean()?)?,
            Part::Rivals => rivals::measure(&Binaries::lean()?)?,
            Part::Policy => policy::measure()?,
            Part::Engine => {
                let (binaries, direct) = Binaries::with_engine()?;
                engine::measure(&binaries, &direct)?
            }
            Part::Builds => builds::measure()?,
        };
        figures["machine"] = machine::describe()?;
        fs::write(folder.join(part.name()).with_extension("json"), serde_json::to_vec_pretty(&figures)?)?;
    }
    let measured = Part::value_variants().iter().map(|part| Ok((part.name(), read(*part)?)));
    page::write(&measured.collect::<Result<Vec<_>>>()?)
}

fn folder() -> PathBuf {
    crate::target_dir().join("bench")
}

/// What was measured of a part, now or earlier.
fn read(part: Part) -> Result<Option<Value>> {
    let path = folder().join(part.name()).with_extension("json");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path)?;
    Ok(Some(serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?))
}

/// The programs that are measured, optimised.
struct Binaries {
    pointsman: PathBuf,
    load: PathBuf,
}

impl Binaries {
    /// As they are shipped, without an engine.
    fn lean() -> Result<Self> {
        let made =
            made(&["build", "--profile", "lean", "--no-default-features", "--bin", "pointsman", "--bin", "load"])?;
        Ok(Self { pointsman: made("pointsman")?, load: made("load")? })
    }

    /// With mistral.rs, and what calls it directly. Our own crates are optimised as the dependencies already are; these
    /// are left as they were built.
    fn with_engine() -> Result<(Self, PathBuf)> {
        let made = made(&["build", "--bins", "--example", "direct"])?;
        Ok((Self { pointsman: made("pointsman")?, load: made("load")? }, made("direct")?))
    }
}

/// Builds, and returns where each program is found afterwards.
fn made(arguments: &[&str]) -> Result<impl Fn(&str) -> Result<PathBuf>> {
    let made = shell::artifacts_with(arguments, &[("CARGO_PROFILE_DEV_OPT_LEVEL", "3")])?;
    Ok(move |name: &str| {
        let of_name = made.iter().find(|one| one.target.name == name && one.executable.is_some());
        let path = of_name.and_then(|one| one.executable.clone()).with_context(|| format!("cargo made no `{name}`"))?;
        // A copy: the next ordinary build puts another program in the same place.
        let copy = folder().join(name);
        fs::copy(path.into_std_path_buf(), &copy)?;
        Ok(copy)
    })
}
