//! Looks for bytes that bring down what reads a stranger's bytes, with libFuzzer.
//!
//! Stable Rust is enough: what LLVM needs to count what was reached are codegen options, and only the sanitizers,
//! which a workspace without `unsafe` code can do without, are of nightly.

mod outcome;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{shell, tools};
use outcome::Outcome;

/// What to look at, and for how long.
#[derive(clap::Args)]
pub struct Options {
    /// The targets, by name; all of them if none is given.
    targets: Vec<String>,
    /// How long each is tried, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Adds to fuzz/corpus what reaches code that nothing there reaches, and looks for nothing.
    #[arg(long)]
    keep: bool,
}

/// Counts which edges of the code were taken and tells libFuzzer what was compared, as cargo-fuzz does.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds the programs and runs each. Goes on with the next where one has found something, and fails at the end.
pub fn run(options: &Options) -> Result<()> {
    let chosen = chosen(&options.targets)?;
    if !shell::succeeds(Command::new("c++").arg("--version")) {
        tools::debian::install(&["g++"])?;
    }
    let programs = build()?;
    let mut outcomes = Vec::new();
    for name in &chosen {
        let program = programs.get(name).with_context(|| format!("cargo made no program `{name}`"))?;
        let target = Target::new(name, program)?;
        match options.keep {
            true => target.keep()?,
            false => outcomes.push(target.run(options.seconds)?),
        }
    }
    outcome::show(&outcomes);
    let fallen: Vec<&str> = outcomes.iter().filter(|one| one.fell).map(|one| one.target.as_str()).collect();
    ensure!(fallen.is_empty(), "something was found: {}", fallen.join(" "));
    Ok(())
}

/// Every target has a program in `fuzz/fuzz_targets`.
fn chosen(wanted: &[String]) -> Result<Vec<String>> {
    let folder = crate::root().join("fuzz/fuzz_targets");
    let mut known = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        known.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    known.sort();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("there is no target `{unknown}`; there are {}", known.join(", "));
    }
    known.retain(|name| wanted.is_empty() || wanted.contains(name));
    Ok(known)
}

/// Where programs, finds and logs lie: none of it belongs to the other builds.
fn folder() -> PathBuf {
    crate::target_dir().join("fuzz")
}

fn build() -> Result<BTreeMap<String, PathBuf>> {
    let about = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    let folder = folder();
    let folder = folder.to_str().context("the build folder's path is no text")?;
    let package = ["build", "--locked", "--release", "--package=pointsman-fuzz", "--features=libfuzzer", "--bins"];
    // With a target of its own, so that build scripts and macros are not instrumented.
    let arguments = [&package[..], &["--target", host, "--target-dir", folder]].concat();
    let checked = ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    let overflow = ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    let lines = ("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    let made = shell::artifacts_with(&arguments, &[("RUSTFLAGS", INSTRUMENTED), checked, overflow, lines])?;
    let programs = made.into_iter().filter_map(|one| Some((one.target.name, one.executable?.into())));
    Ok(programs.collect())
}

/// One target and its folders.
struct Target<'a> {
    name: &'a str,
    program: &'a Path,
    /// What is in the repository.
    kept: PathBuf,
    /// What reached something new on this machine.
    found: PathBuf,
}

impl<'a> Target<'a> {
    fn new(name: &'a str, program: &'a Path) -> Result<Self> {
        let kept = crate::root().join("fuzz/corpus").join(name);
        let found = folder().join("found").join(name);
        fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
        Ok(Self { name, program, kept, found })
    }

    fn run(&self, seconds: u32) -> Result<Outcome> {
        let log = folder().join(format!("{}.log", self.name));
        let fallen = folder().join("fallen").join(self.name);
        fs::create_dir_all(&fallen).with_context(|| format!("making {}", fallen.display()))?;
        let mut command = Command::new(self.program);
        command.args([&self.found, &self.kept]);
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", fallen.display()));
        // Ten seconds are a thousand times what 16 KiB should take: what is slower is not linear.
        command.args([
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=16384",
            "-len_control=50",
            "-print_final_stats=1",
        ]);
        let words = crate::root().join(format!("fuzz/dictionaries/{}.dict", self.name));
        if words.is_file() {
            command.arg(format!("-dict={}", words.display()));
        }
        println!("{}: {seconds} s, log in {}", self.name, log.display());
        let status = command.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?).status();
        let status = status.with_context(|| format!("starting {}", self.program.display()))?;
        let told = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        let outcome = Outcome::of(self.name, &String::from_utf8_lossy(&told), !status.success());
        if outcome.fell {
            println!("{}", outcome.last_words);
            println!("{}: the bytes lie in {}", self.name, fallen.display());
            println!("mend it, and keep them in fuzz/corpus/{} under a name that says what they were", self.name);
        }
        Ok(outcome)
    }

    /// By edges alone: by how often each was taken, ten times as many would be kept.
    fn keep(&self) -> Result<()> {
        let mut command = Command::new(self.program);
        shell::run(command.args(["-merge=1", "-use_counters=0", "-max_len=4096"]).args([&self.kept, &self.found]))
    }
}
