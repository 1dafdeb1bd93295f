//! A real process, and what it writes.

mod lines;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::lines::Lines;

/// A running `pointsman`, or any other program.
///
/// Both its outputs are kept, line by line; they are shown when the test panics, and stand in every
/// error from here. On drop the process is killed.
pub struct Process {
    name: String,
    child: Child,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts the program; must be called inside a Tokio runtime.
    ///
    /// It gets this environment, and of the test's own all but what configures a service (`POINTSMAN_…`,
    /// `OTEL_…`, `RUST_LOG`), so that a test runs the same on every machine.
    pub fn start<A, E, N, V>(program: &Path, arguments: A, environment: E) -> Result<Self>
    where
        A: IntoIterator<Item: AsRef<OsStr>>,
        E: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(configures_a_service) {
                command.env_remove(name);
            }
        }
        command.args(arguments).envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let lines = Lines::default();
        let outputs: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2] =
            [child.stdout.take().map(|it| Box::new(it) as _), child.stderr.take().map(|it| Box::new(it) as _)];
        let readers = outputs.into_iter().flatten().map(|output| tokio::spawn(lines.clone().read(output))).collect();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, child, lines, readers })
    }

    /// Returns the process's id, until its end was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for a line that contains the text, and returns the first such line, also if it came earlier.
    ///
    /// Fails when the limit is over, and at once when the process has closed its outputs.
    pub async fn line_with(&self, text: &str, limit: Duration) -> Result<String> {
        match timeout(limit, self.lines.first_with(text)).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.failure(&format!("ended before it wrote `{text}`"))),
            Err(_) => Err(self.failure(&format!("did not write `{text}` within {limit:?}"))),
        }
    }

    /// Waits until the process has ended by itself or by a signal.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Ok(status) = timeout(limit, self.child.wait()).await else {
            return Err(self.failure(&format!("did not end within {limit:?}")));
        };
        // What it wrote last may still be in the pipe; a grandchild may hold the pipe open.
        let _ = timeout(Duration::from_secs(1), self.lines.ended()).await;
        status.with_context(|| format!("waiting for {}", self.name))
    }

    /// Kills the process as a crash would (SIGKILL), and waits until it is gone.
    pub async fn kill9(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Asks the process to end (SIGTERM).
    pub async fn terminate(&self) -> Result<()> {
        self.signal("TERM").await
    }

    /// Interrupts the process (SIGINT), as Ctrl-C does.
    pub async fn interrupt(&self) -> Result<()> {
        self.signal("INT").await
    }

    /// Returns what the process has written, both outputs in the order of arrival: the last 10,000 lines.
    pub fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// Returns the log lines of level WARN and ERROR and the messages of panics: the first 1,000 of them.
    pub fn unexpected_lines(&self) -> Vec<String> {
        self.lines.unexpected()
    }

    /// Sends a signal through the shell, whose `kill` is built in: there is no safe call for it.
    async fn signal(&self, signal: &str) -> Result<()> {
        // Known until the process was waited for, so it is this process's and nobody else's.
        let id = self.id().with_context(|| format!("{} has ended already", self.name))?;
        let status = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {id}")).status().await?;
        if !status.success() {
            bail!("sending {signal} to {} ({id}): kill ended with {status}", self.name);
        }
        Ok(())
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        anyhow!("{} {what}; its output:\n{}", self.name, self.lines.tail(100))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "the test harness shows what is printed with the test that failed")]
            {
                eprintln!("--- output of {}:\n{}", self.name, self.lines.tail(usize::MAX));
            }
        }
    }
}

fn configures_a_service(variable: &str) -> bool {
    let is_prefixed = ["POINTSMAN_", "OTEL_"].iter().any(|prefix| variable.starts_with(prefix));
    is_prefixed || variable == "RUST_LOG"
}

#[cfg(test)]
mod tests;
