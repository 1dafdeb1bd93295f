//! `docker-compose.yml`: what it names is there, and nothing is open to other machines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{COMPOSE, dockerfile};

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    #[serde(default)]
    volumes: BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    image: String,
    build: Option<Build>,
    depends_on: Others,
    ports: Vec<String>,
    volumes: Vec<String>,
}

/// Names of services, or names with what each must have reached.
#[derive(Deserialize)]
#[serde(untagged)]
enum Others {
    Started(Vec<String>),
    Reached(BTreeMap<String, IgnoredAny>),
}

impl Default for Others {
    fn default() -> Self {
        Self::Started(Vec::new())
    }
}

impl Others {
    fn names(&self) -> Vec<&String> {
        match self {
            Self::Started(names) => names.iter().collect(),
            Self::Reached(conditions) => conditions.keys().collect(),
        }
    }
}

#[derive(Deserialize)]
struct Build {
    context: String,
    dockerfile: String,
    target: String,
}

pub(super) fn findings(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(COMPOSE)).with_context(|| format!("reading {COMPOSE}"))?;
    in_text(&text, root)
}

fn in_text(text: &str, root: &Path) -> Result<Vec<String>> {
    let compose: Compose = serde_saphyr::from_str(text).context(COMPOSE)?;
    let mut findings = Vec::new();
    for (name, service) in &compose.services {
        let mut found = service.own_findings(root)?;
        let others = service.depends_on.names().into_iter();
        let unknown = others.filter(|other| !compose.services.contains_key(*other));
        found.extend(unknown.map(|other| format!("depends on `{other}`, which is no service")));
        let unknown = service.mounted().filter(|host| is_name(host) && !compose.volumes.contains_key(*host));
        found.extend(unknown.map(|volume| format!("mounts `{volume}`, which is no volume: name it under `volumes`")));
        findings.extend(found.into_iter().map(|finding| format!("{COMPOSE}: {name}: {finding}")));
    }
    Ok(findings)
}

impl Service {
    fn own_findings(&self, root: &Path) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        if let Some(build) = &self.build {
            let context = root.join(&build.context);
            let text = fs::read_to_string(context.join(&build.dockerfile))
                .with_context(|| format!("reading {}", build.dockerfile))?;
            if !dockerfile::has_stage(&text, &build.target)? {
                findings.push(format!("{} has no stage `{}`", build.dockerfile, build.target));
            }
        } else if !is_pinned(&self.image) {
            findings.push(format!("`{}` names no version", self.image));
        }
        let open = self.ports.iter().filter(|port| !port.starts_with("127.0.0.1:"));
        findings.extend(open.map(|port| format!("port `{port}` is open to other machines: begin it with 127.0.0.1:")));
        let missing = self.mounted().filter(|host| host.starts_with('.') && !root.join(host).exists());
        findings.extend(missing.map(|host| format!("mounts {host}, which is not there")));
        Ok(findings)
    }

    /// What is mounted: paths of this machine, and names of volumes.
    fn mounted(&self) -> impl Iterator<Item = &str> {
        self.volumes.iter().filter_map(|volume| volume.split(':').next())
    }
}

fn is_name(host: &str) -> bool {
    !host.starts_with(['.', '/', '~'])
}

fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    tag.is_some_and(|tag| tag.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_open_is_found() {
        let text = "
x-service: &service
  ports: [\"8080:8080\"]
  depends_on: [nobody]
services:
  one:
    <<: *service
    build: {context: ., dockerfile: deploy/docker/Dockerfile, target: nothing}
    volumes: [./not/there:/etc/x:ro, kept:/a, lost:/b]
  two:
    image: registry:5000/two:latest
    depends_on: {one: {condition: service_healthy}, nowhere: {condition: service_started}}
volumes:
  kept:
";
        let findings = in_text(text, &crate::root()).unwrap().join("\n");
        for expected in [
            "no stage `nothing`",
            "`nobody`",
            "two: depends on `nowhere`",
            "`8080:8080` is open",
            "./not/there",
            "mounts `lost`",
            "two:latest` names no",
        ] {
            assert!(findings.contains(expected), "`{expected}` is not in {findings}");
        }
        assert_eq!(findings.lines().count(), 7, "{findings}");
    }
}
