//! A process that has servers, and how it ends.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pointsman_testkit::{Process, eventually, tools};
use tokio::process::Command;

use crate::{LIMIT, folder_of, processes_in};

#[tokio::test]
async fn nothing_is_left_of_an_owner_that_was_killed() -> Result<()> {
    for is_frozen in [false, true] {
        let programs = [
            ("POINTSMAN_POSTGRES_BIN", tools::postgres_programs()?),
            ("POINTSMAN_REDIS_SERVER", tools::redis_server()?),
        ];
        let mut owner = Process::start(Path::new(env!("CARGO_BIN_EXE_test-servers")), [""; 0], programs)?;
        let mut folders = Vec::new();
        for scheme in ["postgres://", "redis://"] {
            let line = owner.line_with(scheme, LIMIT).await?;
            let id = line.split_once("(process ").and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
            let id: u32 = id.with_context(|| line.clone())?;
            folders.push(folder_of(id)?);
            if is_frozen {
                let stop = Command::new("sh").arg("-c").arg(format!("kill -s STOP {id}")).status().await?;
                ensure!(stop.success(), "stopping {id}: {stop}");
            }
        }
        for folder in &folders {
            ensure!(processes_in(folder)?.len() > 1, "the server and what looks after it");
        }
        owner.kill9().await?;
        for folder in folders {
            eventually!(LIMIT, processes_in(&folder).is_ok_and(|left| left.is_empty()))?;
            ensure!(!folder.exists(), "{} is left", folder.display());
        }
    }
    Ok(())
}
