//! Packages from npm: the JavaScript clients that tests drive, and buf.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Tool, debian};
use crate::shell;

/// Returns the `node_modules` folder of `tests/node`.
pub fn for_tests() -> Result<PathBuf> {
    let source = crate::root().join("tests/node");
    let read = |name: &str| fs::read_to_string(source.join(name)).with_context(|| format!("reading tests/node/{name}"));
    let (manifest, lock) = (read("package.json")?, read("package-lock.json")?);
    let folder = Tool::new("node", format!("{manifest}{lock}")).made(|folder| {
        fs::write(folder.join("package.json"), &manifest)?;
        fs::write(folder.join("package-lock.json"), &lock)?;
        // None of them needs its script; some print advice that is about other folders.
        shell::run(npm(folder)?.args(["ci", "--ignore-scripts"]))
    })?;
    Ok(folder.join("node_modules"))
}

/// Returns a program of a package at one exact version, such as `@bufbuild/buf` at `1.75.0`.
pub fn program(package: &str, version: &str, name: &str) -> Result<PathBuf> {
    let pin = format!("{package}@{version}");
    let folder = Tool::new(name, pin.clone()).made(|folder| {
        fs::write(folder.join("package.json"), "{ \"private\": true }\n")?;
        shell::run(npm(folder)?.args(["install", "--no-save", &pin]))
    })?;
    Ok(folder.join("node_modules/.bin").join(name))
}

/// Returns npm for that folder, installed first where it is missing.
fn npm(folder: &Path) -> Result<Command> {
    if !shell::succeeds(Command::new("npm").arg("--version")) {
        debian::install(&["nodejs", "npm"])?;
    }
    let mut command = Command::new("npm");
    // Both, because `npm ci` reads its lock file from the working folder in some versions.
    command.current_dir(folder).arg("--prefix").arg(folder).args(["--no-audit", "--no-fund", "--loglevel=error"]);
    Ok(command)
}
