//! Services and other gateways as processes on chosen cores, and load on them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Binaries;
use crate::probe;
use crate::process::Process;

/// How long a service may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A process that listens, and runs until this is dropped, with those that it started.
pub(super) struct Service {
    child: Child,
    pub(super) address: SocketAddr,
}

/// Where processes may run: a list of cores as `taskset` takes it. `None`: anywhere.
pub(super) type Cores = Option<&'static str>;

impl Service {
    /// Starts `pointsman KIND` with this configuration below `server`, and waits until it is ready.
    pub(super) fn start(binaries: &Binaries, kind: &str, sections: &str, cores: Cores) -> Result<Self> {
        let (address, operator) = (free_address()?, free_address()?);
        let file = super::folder().join(format!("{}.yaml", kind.replace(' ', "-")));
        let quiet = "telemetry:\n  log:\n    filter: warn\n";
        let server = format!("server:\n  listen: {address}\n  operator_listen: {operator}\n{quiet}{sections}");
        fs::write(&file, server)?;
        let mut command = on(cores, &binaries.pointsman);
        command.args(kind.split(' ')).arg("--config").arg(&file).current_dir(crate::root());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting pointsman")?;
        let mut service = Self { child, address };
        service.wait_until(|| probe::is_ready(operator)).with_context(|| format!("`pointsman {kind}`"))?;
        Ok(service)
    }

    /// Starts a program that will listen at this address, and waits until it answers the driver.
    pub(super) fn start_foreign(binaries: &Binaries, command: &mut Command, address: SocketAddr) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("starting {command:?}"))?;
        let mut service = Self { child, address };
        service.wait_until(|| {
            let mut ask = Command::new(&binaries.load);
            ask.args(["ask", "--surface", "openai", "--model", "simulated", "--count", "1", "--concurrency", "1"]);
            let output = ask.arg("--address").arg(address.to_string()).stderr(Stdio::null()).output();
            let figures = output.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
            figures.is_some_and(|figures| figures["answered"] == 1)
        })?;
        Ok(service)
    }

    fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status} before it was ready");
            }
            if begin.elapsed() > READY_LIMIT {
                bail!("is not ready after {READY_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Processor time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        Process::with_id(self.child.id())?.family()?.into_iter().map(Process::cpu_seconds).sum()
    }

    /// Memory that is in use, in megabytes.
    pub(super) fn resident_megabytes(&self) -> Result<f64> {
        Process::with_id(self.child.id())?.family()?.into_iter().map(Process::resident_megabytes).sum()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let family = Process::with_id(self.child.id()).and_then(Process::family).unwrap_or_default();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in family {
            let _ = process.signal("KILL");
        }
    }
}

/// A gateway's section for one worker.
pub(super) fn in_front_of(worker: &Service) -> String {
    format!("gateway:\n  instances:\n    - name: worker-1\n      endpoint: http://{}\n", worker.address)
}

/// Runs the load driver and returns what it measured.
pub(super) fn load(binaries: &Binaries, service: &Service, cores: Cores, arguments: &[&str]) -> Result<Value> {
    let mut command = on(cores, &binaries.load);
    command.arg("ask").arg("--address").arg(service.address.to_string()).args(arguments);
    let output = command.stderr(Stdio::inherit()).output().context("starting the load driver")?;
    if !output.status.success() {
        bail!("the load driver ended with {}", output.status);
    }
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    if figures["failed"] != 0 {
        bail!("requests failed: {}", figures["first_failure"]);
    }
    Ok(figures)
}

/// A program on some cores.
pub(super) fn on(cores: Cores, program: &Path) -> Command {
    match cores {
        None => Command::new(program),
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(PathBuf::from(program));
            command
        }
    }
}

/// An address that nobody listens at.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
