//! What a decision and a pick cost, and what picks are worth to a simulated fleet.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::shell;

/// The examples of libs/policy that measure.
const DECIDE: &str = "decide";
const FLEET: &str = "fleet";

pub(super) fn measure() -> Result<Value> {
    let made = shell::artifacts_with(
        &["build", "--example", DECIDE, "--example", FLEET],
        &[("CARGO_PROFILE_DEV_OPT_LEVEL", "3")],
    )?;
    let figures = |name: &str| {
        let found = made.iter().find(|one| one.target.name == name && one.executable.is_some());
        let path = found.and_then(|one| one.executable.as_ref()).with_context(|| format!("cargo made no `{name}`"))?;
        told(path.as_std_path())
    };
    Ok(json!({ "decide": figures(DECIDE)?, "fleet": figures(FLEET)? }))
}

/// Runs a program and reads what it prints.
fn told(program: &Path) -> Result<Value> {
    println!("$ {}", program.display());
    let output = Command::new(program).stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "{} ended with {}", program.display(), output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
