//! The Python that tests and checks run: a virtual environment with the packages of `tests/python`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Tool, debian};
use crate::shell;

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// Returns the interpreter that sees the packages of `tests/python/requirements.txt`.
pub fn for_tests() -> Result<PathBuf> {
    Ok(environment()?.join("bin/python"))
}

/// Returns a program that one of those packages installs.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(environment()?.join("bin").join(name))
}

/// Returns the environment's folder, made anew when the requirements or the machine's Python have changed.
fn environment() -> Result<PathBuf> {
    let file = crate::root().join(REQUIREMENTS);
    let requirements = fs::read_to_string(&file).with_context(|| format!("reading {REQUIREMENTS}"))?;
    if !shell::succeeds(python3().arg("--version")) {
        debian::install(&["python3", "python3-venv"])?;
    }
    let version = shell::output(python3().arg("--version"))?;
    Tool::new("python", format!("{version}\n{requirements}")).made(|folder| {
        create(folder)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        shell::run(pip.arg("--requirement").arg(&file))
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

fn python3() -> Command {
    Command::new("python3")
}
