//! Debian's packages, for a machine that has nothing yet.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Sees to a browser that tests drive, and to the driver of its version.
pub fn browser() -> Result<()> {
    let is_there = |program: &str| shell::succeeds(Command::new(program).arg("--version"));
    if is_there("chromium") && is_there("chromedriver") {
        return Ok(());
    }
    install(&["chromium", "chromium-driver"])
}

/// Installs the packages, or says how to, where we are not root on Debian.
pub fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    let is_debian = shell::succeeds(Command::new("apt-get").arg("--version"));
    let is_root = shell::output(Command::new("id").arg("-u")).is_ok_and(|user| user == "0");
    if !is_debian {
        bail!("{wanted} (by the names of Debian's packages) is missing: install it and run this again");
    }
    if !is_root {
        bail!("{wanted} is missing: run `sudo apt-get install {wanted}` and then this again");
    }
    shell::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-qq", "--no-install-recommends"]);
    shell::run(command.args(packages)).with_context(|| format!("installing {wanted}"))
}
