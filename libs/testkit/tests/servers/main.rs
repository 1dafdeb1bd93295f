//! Real servers, as the tests of other crates have them.

mod owner;
mod postgres;
mod redis;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns the folder where a server keeps what it has, with all else that belongs to it.
fn folder_of(server: u32) -> Result<PathBuf> {
    let data = fs::read_link(format!("/proc/{server}/cwd")).with_context(|| format!("no process {server}"))?;
    Ok(data.parent().context("data in no folder")?.to_owned())
}

/// Returns the processes that run in that folder, also when it is removed, each with the letter of its state.
fn processes_in(folder: &Path) -> Result<Vec<(u32, char)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let process = PathBuf::from(format!("/proc/{id}"));
        // It may end between the questions, and one that has ended is nowhere.
        let Ok(place) = fs::read_link(process.join("cwd")) else { continue };
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if let Some(state) = state.filter(|state| place.starts_with(folder) && !"ZX".contains(*state)) {
            found.push((id, state));
        }
    }
    Ok(found)
}
