//! The processes of the mesh, and how each is started.

pub(crate) mod postgres;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Engine;
use super::plan::{Plan, Role, Service};
use crate::{shell, tools};

/// What Redis may hold: it is a cache, and forgets what was used least lately.
const REDIS_MEMORY: &str = "64mb";

/// A process, before it is started.
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// None: it is no service, and has none.
    pub(super) operator: Option<SocketAddr>,
    /// What runs before it, one after the other, each to its end.
    pub(super) before: Vec<Command>,
    pub(super) command: Command,
}

impl Member {
    fn server(role: Role, address: SocketAddr, command: Command) -> Self {
        Self { role, name: role.command(), address, operator: None, before: Vec::new(), command }
    }
}

/// The programs of the mesh.
pub(super) struct Programs {
    pointsman: PathBuf,
    receiver: PathBuf,
    /// A folder.
    postgres: PathBuf,
    redis: PathBuf,
}

impl Programs {
    /// The same build as `cargo run` and the tests have.
    pub(super) fn build() -> Result<Self> {
        let pointsman = shell::build()?;
        Self::lying_in(pointsman.parent().context("the binary lies in no folder")?)
    }

    pub(super) fn lying_in(folder: &Path) -> Result<Self> {
        // Absolute, since the processes run in the root of the workspace.
        let folder = folder.canonicalize().with_context(|| format!("looking into {}", folder.display()))?;
        let (pointsman, receiver) = (folder.join("pointsman"), folder.join("otlp-receiver"));
        for program in [&pointsman, &receiver] {
            if !program.is_file() {
                bail!("{} is not there: run `cargo build`", program.display());
            }
        }
        Ok(Self { pointsman, receiver, postgres: tools::servers::postgres()?, redis: tools::servers::redis()? })
    }

    /// Returns what is not ours: the services expect it to be there when they start.
    pub(super) fn servers(&self, plan: &Plan, spans: &Path, data: &Path) -> Result<Vec<Member>> {
        let mut receiver = Command::new(&self.receiver);
        receiver.arg("--listen").arg(plan.receiver.to_string()).arg("--file").arg(spans);
        let mut postgres = postgres::command(&self.postgres.join("postgres"), data)?;
        postgres.args(postgres::settings(plan.postgres));
        let mut redis = Command::new(&self.redis);
        redis.args(["--bind", "127.0.0.1", "--port"]).arg(plan.redis.port().to_string());
        redis.args(["--save", "", "--appendonly", "no", "--maxmemory", REDIS_MEMORY]);
        redis.args(["--maxmemory-policy", "allkeys-lru", "--dir"]).arg(data);
        Ok(vec![
            Member::server(Role::Receiver, plan.receiver, receiver),
            Member {
                before: postgres::made(&self.postgres.join("initdb"), data)?,
                ..Member::server(Role::Postgres, plan.postgres, postgres)
            },
            Member::server(Role::Redis, plan.redis, redis),
        ])
    }

    /// Returns the services, those who are called before those who call.
    pub(super) fn services(&self, plan: &Plan, engine: Engine, data: &Path) -> Vec<Member> {
        let member = |service: &Service| {
            let Service { role, name, ref config, listen, operator, .. } = *service;
            let run = |words: &[&str]| {
                let mut command = Command::new(&self.pointsman);
                command.args(words).arg("--config").arg(config);
                command
            };
            let (before, mut command) = match role {
                Role::Sessions => (vec![run(&["sessions", "migrate"])], run(&["sessions", "serve"])),
                role => (Vec::new(), run(&[role.command()])),
            };
            // A folder each, and not in the files: where the build folder lies, they cannot know.
            if role == Role::Gateway {
                command.arg("--data-dir").arg(data.join(name));
            }
            // The demo model is what the files have.
            if role == Role::Worker && engine != Engine::Mistralrs {
                command.arg("--engine").arg(engine.name());
            }
            Member { role, name, address: listen, operator: Some(operator), before, command }
        };
        plan.services.iter().map(member).collect()
    }
}
