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
mod sessions;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Artifact;
use clap::{Args, ValueEnum};
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
    /// Turns of sessions on PostgreSQL, Redis and SQLite, and LangGraph's checkpointer, which it installs: 10 minutes.
    Sessions,
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
            Self::Sessions => "sessions",
            Self::Builds => "builds",
        }
    }
}

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// The parts to measure; the page keeps what was measured before of the others. None: only the page.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Only sees whether `sessions` runs: with small numbers, and shows its section instead of writing the page.
    #[arg(long)]
    trial: bool,
    /// Where `pointsman`, `load` and `session-load` lie; without it they are built.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

impl Options {
    fn lean(&self) -> Result<Binaries> {
        self.binaries.as_deref().map_or_else(Binaries::lean, Binaries::lying_in)
    }
}

/// Measures these parts and renders the page.
pub fn run(options: &Options) -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    if options.trial {
        ensure!(options.parts == [Part::Sessions], "there is a trial of `sessions` alone");
        let mut figures = sessions::measure(&options.lean()?, sessions::TRIAL)?;
        figures["machine"] = machine::describe()?;
        return page::show(Part::Sessions.name(), &figures);
    }
    for part in &options.parts {
        let mut figures = match part {
            Part::Gateway => gateway::measure(&options.lean()?)?,
            Part::Rivals => rivals::measure(&options.lean()?)?,
            Part::Policy => policy::measure()?,
            Part::Engine => {
                let (binaries, direct) = Binaries::with_engine()?;
                engine::measure(&binaries, &direct)?
            }
            Part::Sessions => sessions::measure(&options.lean()?, sessions::WHOLE)?,
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
    session_load: PathBuf,
}

impl Binaries {
    /// As they are shipped, without an engine.
    fn lean() -> Result<Self> {
        let lean = ["build", "--profile", "lean", "--no-default-features"];
        let programs = ["--bin", "pointsman", "--bin", "load", "--bin", "session-load"];
        Self::kept(&shell::artifacts(&[&lean[..], &programs].concat())?)
    }

    fn lying_in(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize().with_context(|| format!("looking into {}", folder.display()))?;
        let [pointsman, load, session_load] = ["pointsman", "load", "session-load"].map(|name| folder.join(name));
        Ok(Self { pointsman, load, session_load })
    }

    fn kept(made: &[Artifact]) -> Result<Self> {
        let kept = |name| kept(made, name);
        Ok(Self { pointsman: kept("pointsman")?, load: kept("load")?, session_load: kept("session-load")? })
    }

    /// With mistral.rs, and what calls it directly. Our own crates are optimised as the dependencies already are; these
    /// are left as they were built.
    fn with_engine() -> Result<(Self, PathBuf)> {
        let arguments = ["build", "--bins", "--example", "direct"];
        let made = shell::artifacts_with(&arguments, &[("CARGO_PROFILE_DEV_OPT_LEVEL", "3")])?;
        Ok((Self::kept(&made)?, kept(&made, "direct")?))
    }
}

/// Copies a program that was made: the next ordinary build puts another in the same place.
fn kept(made: &[Artifact], name: &str) -> Result<PathBuf> {
    let of_name = made.iter().find(|one| one.target.name == name && one.executable.is_some());
    let path = of_name.and_then(|one| one.executable.clone()).with_context(|| format!("cargo made no `{name}`"))?;
    let copy = folder().join(name);
    fs::copy(path.into_std_path_buf(), &copy)?;
    Ok(copy)
}
