//! Where sessions are kept, and the store in front of it.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::servers::{Postgres, Redis, folder};
use crate::bench::Binaries;
use crate::bench::mesh::Service;
use crate::shell;

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// PostgreSQL and Redis.
    Both,
    Postgres,
    Sqlite,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Both => "PostgreSQL and Redis",
            Self::Postgres => "PostgreSQL alone",
            Self::Sqlite => "SQLite",
        }
    }

    /// The database in which it is measured.
    pub(super) fn database(self) -> &'static str {
        match self {
            Self::Both => "with_redis",
            Self::Postgres => "without_redis",
            Self::Sqlite => "sqlite",
        }
    }

    /// Makes the database anew.
    pub(super) fn fresh(self, postgres: &Postgres) -> Result<String> {
        if self != Self::Sqlite {
            return postgres.database(self.database());
        }
        let file = folder()?.join("sessions.db");
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", file.display()));
        }
        Ok(format!("sqlite://{}?mode=rwc", file.display()))
    }
}

/// Brings the schema of a database up to date, and starts the store on it.
pub(super) fn store(binaries: &Binaries, url: &str, redis: Option<&Redis>) -> Result<Service> {
    let redis =
        redis.map_or_else(String::new, |redis| format!("  redis:\n    urls: [\"redis://{}\"]\n", redis.address));
    let sections = format!("sessions:\n  database:\n    url: \"{url}\"\n{redis}");
    let file = folder()?.join("migrate.yaml");
    fs::write(&file, &sections)?;
    shell::output(Command::new(&binaries.pointsman).args(["sessions", "migrate", "--config"]).arg(&file))?;
    Service::start(binaries, "sessions serve", &sections, None)
}
