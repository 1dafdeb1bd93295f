//! A process that has servers, and how it ends.

use std::path::Path;

use anyhow::{Context, Result};
use pointsman_testkit::{Process, eventually};

use crate::{LIMIT, folder_of, processes_in};

#[tokio::test]
async fn nothing_is_left_of_an_owner_that_was_killed() -> Result<()> {
    let mut owner = Process::start(Path::new(env!("CARGO_BIN_EXE_test-servers")), [""; 0], [("", ""); 0])?;
    let mut folders = Vec::new();
    for scheme in ["postgres://", "redis://"] {
        let line = owner.line_with(scheme, LIMIT).await?;
        let id = line.split_once("(process ").and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
        let folder = folder_of(id.with_context(|| line.clone())?)?;
        assert!(processes_in(&folder)?.len() > 1, "the server and what looks after it");
        folders.push(folder);
    }
    owner.kill9().await?;
    for folder in folders {
        eventually!(LIMIT, processes_in(&folder).is_ok_and(|left| left.is_empty()))?;
        assert!(!folder.exists(), "{} is left", folder.display());
    }
    Ok(())
}
