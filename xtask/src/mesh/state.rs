//! What `up` started, for `status` and `down`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::plan::Role;
use crate::probe;
use crate::process::Process;

/// The processes, in the order in which they were started.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct State {
    /// With what it was started; None where an older `xtask` has written this.
    #[serde(default)]
    pub(super) asked: Option<Asked>,
    pub(super) processes: Vec<Started>,
}

/// What the command line said.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Asked {
    pub(super) engine: String,
    pub(super) port_base: u16,
}

/// A process of the mesh.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Started {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) process: Process,
    pub(super) since: SystemTime,
    pub(super) address: SocketAddr,
    /// None: it is no service, and has no operator port.
    pub(super) operator: Option<SocketAddr>,
    pub(super) log: PathBuf,
}

impl Started {
    /// Tells whether it can do its work.
    pub(super) fn is_ready(&self) -> bool {
        match (self.role, self.operator) {
            (Role::Postgres, _) => probe::is_postgres_ready(self.address),
            (Role::Redis, _) => probe::is_redis_ready(self.address),
            (_, Some(operator)) => probe::is_ready(operator),
            (_, None) => probe::is_listening(self.address),
        }
    }

    pub(super) fn uptime(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }

    /// The last lines that it wrote.
    pub(super) fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl State {
    /// Reads what was started; `None` if nothing was, or all of it was stopped.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let file = file(folder);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let state = serde_json::from_slice(&text);
        Ok(Some(state.with_context(|| format!("{} is not ours: remove it", file.display()))?))
    }

    /// Keeps it, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let (file, new) = (file(folder), folder.join("state.json.new"));
        fs::write(&new, serde_json::to_vec_pretty(self)?).with_context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, &file).with_context(|| format!("writing {}", file.display()))
    }

    /// Forgets it, since nothing of it runs.
    pub(super) fn remove(folder: &Path) -> Result<()> {
        let file = file(folder);
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))
    }

    /// Returns those that still run.
    pub(super) fn running(&self) -> Vec<&Started> {
        self.processes.iter().filter(|it| it.process.is_running()).collect()
    }
}

/// The last lines of a log.
pub(super) fn log_tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    format!("the end of {}:\n  {}", log.display(), tail.join("\n  "))
}

fn file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}
