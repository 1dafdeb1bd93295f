//! A Redis server that keeps nothing on the disk.

pub(super) mod cluster;
pub(super) mod sentinel;

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::supervised::{Program, Supervised};
use super::{LIMIT, output_of};
use crate::{eventually, ports, tools};

/// A Redis server.
pub struct Redis {
    server: Supervised,
    port: u16,
}

impl Redis {
    /// Starts a server, and returns when it answers.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments, such as `--maxmemory 2mb` in two words.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        let kept_nowhere = ["--save", "", "--appendonly", "no"];
        Self::start_as("", &[&kept_nowhere, arguments].concat()).await
    }

    /// Starts it with a file of configuration, which some of its kinds write to.
    async fn start_as(config: &str, arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("pointsman-redis-").context("making a folder for Redis")?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        fs::write(data.join("redis.conf"), config)?;
        let port = ports::free_port()?;
        let mut command = Command::new(tools::redis_server()?);
        command.arg("redis.conf").args(["--bind", "127.0.0.1", "--port", &port.to_string()]).args(arguments);
        let server = Supervised::new(Program { name: "Redis", folder, command: &command, end_signal: "KILL" })?;
        let redis = Self { server, port };
        redis.restart().await?;
        Ok(redis)
    }

    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns its process id.
    pub fn id(&self) -> Result<u32> {
        self.server.id()
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command and returns the answer as `redis-cli` writes it: a line for each element.
    pub async fn command(&self, words: &[&str]) -> Result<String> {
        let cli = tools::redis_server()?.with_file_name("redis-cli");
        let port = self.port.to_string();
        // `-e`: an error of the server is one of the program.
        let arguments = [&["-e", "-h", "127.0.0.1", "-p", &port], words].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || output_of(&cli, arguments)).await.context("running redis-cli")?
    }

    /// Kills it, as a crash would; see [`restart`](Self::restart).
    pub async fn kill9(&self) -> Result<()> {
        self.server.kill9().await
    }

    /// Stops it where it is: connections stay open, and nobody answers.
    pub async fn freeze(&self) -> Result<()> {
        self.server.freeze().await
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<()> {
        self.server.thaw()
    }

    /// Ends it as an administrator would.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop("TERM").await
    }

    /// Starts a server again that was killed or stopped, with its port; its keys are gone.
    pub async fn restart(&self) -> Result<()> {
        self.server.start()?;
        eventually!(LIMIT, self.is_ready().await.transpose())?
    }

    /// None: not yet.
    async fn is_ready(&self) -> Result<Option<()>> {
        self.server.check_runs()?;
        Ok(self.ping().await.ok())
    }

    /// Fails unless the server answers within a second.
    pub async fn ping(&self) -> Result<()> {
        const ANSWER: &[u8] = b"+PONG\r\n";
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; ANSWER.len()];
            stream.read_exact(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = timeout(Duration::from_secs(1), ask).await.context("no answer within a second")??;
        ensure!(answer == ANSWER, "it answered {:?}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}
