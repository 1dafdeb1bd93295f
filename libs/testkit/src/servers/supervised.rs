//! A server, and the shell that ends it when we are gone.

mod family;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{LIMIT, output, with_own_environment};
use crate::eventually;

const SCRIPT: &str = include_str!("supervised.sh");

/// A server that can be killed, frozen and started again, with its data in a folder of its own.
///
/// On drop the server ends at once, and what it had on the disk is removed.
pub(super) struct Supervised {
    name: &'static str,
    folder: PathBuf,
    shell: Mutex<Shell>,
}

/// What a server is started with.
pub(super) struct Program<'a> {
    pub(super) name: &'static str,
    /// Holds `data`, where the server runs; removed with the server.
    pub(super) folder: TempDir,
    /// The program and its arguments.
    pub(super) command: &'a Command,
    /// What ends it at once, and all its processes with it.
    pub(super) end_signal: &'static str,
}

struct Shell {
    process: Child,
    /// Closed on drop: that is what ends the server.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// None: it was not started, or was killed or stopped and waited for.
    server: Option<u32>,
}

impl Supervised {
    /// Starts the shell, and no server yet.
    pub(super) fn new(program: Program<'_>) -> Result<Self> {
        let Program { name, folder, command, end_signal } = program;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "supervised"]).arg(folder.path()).arg(end_signal);
        shell.arg(command.get_program()).args(command.get_args()).current_dir(folder.path().join("data"));
        with_own_environment(&mut shell).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A group of its own: what interrupts us in a terminal does not interrupt what cleans up after us.
        let mut process = shell.process_group(0).spawn().context("starting a shell")?;
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("the shell has no output")?);
        let shell = Mutex::new(Shell { process, orders, answers, server: None });
        // From here on the shell removes it.
        Ok(Self { name, folder: folder.keep(), shell })
    }

    /// Starts the server; the caller waits until it is ready.
    pub(super) fn start(&self) -> Result<()> {
        let mut shell = self.shell();
        ensure!(shell.server.is_none(), "{} runs: kill or stop it first", self.name);
        shell.server = Some(shell.order("start")?.parse().context("the shell told no id")?);
        Ok(())
    }

    /// Returns the process id of the server.
    pub(super) fn id(&self) -> Result<u32> {
        self.shell().server.with_context(|| format!("{} was killed or stopped: start it again first", self.name))
    }

    /// Fails where the server has ended by itself, with what it wrote.
    pub(super) fn check_runs(&self) -> Result<()> {
        if family::has_ended(self.id()?) {
            bail!("{} ended; the end of its log:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Stops every process of the server (SIGSTOP): connections stay open, and nobody answers.
    pub(super) async fn freeze(&self) -> Result<()> {
        let server = self.id()?;
        // It first, and waited for: then it makes no more of them.
        stop(&[server]).await?;
        stop(&family::children(server)?).await
    }

    /// Lets a frozen server go on.
    pub(super) fn thaw(&self) -> Result<()> {
        let server = self.id()?;
        signal("CONT", &family::children(server)?)?;
        signal("CONT", &[server])
    }

    /// Kills every process of the server (SIGKILL), as if the machine had failed, and waits until they are gone.
    pub(super) async fn kill9(&self) -> Result<()> {
        self.freeze().await?;
        let server = self.id()?;
        let all = [family::children(server)?, vec![server]].concat();
        signal("KILL", &all)?;
        eventually!(LIMIT, all.iter().all(|id| family::has_ended(*id)))?;
        self.reap()
    }

    /// Asks the server to end, and waits until it has.
    pub(super) async fn stop(&self, with: &str) -> Result<()> {
        let server = self.id()?;
        signal(with, &[server])?;
        eventually!(LIMIT, family::has_ended(server))?;
        self.reap()
    }

    fn reap(&self) -> Result<()> {
        let mut shell = self.shell();
        shell.order("wait")?;
        shell.server = None;
        Ok(())
    }

    /// Returns the last lines that the server wrote.
    pub(super) fn log_tail(&self) -> String {
        const LINES: usize = 100;
        let log = fs::read(self.folder.join("server.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }

    fn shell(&self) -> MutexGuard<'_, Shell> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shell {
    fn order(&mut self, order: &str) -> Result<String> {
        let orders = self.orders.as_mut().context("the shell was let go")?;
        orders.write_all(format!("{order}\n").as_bytes()).context("the shell is gone")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("the shell is gone")?;
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "the test harness shows what is printed with the test that failed")]
            {
                eprintln!("--- the end of the log of {}:\n{}", self.name, self.log_tail());
            }
        }
        // A frozen process of the server would end only when PostgreSQL loses its patience with it.
        let _ = self.thaw();
        let mut shell = self.shell();
        shell.orders = None;
        let _ = shell.process.wait();
    }
}

async fn stop(ids: &[u32]) -> Result<()> {
    signal("STOP", ids)?;
    eventually!(LIMIT, ids.iter().all(|id| family::is_stopped(*id) || family::has_ended(*id)))
}

/// Sends a signal through the shell, whose `kill` is built in: there is no safe call for it.
///
/// Those that are gone meanwhile do not matter: every caller looks at what it wants to be so.
fn signal(signal: &str, ids: &[u32]) -> Result<()> {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    let script = format!("for id in {}; do kill -s {signal} $id 2>/dev/null; done; true", ids.join(" "));
    output(Command::new("sh").arg("-c").arg(script)).with_context(|| format!("sending {signal}"))?;
    Ok(())
}
