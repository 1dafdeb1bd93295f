//! PostgreSQL and Redis, which tests and the local mesh start themselves: Debian's packages, without the servers that Debian
//! would start.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Tool, debian};
use crate::shell;

/// Debian has a folder for each version, and one below `PATH` for none of them.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Where the package of PostgreSQL reads what it shall do when it is installed.
const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.d";
/// The program of `redis-server` under another name: by its name it knows which it is. It comes with `redis-cli`, and
/// in a package that starts nothing.
const REDIS: &str = "/usr/bin/redis-check-rdb";

/// Returns the folder with PostgreSQL's programs, of the newest version that there is.
pub fn postgres() -> Result<PathBuf> {
    if let Some(programs) = postgres_programs() {
        return Ok(programs);
    }
    let cluster = NoCluster::new();
    debian::install(&["postgresql"])?;
    drop(cluster);
    postgres_programs().with_context(|| format!("postgresql is installed, and {VERSIONS}/*/bin has no server"))
}

/// Returns the path of `redis-server`, beside which lies `redis-cli`.
pub fn redis() -> Result<PathBuf> {
    let server = match in_path("redis-server") {
        Some(server) => server,
        None => redis_of_debian()?,
    };
    let cli = server.with_file_name("redis-cli");
    ensure!(cli.is_file(), "{} is not there: install it beside redis-server", cli.display());
    Ok(server)
}

fn postgres_programs() -> Option<PathBuf> {
    // As where it was built from its sources.
    newest_below(Path::new(VERSIONS)).or_else(|| Some(in_path("postgres")?.parent()?.to_owned()))
}

fn newest_below(versions: &Path) -> Option<PathBuf> {
    let versions = versions.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let servers = versions.filter(|version| version.join("bin/postgres").is_file());
    let number = |version: &PathBuf| version.file_name()?.to_str()?.parse::<u32>().ok();
    Some(servers.max_by_key(number)?.join("bin"))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// While this lives, installing PostgreSQL makes no cluster on port 5432.
struct NoCluster {
    file: PathBuf,
}

impl NoCluster {
    fn new() -> Self {
        let file = Path::new(CREATE_CLUSTER).join("pointsman.conf");
        // Where we may not, we may not install either, and `debian` says what to do.
        let _ = fs::create_dir_all(CREATE_CLUSTER);
        let _ = fs::write(&file, "create_main_cluster = false\n");
        Self { file }
    }
}

impl Drop for NoCluster {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn redis_of_debian() -> Result<PathBuf> {
    if !Path::new(REDIS).is_file() {
        debian::install(&["redis-tools"])?;
    }
    let folder = Tool::new("redis", REDIS.to_owned()).made(|folder| {
        symlink(REDIS, folder.join("redis-server"))?;
        Ok(symlink(Path::new(REDIS).with_file_name("redis-cli"), folder.join("redis-cli"))?)
    })?;
    let server = folder.join("redis-server");
    let version = shell::output(Command::new(&server).arg("--version"))?;
    if !version.starts_with("Redis server") {
        bail!("{} is another program ({version}): install redis-server, and run this again", server.display());
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_newer_by_its_number() {
        let versions = crate::target_dir().join("tools/test-of-versions");
        let _ = fs::remove_dir_all(&versions);
        for (version, program) in [("9", "postgres"), ("15", "postgres"), ("17", "psql")] {
            let programs = versions.join(version).join("bin");
            fs::create_dir_all(&programs).unwrap();
            fs::write(programs.join(program), "").unwrap();
        }
        assert_eq!(newest_below(&versions), Some(versions.join("15/bin")));
        fs::remove_dir_all(&versions).unwrap();
    }

    #[test]
    fn a_program_is_found_where_the_shell_finds_it() {
        assert!(in_path("sh").is_some_and(|path| path.is_file()));
        assert_eq!(in_path("no-such-program"), None);
    }
}
