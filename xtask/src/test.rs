//! All tests, with the real binary and the real clients that they drive.

use anyhow::{Context, Result};

use crate::{shell, tools};

/// Makes the clients' packages, builds the binary, and runs `cargo test` for the default members.
///
/// The tests do not link the engine; they get the binary by path, so nothing is compiled for them alone.
pub fn run(arguments: &[String]) -> Result<()> {
    // First what takes a minute at most: what is missing there should not be told after a long build.
    let python = tools::python::for_tests()?;
    let langchain = tools::python::with_langchain()?;
    let schemathesis = tools::python::for_schemathesis()?;
    let node_modules = tools::node::for_tests()?;
    let go_cache = tools::go::cache_for_tests()?;
    let (postgres, redis) = (tools::servers::postgres()?, tools::servers::redis()?);
    let binary = shell::build()?;
    let xtask = std::env::current_exe().context("asking where this program lies")?;
    let mut tests = shell::cargo();
    tests.arg("test").args(arguments);
    tests.env("POINTSMAN_BIN", binary).env("POINTSMAN_XTASK", xtask);
    tests.env("POINTSMAN_PYTHON", python).env("POINTSMAN_LANGCHAIN", langchain);
    tests.env("POINTSMAN_NODE_MODULES", node_modules).env("POINTSMAN_GO_CACHE", go_cache);
    tests.env("POINTSMAN_SCHEMATHESIS", schemathesis);
    tests.env("POINTSMAN_POSTGRES_BIN", postgres).env("POINTSMAN_REDIS_SERVER", redis);
    shell::run(&mut tests)
}
