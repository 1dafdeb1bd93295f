//! Several workers behind one gateway and one policy, each a process, on ports of their own.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::service::{LIMIT, Service, Start};

pub const RUNNING: &str = "pointsman_worker_running_requests";
pub const QUEUED: &str = "pointsman_worker_queued_requests";
pub const FINISHED: &str = "pointsman_worker_requests_total{outcome=\"FINISHED\"}";
/// What the gateway's log says of a worker that went away, or that speaks no gRPC.
pub const LOST: &str = "an instance could not be reached, or was lost";

/// A worker to be.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// What its engine is, beside its script.
    pub engine: &'a str,
    /// What it answers; empty: the caller's words.
    pub replies: &'a str,
    /// Slots and queue.
    pub worker: &'a str,
}

impl<'a> Member<'a> {
    /// A worker that follows a script.
    pub fn replies(replies: &'a str) -> Self {
        Self { replies, ..Self::engine("") }
    }

    /// A worker with an engine of this configuration.
    pub fn engine(engine: &'a str) -> Self {
        Self { engine, replies: "", worker: "slots: 1024" }
    }
}

/// One rule behind the name `chat`, with these fields beside its target.
pub fn chat(rule: &str) -> String {
    format!("virtual_models: [{{name: chat, rules: [{{name: all, targets: [{{target: simulated}}], {rule}}}]}}]\n")
}

/// A gateway and its workers. The first worker is in the zone `home`, as the gateway is: idle, it is asked first.
/// The others are in `away`.
pub struct Fleet {
    pub gateway: Service,
    /// `w1`, `w2`, … to the gateway.
    pub workers: Vec<Service>,
    folder: TempDir,
}

impl Fleet {
    /// Starts the workers and a gateway with this policy; waits until all of them serve.
    pub async fn start(members: &[Member<'_>], policy: &str) -> Result<Self> {
        let own = async |workers: &[Service]| Ok(addresses(workers));
        Self::behind(members, policy, own).await
    }

    /// The same behind these addresses, which lead to the workers or to something worse.
    pub async fn behind(
        members: &[Member<'_>],
        policy: &str,
        endpoints: impl AsyncFnOnce(&[Service]) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let (folder, workers) = start_workers(members).await?;
        let endpoints = endpoints(&workers).await?;
        let gateway = start_gateway(&folder, &endpoints, policy, Start::new("gateway", "")).await?;
        let fleet = Self { gateway, workers, folder };
        serves(&fleet.gateway, endpoints.len()).await?;
        Ok(fleet)
    }

    /// Starts another gateway before the same workers, with the same policy.
    pub async fn another_gateway(&self, start: Start<'_>) -> Result<Service> {
        let endpoints = addresses(&self.workers);
        let policy = std::fs::read_to_string(self.policy())?;
        let gateway = start_gateway(&self.folder, &endpoints, &policy, start).await?;
        serves(&gateway, endpoints.len()).await?;
        Ok(gateway)
    }

    /// The gateway's policy file.
    pub fn policy(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// Sums a metric over the workers that are left.
    pub async fn sum(&self, name: &str) -> Result<u64> {
        let mut sum = 0;
        for worker in self.workers.iter().filter(|worker| worker.process.id().is_some()) {
            sum += worker.metric(name).await?;
        }
        Ok(sum)
    }

    /// Stops everything that was not killed, the gateway first; its warnings are among these, the workers have none.
    pub async fn stop_after(self, expected: &[&str]) -> Result<()> {
        self.gateway.stop_after(expected).await?;
        for worker in self.workers.into_iter().filter(|worker| worker.process.id().is_some()) {
            worker.stop().await?;
        }
        Ok(())
    }
}

fn addresses(workers: &[Service]) -> Vec<String> {
    workers.iter().map(|worker| worker.address.clone()).collect()
}

/// Waits until a gateway has found so many instances ready.
async fn serves(gateway: &Service, count: usize) -> Result<()> {
    for number in 1..=count {
        let line = format!("instance=w{number} ready=true");
        gateway.process.line_with(&line, LIMIT).await?;
    }
    gateway.ready().await
}

async fn start_workers(members: &[Member<'_>]) -> Result<(TempDir, Vec<Service>)> {
    let folder = tempfile::tempdir()?;
    let mut workers = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let script = folder.path().join(format!("w{}.yaml", index + 1));
        let followed = match member.replies {
            "" => String::new(),
            replies => {
                std::fs::write(&script, format!("replies: {replies}\n"))?;
                format!("script: \"{}\", ", script.display())
            }
        };
        let zone = if index == 0 { "home" } else { "away" };
        let (engine, worker) = (member.engine, member.worker);
        // Room for all slots, so that a few requests do not make it look busy.
        let batch = if engine.contains("batch:") { "" } else { "batch: 1024, " };
        let config =
            format!("engine: {{simulated: {{{batch}{followed}{engine}}}}}\nworker: {{zone: {zone}, {worker}}}\n");
        workers.push(Start::new("worker", &config).ready().await?);
    }
    Ok((folder, workers))
}

async fn start_gateway(folder: &TempDir, endpoints: &[String], policy: &str, start: Start<'_>) -> Result<Service> {
    let file = folder.path().join("policy.yaml");
    let followed = match policy {
        "" => String::new(),
        policy => {
            std::fs::write(&file, policy)?;
            format!("policy: \"{}\", ", file.display())
        }
    };
    let instance = |(index, endpoint): (usize, &String)| format!("{{name: w{}, endpoint: \"{endpoint}\"}}", index + 1);
    let instances = endpoints.iter().enumerate().map(instance).collect::<Vec<_>>().join(", ");
    let config = format!("gateway: {{zone: home, {followed}{}instances: [{instances}]}}\n", start.config);
    Start { config: &config, ..start }.listening().await
}

/// Stops a process without its knowledge (SIGSTOP).
pub async fn freeze(service: &Service) -> Result<()> {
    signal(service, "STOP").await
}

/// Lets it go on (SIGCONT).
pub async fn thaw(service: &Service) -> Result<()> {
    signal(service, "CONT").await
}

async fn signal(service: &Service, signal: &str) -> Result<()> {
    let id = service.process.id().context("it has ended already")?;
    let status = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {id}")).status().await?;
    ensure!(status.success(), "kill ended with {status}");
    Ok(())
}
