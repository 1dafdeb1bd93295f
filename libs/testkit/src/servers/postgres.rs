//! A PostgreSQL server, and databases on it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::supervised::{Program, Supervised};
use super::{LIMIT, output, output_of, with_own_environment};
use crate::{eventually, ports, tools};

/// The superuser, who needs no password.
const USER: &str = "postgres";
/// The data as an open folder that is handed down: the server runs as another user than root, who may not see the
/// folders above it. Its own search for its programs makes the working folder no substitute.
const DATA: &str = "/proc/self/fd/3";
const WITH_DATA: &str = "exec 3<\"$0\"; cd /; exec \"$@\"";

/// A PostgreSQL server.
pub struct Postgres {
    server: Supervised,
    programs: PathBuf,
    port: u16,
    databases: AtomicU32,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    settings: Vec<(String, String)>,
}

impl Options {
    /// Sets a parameter of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the server acknowledge what is not on the disk yet: faster, for tests that are not about what it keeps.
    #[must_use]
    pub fn without_fsync(self) -> Self {
        self.setting("fsync", "off")
    }

    /// Starts the server, and returns when it takes connections.
    pub async fn start(self) -> Result<Postgres> {
        let programs = tools::postgres_programs()?;
        let template = TEMPLATE.get_or_try_init(async || Template::new(&programs)).await?;
        let folder = TempDir::with_prefix("pointsman-postgres-").context("making a folder for PostgreSQL")?;
        let data = folder.path().join("data");
        output_of(Path::new("cp"), [Path::new("--archive"), &template.data, &data])?;
        let port = ports::free_port()?;
        let mut command = on_data(&programs.join("postgres"), &data)?;
        command.args(["-D", DATA]);
        for (name, value) in self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.arg("-c").arg(format!("port={port}"));
        let server = Supervised::new(Program { name: "PostgreSQL", folder, command: &command, end_signal: "QUIT" })?;
        let postgres = Postgres { server, programs, port, databases: AtomicU32::new(0) };
        postgres.restart().await?;
        Ok(postgres)
    }
}

impl Postgres {
    /// Starts a server that keeps what it acknowledges, and returns when it takes connections.
    pub async fn start() -> Result<Self> {
        Self::options().start().await
    }

    /// Returns the options of a server on loopback that takes 200 connections.
    pub fn options() -> Options {
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
            // In its folder, where it is removed however the server ends.
            ("dynamic_shared_memory_type", "mmap"),
        ];
        Options { settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    /// Returns the server that the tests of a process share, each with databases of its own; it has no fsync.
    ///
    /// It ends with the process. Whoever kills, freezes or stops a server, starts one.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(async || Self::options().without_fsync().start().await).await
    }

    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the postmaster, whose children the others are.
    pub fn id(&self) -> Result<u32> {
        self.server.id()
    }

    /// Returns the address of the database `postgres`, which every server has.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database, and returns its address.
    pub async fn database(&self) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        self.sql(&self.url(), &format!("CREATE DATABASE {name}")).await?;
        Ok(self.url_of(&name))
    }

    /// Runs SQL in the database with this address, and returns what `psql` wrote: rows, `|` between their columns.
    pub async fn sql(&self, url: &str, statements: &str) -> Result<String> {
        let psql = self.programs.join("psql");
        let arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statements];
        let arguments = arguments.map(str::to_owned);
        tokio::task::spawn_blocking(move || output_of(&psql, arguments)).await.context("running psql")?
    }

    /// Kills all its processes, as if the machine had failed; see [`restart`](Self::restart).
    pub async fn kill9(&self) -> Result<()> {
        self.server.kill9().await
    }

    /// Stops all its processes where they are: connections stay open, and nobody answers.
    pub async fn freeze(&self) -> Result<()> {
        self.server.freeze().await
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<()> {
        self.server.thaw()
    }

    /// Ends the server as an administrator would: transactions are rolled back, all else is kept.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop("INT").await
    }

    /// Starts a server again that was killed or stopped, with its port and its data.
    pub async fn restart(&self) -> Result<()> {
        self.server.start()?;
        eventually!(LIMIT, self.is_ready().transpose())?
    }

    /// None: not yet.
    fn is_ready(&self) -> Result<Option<()>> {
        self.server.check_runs()?;
        let port = self.port.to_string();
        let asked = output_of(&self.programs.join("pg_isready"), ["-q", "-h", "127.0.0.1", "-p", &port, "-U", USER]);
        Ok(asked.ok().map(drop))
    }
}

/// A cluster as `initdb` makes it: that takes seconds, and a copy does not. It goes with the process.
static TEMPLATE: OnceCell<Template> = OnceCell::const_new();

struct Template {
    data: PathBuf,
    /// For its end: nothing runs here.
    _keeper: Supervised,
}

impl Template {
    fn new(programs: &Path) -> Result<Self> {
        let folder = TempDir::with_prefix("pointsman-postgres-template-").context("making a folder for PostgreSQL")?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        if is_root(folder.path())? {
            output_of(Path::new("chown"), [Path::new(USER), &data])?;
        }
        let mut command = on_data(&programs.join("initdb"), &data)?;
        command.args(["-D", DATA, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        command.arg(format!("--username={USER}"));
        output(with_own_environment(&mut command))?;
        let keeper = Program { name: "PostgreSQL's template", folder, command: &command, end_signal: "QUIT" };
        Ok(Self { data, _keeper: Supervised::new(keeper)? })
    }
}

/// Returns the command that runs a program on the data as who owns them. It has the process id of what it becomes.
fn on_data(program: &Path, data: &Path) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_DATA]).arg(data);
    if is_root(data.parent().context("data in no folder")?)? {
        // As which PostgreSQL refuses to run.
        let user = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
        command.arg("setpriv").args(user).arg("--");
    }
    command.arg(program);
    Ok(command)
}

/// Tells whether a folder that we made is root's, which means that we are.
fn is_root(folder: &Path) -> Result<bool> {
    Ok(fs::metadata(folder).with_context(|| format!("looking at {}", folder.display()))?.uid() == 0)
}
