//! Where the programs lie that tests run: made by `cargo xtask test`, which passes their paths on.
//!
//! Without it (`cargo test` alone) they are looked for in the build folder that this test was built in, servers also
//! where Debian has them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const BINARY: &str = "POINTSMAN_BIN";
const XTASK: &str = "POINTSMAN_XTASK";
const PYTHON: &str = "POINTSMAN_PYTHON";
const LANGCHAIN: &str = "POINTSMAN_LANGCHAIN";
const SCHEMATHESIS: &str = "POINTSMAN_SCHEMATHESIS";
const NODE_MODULES: &str = "POINTSMAN_NODE_MODULES";
const GO_CACHE: &str = "POINTSMAN_GO_CACHE";
const POSTGRES: &str = "POINTSMAN_POSTGRES_BIN";
const REDIS: &str = "POINTSMAN_REDIS_SERVER";

/// Returns the path of the `pointsman` binary.
pub fn binary() -> Result<PathBuf> {
    find(BINARY, "pointsman", "run `cargo xtask test`, or `cargo build` first")
}

/// Returns the path of `xtask`, the project's own commands.
pub fn xtask() -> Result<PathBuf> {
    find(XTASK, "xtask", "run `cargo xtask test`")
}

/// Returns the Python interpreter that has the packages of `tests/python/requirements.txt`.
pub fn python() -> Result<PathBuf> {
    find(PYTHON, "tools/python/bin/python", "run `cargo xtask test`")
}

/// Returns the Python interpreter that has LangChain, and none of the packages of the other.
pub fn langchain() -> Result<PathBuf> {
    find(LANGCHAIN, "tools/langchain/bin/python", "run `cargo xtask test`")
}

/// Returns the Python interpreter that has those of `tests/python/schemathesis.txt`.
pub fn schemathesis() -> Result<PathBuf> {
    find(SCHEMATHESIS, "tools/schemathesis/bin/python", "run `cargo xtask test`")
}

/// Returns the `node_modules` folder with the packages of `tests/node`; `require` finds them through `NODE_PATH`.
pub fn node_modules() -> Result<PathBuf> {
    find(NODE_MODULES, "tools/node/node_modules", "run `cargo xtask test`")
}

/// Returns Go's build cache, in which gRPC is compiled; Go itself and the sources are Debian's.
pub fn go_cache() -> Result<PathBuf> {
    find(GO_CACHE, "tools/go", "run `cargo xtask test`")
}

/// Returns the folder with PostgreSQL's programs: `initdb`, `postgres`, `psql` and others.
pub fn postgres_programs() -> Result<PathBuf> {
    let debian = newest_below(Path::new("/usr/lib/postgresql"));
    installed(POSTGRES, debian).map_or_else(|| find(POSTGRES, "tools/postgres/bin", "run `cargo xtask test`"), Ok)
}

/// Returns the path of `redis-server`; `redis-cli` lies beside it.
pub fn redis_server() -> Result<PathBuf> {
    let debian = Path::new("/usr/bin/redis-server").to_owned();
    installed(REDIS, Some(debian)).map_or_else(|| find(REDIS, "tools/redis/redis-server", "run `cargo xtask test`"), Ok)
}

/// Returns the root of the workspace, where `examples/` and `models/` lie.
///
/// Cargo tells it when the test runs. A path from compile time may belong to another checkout that shares
/// the build folder.
pub fn workspace() -> Result<PathBuf> {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo: CARGO_MANIFEST_DIR is not set")?;
    let root = Path::new(&package).ancestors().find(|folder| folder.join("proto/buf.yaml").is_file());
    Ok(root.context("no folder above this package is the workspace's")?.to_owned())
}

/// Takes what is there, unless the variable says something else.
fn installed(variable: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| std::env::var_os(variable).is_none() && path.exists())
}

/// Returns the programs of the newest version of PostgreSQL: Debian has a folder for each.
fn newest_below(versions: &Path) -> Option<PathBuf> {
    let versions = versions.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let servers = versions.filter(|version| version.join("bin/postgres").is_file());
    let number = |version: &PathBuf| version.file_name()?.to_str()?.parse::<u32>().ok();
    Some(servers.max_by_key(number)?.join("bin"))
}

/// Takes the variable's path, or the first that exists in a folder above this very program.
fn find(variable: &str, below_target: &str, instruction: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        if !path.exists() {
            bail!("{variable} says {}, which is not there: {instruction}", path.display());
        }
        return Ok(path);
    }
    let program = std::env::current_exe().context("asking where this test lies")?;
    // Nearest first: target/debug/deps, target/debug, target; folders above those hold other things.
    let found = program.ancestors().skip(1).take(4).map(|folder| folder.join(below_target)).find(|path| path.exists());
    found
        .with_context(|| format!("{below_target} is not in the build folder, and {variable} is not set: {instruction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found() {
        assert!(workspace().unwrap().join("libs/testkit/src/tools.rs").is_file());
    }

    #[test]
    fn the_newest_version_that_has_a_server_is_taken() {
        let versions = tempfile::tempdir().unwrap();
        assert_eq!(newest_below(&versions.path().join("nothing")), None);
        for (version, program) in [("9", "postgres"), ("15", "postgres"), ("17", "psql"), ("common", "postgres")] {
            let programs = versions.path().join(version).join("bin");
            std::fs::create_dir_all(&programs).unwrap();
            std::fs::write(programs.join(program), "").unwrap();
        }
        assert_eq!(newest_below(versions.path()), Some(versions.path().join("15/bin")));
    }

    #[test]
    fn what_is_missing_comes_with_an_instruction() {
        let error = find("POINTSMAN_NOT_SET", "no-such-tool", "run `cargo xtask test`").unwrap_err();
        assert!(error.to_string().ends_with("run `cargo xtask test`"), "{error}");
    }
}
