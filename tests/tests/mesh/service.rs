//! Services of ours as processes, on ports of their own.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pointsman_testkit::{Process, eventually, tools};
use tempfile::TempDir;

/// Catches what hangs; nothing comes near it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A running `pointsman up`, `gateway` or `worker`.
pub struct Service {
    pub process: Process,
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub address: String,
    /// Its operator port: `http://127.0.0.1:PORT`.
    pub operator: String,
    _folder: TempDir,
}

/// How a service is started.
pub struct Start<'a> {
    /// `up`, `gateway`, `worker` or `sessions serve`.
    pub command: &'a str,
    /// Its configuration, as YAML.
    pub config: &'a str,
    /// Where it listens.
    pub listen: &'a str,
    pub environment: &'a [(&'a str, &'a str)],
}

impl<'a> Start<'a> {
    pub fn new(command: &'a str, config: &'a str) -> Self {
        Self { command, config, listen: "127.0.0.1:0", environment: &[] }
    }

    /// Starts the service, and waits until it listens.
    pub async fn listening(self) -> Result<Service> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, self.config)?;
        let file = file.to_str().context("the temporary folder's name is no text")?;
        let options = ["--config", file, "--listen", self.listen, "--operator-listen", "127.0.0.1:0"];
        let arguments = self.command.split(' ').chain(options);
        // What a mesh keeps of its own accord goes with its test.
        let state = folder.path().to_str().context("the temporary folder's name is no text")?;
        let environment = self.environment.iter().copied().chain([("XDG_STATE_HOME", state)]);
        let process = Process::start(&tools::binary()?, arguments, environment)?;
        let line = process.line_with(" listening ", LIMIT).await?;
        let (address, operator) = (address_in(&line, "address=")?, address_in(&line, "operator=")?);
        Ok(Service { process, address, operator, _folder: folder })
    }

    /// Starts the service, and waits until it is ready.
    pub async fn ready(self) -> Result<Service> {
        let service = self.listening().await?;
        service.ready().await?;
        Ok(service)
    }
}

fn address_in(line: &str, field: &str) -> Result<String> {
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(field));
    Ok(format!("http://{}", value.with_context(|| format!("no {field} in `{line}`"))?))
}

impl Service {
    /// The whole mesh with the demo model.
    pub async fn demo() -> Result<Self> {
        Start::new("up", &demo_config()?).ready().await
    }

    /// The whole mesh with a simulated engine, which is configured so (YAML, on one line).
    pub async fn simulated(engine: &str) -> Result<Self> {
        Start::new("up", &simulated_config(engine)).ready().await
    }

    /// Waits until the service is ready.
    pub async fn ready(&self) -> Result<()> {
        eventually!(LIMIT, self.probe("readyz").await.is_ok_and(|status| status == 200))
            .with_context(|| self.process.lines().join("\n"))
    }

    /// Asks the operator port and returns the status.
    pub async fn probe(&self, path: &str) -> Result<u16> {
        Ok(reqwest::get(format!("{}/{path}", self.operator)).await?.status().as_u16())
    }

    /// Reads a metric from the operator port, by the whole of its name and labels; 0 if it is not there yet.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let text = reqwest::get(format!("{}/metrics", self.operator)).await?.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(Ok(0), |value| Ok(value.parse()?))
    }

    /// Waits until a metric has this value.
    pub async fn metric_is(&self, name: &str, value: u64) -> Result<()> {
        eventually!(LIMIT, self.metric(name).await.is_ok_and(|found| found == value)).with_context(|| name.to_owned())
    }

    /// Interrupts the service, and fails unless it ends well and has warned of nothing.
    pub async fn stop(self) -> Result<()> {
        self.stop_after(&[]).await
    }

    /// The same, where the test has caused warnings: each of them has one of these texts in it.
    pub async fn stop_after(mut self, expected: &[&str]) -> Result<()> {
        self.process.interrupt().await?;
        let status = self.process.wait(LIMIT).await?;
        self.check(status, expected)
    }

    /// Fails unless this is a good end, and every warning is one of those expected.
    pub fn check(&self, status: ExitStatus, expected: &[&str]) -> Result<()> {
        ensure!(status.code() == Some(0), "it ended with {status}:\n{}", self.process.lines().join("\n"));
        let mut unexpected = self.process.unexpected_lines();
        unexpected.retain(|line| !expected.iter().any(|text| line.contains(text)));
        if !unexpected.is_empty() {
            bail!("unexpected log lines:\n{}", unexpected.join("\n"));
        }
        Ok(())
    }
}

/// A gateway and a worker, each a process.
pub struct Pair {
    pub gateway: Service,
    pub worker: Service,
}

impl Pair {
    /// Starts a worker with this configuration and a gateway before it.
    pub async fn start(worker: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let worker = Start { environment, ..Start::new("worker", worker) }.ready().await?;
        let config = gateway_config(&worker.address);
        let gateway = Start { environment, ..Start::new("gateway", &config) }.ready().await?;
        Ok(Self { gateway, worker })
    }

    /// Stops both, the gateway first.
    pub async fn stop(self) -> Result<()> {
        self.gateway.stop().await?;
        self.worker.stop().await
    }
}

/// The configuration of a gateway with one instance.
pub fn gateway_config(instance: &str) -> String {
    format!("gateway: {{instances: [{{name: one, endpoint: \"{instance}\"}}]}}\n")
}

/// The configuration of the demo model. Its path is told, since a test may run from anywhere.
pub fn demo_config() -> Result<String> {
    let model = tools::workspace()?.join("models/demo/model");
    Ok(format!("engine: {{mistralrs: {{name: pip, model: \"{}\"}}}}\n", model.display()))
}

/// The configuration of a simulated engine.
pub fn simulated_config(engine: &str) -> String {
    format!("engine: {{simulated: {{{engine}}}}}\n")
}
