//! What the figures were measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::shell;

pub(super) fn describe() -> Result<Value> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    Ok(json!({
        "processor": field("model name"),
        "cores": cores,
        "rustc": shell::output(Command::new("rustc").arg("--version"))?,
        "commit": shell::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(crate::root()))?,
        "date": shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?,
    }))
}
