//! All tests, with the real binary and the real clients that they drive.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{shell, tools};

/// Makes the clients' packages, builds the binary, and runs `cargo test` for the default members.
///
/// The tests do not link the engine; they get the binary by path, so nothing is compiled for them alone.
pub fn run(arguments: &[String]) -> Result<()> {
    // First what takes a minute at most: what is missing there should not be told after a long build.
    let python = tools::python::for_tests()?;
    let node_modules = tools::node::for_tests()?;
    let binary = build()?;
    let mut tests = shell::cargo();
    tests.arg("test").args(arguments);
    tests.env("POINTSMAN_BIN", binary).env("POINTSMAN_PYTHON", python).env("POINTSMAN_NODE_MODULES", node_modules);
    shell::run(&mut tests)
}

/// Builds the default members and returns where cargo put the `pointsman` binary.
fn build() -> Result<PathBuf> {
    let made = shell::artifacts(&["build"])?.into_iter().filter(|artifact| artifact.target.name == "pointsman");
    let binary = made.filter_map(|artifact| artifact.executable).next();
    Ok(binary.context("cargo build made no binary called pointsman")?.into())
}
