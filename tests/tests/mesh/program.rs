//! Programs that run to their end: client scripts, and our own command line.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pointsman_testkit::tools;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::service::LIMIT;

/// What a program has left.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails unless the program went well; returns what it wrote.
    pub fn success(self) -> Result<String> {
        if self.code != Some(0) {
            bail!("it ended with {:?}\n{}\n{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// Runs a program with these arguments, environment (beside `PATH` and `HOME`) and input.
pub async fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    environment: &[(&str, &Path)],
    input: &str,
) -> Result<Ended> {
    run_within(LIMIT, program, arguments, environment, input).await
}

/// The same where it takes its time.
pub async fn run_within<A: AsRef<OsStr>>(
    limit: Duration,
    program: &Path,
    arguments: &[A],
    environment: &[(&str, &Path)],
    input: &str,
) -> Result<Ended> {
    let mut command = Command::new(program);
    // As their users do: paths in our own files count from there.
    command.current_dir(tools::workspace()?);
    let kept = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(arguments).env_clear().envs(kept).envs(environment.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
    let mut stdin = child.stdin.take().context("the program has no input")?;
    // A program that reads nothing may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(limit, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{} did not end within {limit:?}", program.display()))??;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Runs a command of ours, without input.
pub async fn pointsman<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Ended> {
    run(&tools::binary()?, arguments, &[], "").await
}

/// Runs a Python script of this repository; it succeeds, or its output is the error.
pub async fn python(script: &str, arguments: &[&str], stubs: Option<&TempDir>) -> Result<String> {
    let path: Vec<(&str, &Path)> = stubs.iter().map(|folder| ("PYTHONPATH", folder.path())).collect();
    // Nothing compiled is left beside the sources.
    let environment = [path, vec![("PYTHONDONTWRITEBYTECODE", Path::new("1"))]].concat();
    interpreted(&tools::python()?, script, arguments, &environment).await
}

/// Runs a Python script of this repository where LangChain is installed.
pub async fn langchain(script: &str, arguments: &[&str]) -> Result<String> {
    let environment = [("PYTHONDONTWRITEBYTECODE", Path::new("1"))];
    interpreted(&tools::langchain()?, script, arguments, &environment).await
}

/// Runs a Node script of this repository, which finds the packages of `tests/node` with `require`.
pub async fn node(script: &str, arguments: &[&str]) -> Result<String> {
    let modules = tools::node_modules()?;
    interpreted(Path::new("node"), script, arguments, &[("NODE_PATH", &modules)]).await
}

async fn interpreted(
    program: &Path,
    script: &str,
    arguments: &[&str],
    environment: &[(&str, &Path)],
) -> Result<String> {
    let script = tools::workspace()?.join(script);
    let arguments: Vec<&OsStr> =
        std::iter::once(script.as_os_str()).chain(arguments.iter().map(|argument| OsStr::new(*argument))).collect();
    let ended = run(program, &arguments, environment, "").await?;
    ended.success().with_context(|| script.display().to_string())
}

/// Makes Python stubs of `proto/`, as a caller would: with the script of the examples.
pub async fn python_stubs() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let script = tools::workspace()?.join("examples/python/generate_stubs.sh");
    let python = tools::python()?;
    run(&script, &[folder.path()], &[("PYTHON", &python)], "").await?.success()?;
    Ok(folder)
}
