//! A PostgreSQL and a Redis of our own, with the defaults that they come with: a commit is on the disk when it is
//! acknowledged. Their data lie below the build folder, and go with them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::mesh::free_address;
use crate::mesh::members::postgres;
use crate::process::Process;
use crate::{probe, shell, tools};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A server that runs until this is dropped.
struct Server {
    child: Child,
    name: &'static str,
    end_signal: &'static str,
}

impl Server {
    fn start(command: &mut Command, name: &'static str, end_signal: &'static str) -> Result<Self> {
        let log = fs::File::create(folder()?.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn().with_context(|| format!("starting {name}"))?, name, end_signal })
    }

    fn wait_until(mut self, is_ready: impl Fn() -> bool) -> Result<Self> {
        let begin = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: see {}/{}.log", self.name, folder()?.display(), self.name);
            }
            if begin.elapsed() > READY_LIMIT {
                bail!("{} is not ready after {READY_LIMIT:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        // PostgreSQL has processes that end at any time.
        let family = Process::with_id(self.child.id())?.family()?;
        Ok(family.into_iter().filter_map(|process| process.cpu_seconds().ok()).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Process::with_id(self.child.id()).and_then(|process| process.signal(self.end_signal));
        let _ = self.child.wait();
    }
}

pub(super) struct Postgres {
    programs: PathBuf,
    address: SocketAddr,
    data: PathBuf,
    server: Option<Server>,
}

impl Postgres {
    pub(super) fn start() -> Result<Self> {
        let programs = tools::servers::postgres()?;
        let data = folder()?;
        remove(&data.join("postgres"))?;
        for mut command in postgres::made(&programs.join("initdb"), &data)? {
            shell::run(command.stdout(Stdio::null()))?;
        }
        let mut postgres = Self { programs, address: free_address()?, data, server: None };
        postgres.restart(&[])?;
        postgres.sql("postgres", "CREATE EXTENSION pg_stat_statements")?;
        Ok(postgres)
    }

    /// Starts it, again if it runs, with these settings beside the defaults.
    pub(super) fn restart(&mut self, settings: &[&str]) -> Result<()> {
        self.server = None;
        let mut command = postgres::command(&self.programs.join("postgres"), &self.data)?;
        let (host, port) = (self.address.ip(), self.address.port());
        command.args(["-c".to_owned(), format!("listen_addresses={host}"), "-c".to_owned(), format!("port={port}")]);
        command.args(["-c", "unix_socket_directories=", "-c", "shared_preload_libraries=pg_stat_statements"]);
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        let server = Server::start(&mut command, "postgresql", "INT")?;
        self.server = Some(server.wait_until(|| probe::is_postgres_ready(self.address))?);
        Ok(())
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }

    /// Makes an empty database in the place of one of that name.
    pub(super) fn database(&self, name: &str) -> Result<String> {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(name))
    }

    /// Returns what the statements tell: rows, `|` between their columns.
    pub(super) fn sql(&self, database: &str, statements: &str) -> Result<String> {
        shell::output(self.psql(database).args(["-c", statements]))
    }

    pub(super) fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database)]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        psql
    }

    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        self.server.as_ref().context("PostgreSQL does not run")?.cpu_seconds()
    }

    pub(super) fn version(&self) -> Result<String> {
        let version = self.sql("postgres", "SHOW server_version")?;
        Ok(version.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// How long an fdatasync of 8 KiB takes here, in microseconds, as PostgreSQL's own program measures it.
    pub(super) fn fsync(&self) -> Result<f64> {
        let file = self.data.join("pg_test_fsync");
        let mut test = Command::new(self.programs.join("pg_test_fsync"));
        let told = shell::output(test.args(["-s", "1", "-f"]).arg(&file))?;
        let line = told.lines().find(|line| line.trim_start().starts_with("fdatasync")).context("no fdatasync")?;
        let each = line.split_whitespace().rev().nth(1).context("no time of an fdatasync")?;
        Ok(each.parse()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.server = None;
        let _ = remove(&self.data.join("postgres"));
    }
}

pub(super) struct Redis {
    server: Server,
    pub(super) address: SocketAddr,
    program: PathBuf,
}

impl Redis {
    pub(super) fn start() -> Result<Self> {
        let (program, address) = (tools::servers::redis()?, free_address()?);
        let mut command = Command::new(&program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        // A cache, which is written to no disk.
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder()?);
        let server = Server::start(&mut command, "redis", "TERM")?;
        Ok(Self { server: server.wait_until(|| probe::is_redis_ready(address))?, address, program })
    }

    pub(super) fn ask(&self, question: &[&str]) -> Result<String> {
        let mut client = Command::new(self.program.with_file_name("redis-cli"));
        shell::output(client.args(["-p", &self.address.port().to_string()]).args(question))
    }

    /// How often commands of these names were called.
    pub(super) fn calls(&self, names: &[&str]) -> Result<f64> {
        let told = self.ask(&["INFO", "commandstats"])?;
        let of = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
            line.split(',').next()?.parse::<f64>().ok()
        };
        Ok(names.iter().filter_map(|name| of(name)).fold(0.0, |sum, calls| sum + calls))
    }

    /// Bytes that it has for what it keeps.
    pub(super) fn memory(&self) -> Result<f64> {
        let told = self.ask(&["INFO", "memory"])?;
        let used = told.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
        Ok(used.trim().parse()?)
    }

    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        self.server.cpu_seconds()
    }

    pub(super) fn version(&self) -> Result<String> {
        let told = self.ask(&["INFO", "server"])?;
        let version = told.lines().find_map(|line| line.strip_prefix("redis_version:")).context("no version")?;
        Ok(version.trim().to_owned())
    }
}

/// Where data and logs lie.
pub(super) fn folder() -> Result<PathBuf> {
    let folder = crate::bench::folder().join("sessions");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// What the data lie on.
pub(super) fn disk() -> Result<String> {
    let told = shell::output(Command::new("df").args(["--output=source,fstype"]).arg(folder()?))?;
    let line = told.lines().nth(1).unwrap_or_default();
    Ok(line.split_whitespace().collect::<Vec<_>>().join(", "))
}
