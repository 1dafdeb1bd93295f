//! Real PostgreSQL and Redis, each server a process of its own on a loopback port of its own.
//!
//! A server ends with the value that started it, and with the test process however that ends: a shell looks after it,
//! which stops it and removes its folder as soon as the pipe from the test process is closed (`supervised.sh`).
//! Servers are told from others by `/proc`, so this is for Linux.

mod postgres;
mod redis;
mod supervised;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::postgres::{Options as PostgresOptions, Postgres};
pub use self::redis::Redis;
pub use self::redis::cluster::RedisCluster;
pub use self::redis::sentinel::RedisSentinel;

/// How long a server may take to become ready or to end: longer than either takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program to its end, with none of our environment but `PATH`, and returns what it wrote.
fn output_of<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    output(with_own_environment(Command::new(program).args(arguments)))
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if !output.status.success() {
        bail!("{program} ended with {}: {}\n{}", output.status, text(&output.stderr), text(&output.stdout));
    }
    Ok(text(&output.stdout))
}

/// What a person has set for PostgreSQL's or Redis's programs is not for tests.
fn with_own_environment(command: &mut Command) -> &mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8")
}
