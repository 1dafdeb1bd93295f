//! Programs that the commands call: shown before they run, named when they fail.

use std::ffi::OsStr;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, Message};

/// Shows the command, runs it with our own output, and fails if it does.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Tells whether the command starts and succeeds; shows nothing.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Returns what the command printed, without the last line's end.
pub fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("starting `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Returns cargo in the root of the workspace, with the environment it would have if a person had called it.
///
/// `cargo run` hands our own package's variables down, and build scripts that watch them (ring's does)
/// would run again, and everything above them would be compiled again, mistral.rs with it.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(crate::root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_our_own_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the default members and returns where cargo put the `pointsman` binary.
pub fn build() -> Result<PathBuf> {
    let made = artifacts(&["build"])?.into_iter().filter(|artifact| artifact.target.name == "pointsman");
    let binary = made.filter_map(|artifact| artifact.executable).next();
    Ok(binary.context("cargo build made no binary called pointsman")?.into())
}

/// Runs cargo with these arguments and returns what it made or found made.
pub fn artifacts(arguments: &[&str]) -> Result<Vec<Artifact>> {
    artifacts_with(arguments, &[])
}

/// Runs cargo with these arguments and variables, and returns what it made or found made.
pub fn artifacts_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Vec<Artifact>> {
    let line = format!("cargo {}", arguments.join(" "));
    println!("$ {line}");
    let mut command = cargo();
    command.envs(variables.iter().copied());
    command.args(arguments).arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting `{line}`"))?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut artifacts = Vec::new();
    for message in Message::parse_stream(BufReader::new(output)) {
        if let Message::CompilerArtifact(artifact) = message? {
            artifacts.push(artifact);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(artifacts)
}

fn is_of_our_own_package(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    const NAMES: [&str; 4] = ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
