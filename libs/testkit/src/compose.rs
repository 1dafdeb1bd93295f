//! Our own services in `docker-compose.yml`, for tests that run them without Docker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A service that runs an image of ours.
#[derive(Clone, Debug)]
pub struct Service {
    /// What the others call it.
    pub name: String,
    /// The arguments of `pointsman`.
    pub command: Vec<String>,
    /// Files of the repository, each with its path in the container.
    pub mounts: Vec<(PathBuf, String)>,
    /// Named volumes, each with its path in the container.
    pub volumes: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct File {
    services: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    build: Option<Build>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
}

/// There for every image that is ours.
#[derive(Deserialize)]
struct Build {}

/// Returns the services that run an image of ours, in order of their names.
pub fn services() -> Result<Vec<Service>> {
    let root = crate::tools::workspace()?;
    let file = root.join("docker-compose.yml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let file: File = serde_saphyr::from_str(&text).context("docker-compose.yml")?;
    let ours = file.services.into_iter().filter(|(_, entry)| entry.build.is_some());
    ours.map(|(name, entry)| {
        let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
        for volume in &entry.volumes {
            let mut parts = volume.split(':');
            let (host, container) = parts.next().zip(parts.next()).with_context(|| format!("`{volume}` has no `:`"))?;
            match host.starts_with('.') {
                true => mounts.push((root.join(host), container.to_owned())),
                false => volumes.push((host.to_owned(), container.to_owned())),
            }
        }
        Ok(Service { name, command: entry.command, mounts, volumes })
    })
    .collect()
}
