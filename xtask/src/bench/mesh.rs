//! A worker and a gateway as processes on chosen cores, and load on them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Binaries;

/// How long a service may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A service that runs until this is dropped.
pub(super) struct Service {
    child: Child,
    pub(super) address: String,
    operator: String,
}

/// Where processes may run: a list of cores as `taskset` takes it. `None`: anywhere.
pub(super) type Cores = Option<&'static str>;

impl Service {
    /// Starts `pointsman KIND` with this configuration below `server`, and waits until it is ready.
    pub(super) fn start(binaries: &Binaries, kind: &str, sections: &str, cores: Cores) -> Result<Self> {
        let (address, operator) = (free_address()?, free_address()?);
        let file = super::folder().join(format!("{kind}.yaml"));
        let quiet = "telemetry:\n  log:\n    filter: warn\n";
        let server = format!("server:\n  listen: {address}\n  operator_listen: {operator}\n{quiet}{sections}");
        fs::write(&file, server)?;
        let mut command = on(cores, &binaries.pointsman);
        command.arg(kind).arg("--config").arg(&file).current_dir(crate::root());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting pointsman")?;
        let service = Self { child, address, operator };
        let begin = Instant::now();
        while !service.ready() {
            if begin.elapsed() > READY_LIMIT {
                bail!("`pointsman {kind}` is not ready after {READY_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(service)
    }

    fn ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.operator)?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Processor time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').context("/proc/PID/stat has another form")?.1;
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / 100.0)
    }

    /// Memory that is in use, in megabytes.
    pub(super) fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok(kilobytes / 1000.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway's section for one worker.
pub(super) fn in_front_of(worker: &Service) -> String {
    format!("gateway:\n  instances:\n    - name: worker-1\n      endpoint: http://{}\n", worker.address)
}

/// Runs the load driver and returns what it measured.
pub(super) fn load(binaries: &Binaries, service: &Service, cores: Cores, arguments: &[&str]) -> Result<Value> {
    let mut command = on(cores, &binaries.load);
    command.arg("--address").arg(&service.address).args(arguments);
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

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
