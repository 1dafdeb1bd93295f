//! `cargo xtask mesh`: processes that outlive the command that started them.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pointsman_testkit::{eventually, ports, tools};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, pointsman, run};
use crate::service::LIMIT;

/// What the ports of the mesh are apart from PostgreSQL's: Redis, gateways, workers, the receiver.
const DISTANCES: [u16; 13] = [0, 947, 2638, 2639, 2738, 2739, 3648, 3649, 3748, 3749, 3848, 3849, 3948];

/// How far the first gateway's port, by which all others are named, is from PostgreSQL's.
const TO_GATEWAYS: u16 = 2638;

const RECEIVER: &str = "otlp-receiver";

/// A mesh with a state and ports of its own; stopped on drop.
struct Mesh {
    folder: TempDir,
    port_base: u16,
}

impl Mesh {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, port_base: ports::free_ports(&DISTANCES)? + TO_GATEWAYS })
    }

    async fn xtask(&self, arguments: &[&str]) -> Result<Ended> {
        let package = tools::workspace()?.join("xtask");
        let environment = [("CARGO_TARGET_DIR", self.folder.path()), ("CARGO_MANIFEST_DIR", &*package)];
        run(&tools::xtask()?, &[&["mesh"], arguments].concat(), &environment, "").await
    }

    async fn up(&self) -> Result<Ended> {
        let binary = tools::binary()?;
        self.up_with(binary.parent().context("the binary lies in no folder")?).await
    }

    async fn up_with(&self, binaries: &Path) -> Result<Ended> {
        let binaries = binaries.to_str().context("the folder's path is no text")?;
        let port_base = self.port_base.to_string();
        self.xtask(&["up", "--engine", "simulated", "--port-base", &port_base, "--binaries", binaries]).await
    }

    /// The columns of each process in what `status` prints, where all is well.
    async fn status(&self) -> Result<Vec<Vec<String>>> {
        Ok(columns(&self.xtask(&["status"]).await?.success()?))
    }

    /// Fails unless `status` says that there is no mesh.
    async fn is_not_up(&self) -> Result<()> {
        let ended = self.xtask(&["status"]).await?;
        ensure!((ended.code, &*ended.stdout) == (Some(1), ""), "{ended:?}");
        ensure!(ended.stderr.contains("the mesh is not up; `cargo xtask mesh up` starts it"), "{ended:?}");
        Ok(())
    }

    fn operator(&self, gateway: u16) -> String {
        format!("http://127.0.0.1:{}", self.port_base + 100 * (gateway - 1) + 1)
    }

    fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.folder.path().join("mesh").join(name)).with_context(|| name.to_owned())
    }
}

fn columns(table: &str) -> Vec<Vec<String>> {
    let columns = |line: &str| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    table.lines().skip(1).map(columns).collect()
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let Ok(xtask) = tools::xtask() else { return };
        let _ = Command::new(xtask).args(["mesh", "down"]).env("CARGO_TARGET_DIR", self.folder.path()).output();
    }
}

#[tokio::test]
async fn a_mesh_comes_up_answers_and_goes_down() -> Result<()> {
    let mesh = Mesh::new()?;
    mesh.is_not_up().await?;
    let said = mesh.up().await?.success()?;
    let addresses = [0, 100].map(|distance| format!("http://127.0.0.1:{}", mesh.port_base + distance));
    assert!(said.contains(&format!("chat --address {}", addresses[0])) && said.contains("spans.jsonl"), "{said}");
    // What runs has not become what is asked for now.
    let again = mesh.xtask(&["up", "--engine", "mistralrs", "--port-base", "18080"]).await?;
    let told = format!("a mesh runs with --port-base {} --engine simulated", mesh.port_base);
    assert!(again.code == Some(1) && again.stderr.contains(&told), "{again:?}");
    assert!(again.stderr.contains("`cargo xtask mesh down`") && !again.stdout.contains("18080"), "{again:?}");

    let status = mesh.status().await?;
    let names: Vec<&str> = status.iter().map(|row| &*row[0]).collect();
    let services = ["worker-1", "worker-2", "worker-3", "gateway-1", "gateway-2"];
    assert_eq!(names, [&["receiver", "postgres", "redis"][..], &services].concat());
    assert!(status.iter().all(|row| row[4] == "yes" && row[6].ends_with(" MB")), "{status:?}");
    for address in &addresses {
        let answer = pointsman(&["chat", "--address", address, "Hello"]).await?.success()?;
        assert_eq!(answer, "You said: Hello\n");
    }

    let said = mesh.xtask(&["down"]).await?.success()?;
    let ended: Vec<&str> = said.lines().filter_map(|line| line.split_once(" (")).map(|(name, _)| name).collect();
    assert!(said.lines().all(|line| line.contains(" ended after ")), "{said}");
    let mut roles: Vec<&str> = ended.iter().filter_map(|name| name.split('-').next()).collect();
    // These two end at the same time.
    roles[5..7].sort_unstable();
    assert_eq!(roles, ["gateway", "gateway", "worker", "worker", "worker", "postgres", "redis", "receiver"]);
    for distance in DISTANCES {
        TcpListener::bind(("127.0.0.1", mesh.port_base - TO_GATEWAYS + distance))?;
    }
    for service in services {
        let log = mesh.read(&format!("{service}.log"))?;
        // The policy is for both engines, and the workers have one.
        let mut other = log.lines().filter(|line| !line.contains("the policy names a target that no instance serves"));
        let is_calm = other.all(|line| !line.contains("WARN") && !line.contains("ERROR"));
        assert!(log.contains("drained") && is_calm, "{log}");
    }
    assert_eq!(mesh.xtask(&["down"]).await?.success()?, "the mesh is not up\n");

    let spans = mesh.read("spans.jsonl")?;
    let spans: Vec<Value> = spans.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for gateway in ["gateway-1", "gateway-2"] {
        let of_gateway = |span: &&Value| span["resource"]["service.instance.id"] == gateway;
        let chat =
            spans.iter().filter(of_gateway).find(|span| span["parent_span_id"] == "").context("no first span")?;
        let generate = spans.iter().find(|span| span["name"] == "generate" && span["trace_id"] == chat["trace_id"]);
        let instance = &generate.context("no span of a worker")?["resource"]["service.instance.id"];
        assert!(instance.as_str().is_some_and(|name| name.starts_with("worker-")), "{instance}");
    }
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_told_and_nothing_starts() -> Result<()> {
    let mesh = Mesh::new()?;
    let port = mesh.port_base + 1111;
    let _taken = TcpListener::bind(("127.0.0.1", port))?;
    let ended = mesh.up().await?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port} is taken")), "{ended:?}");
    assert!(ended.stderr.contains("--port-base"), "{ended:?}");
    mesh.is_not_up().await
}

#[tokio::test]
async fn a_port_base_with_no_room_above_it_is_refused() -> Result<()> {
    let mut mesh = Mesh::new()?;
    mesh.port_base = 65_000;
    let ended = mesh.up().await?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("choose a base from 3662 to 64225"), "{ended:?}");
    mesh.is_not_up().await
}

#[tokio::test]
async fn a_process_that_is_gone_is_told() -> Result<()> {
    let mesh = Mesh::new()?;
    mesh.up().await?.success()?;
    let status = mesh.status().await?;
    let (name, pid) = (&*status[4][0], &*status[4][1]);
    assert_eq!(name, "worker-2");
    kill(pid)?;
    let gone = |ended: Ended| (columns(&ended.stdout)[4][4] == "gone").then_some(ended);
    let ended = eventually!(LIMIT, mesh.xtask(&["status"]).await.ok().and_then(gone))?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("worker-2 is gone: see ") && ended.stderr.contains("worker-2.log"), "{ended:?}");
    assert!(ended.stderr.contains("`cargo xtask mesh down`, then `cargo xtask mesh up`"), "{ended:?}");
    let ended = mesh.up().await?;
    assert!(ended.code == Some(1) && ended.stderr.contains("only a part of the mesh is up"), "{ended:?}");
    let said = mesh.xtask(&["down"]).await?.success()?;
    assert!(said.contains(&format!("worker-2 ({pid}) was gone already")), "{said}");
    Ok(())
}

fn kill(pid: &str) -> Result<()> {
    ensure!(Command::new("sh").arg("-c").arg(format!("kill -s KILL {pid}")).status()?.success(), "killing {pid}");
    Ok(())
}

#[tokio::test]
async fn what_is_kept_outlives_the_mesh() -> Result<()> {
    let mesh = Mesh::new()?;
    let said = mesh.up().await?.success()?;
    assert!(said.contains("/mesh/data, a folder for each gateway, and PostgreSQL's"), "{said}");
    let usage = async |gateway| pointsman(&["usage", "--operator-address", &mesh.operator(gateway)]).await?.success();
    let address = format!("http://127.0.0.1:{}", mesh.port_base);
    pointsman(&["chat", "--address", &address, "Hello"]).await?.success()?;
    let before = usage(1).await?;
    assert_eq!(before.lines().count(), 1, "{before}");
    assert_eq!(usage(2).await?, "", "each gateway has its own");
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", mesh.port_base - TO_GATEWAYS);
    assert!(said.contains(&url), "{said}");
    sql(&url, "CREATE TABLE kept AS SELECT 'kept'").await?;

    mesh.xtask(&["down"]).await?.success()?;
    mesh.up().await?.success()?;
    assert_eq!((usage(1).await?, usage(2).await?), (before, String::new()));
    assert_eq!(sql(&url, "SELECT * FROM kept").await?, "kept\n");
    assert!(mesh.read("gateway-1.log")?.lines().filter(|line| line.contains(" listening ")).count() == 1);
    Ok(())
}

async fn sql(url: &str, statement: &str) -> Result<String> {
    let psql = tools::postgres_programs()?.join("psql");
    run(&psql, &["-X", "-q", "-A", "-t", "-d", url, "-c", statement], &[], "").await?.success()
}

#[tokio::test]
async fn a_process_that_does_not_start_is_told_with_its_log() -> Result<()> {
    let mesh = Mesh::new()?;
    let binaries = tempfile::tempdir()?;
    let broken = binaries.path().join("pointsman");
    std::fs::write(&broken, "#!/bin/sh\necho a broken program >&2\nexit 3\n")?;
    std::fs::set_permissions(&broken, Permissions::from_mode(0o755))?;
    std::os::unix::fs::symlink(tools::binary()?.with_file_name(RECEIVER), binaries.path().join(RECEIVER))?;
    let ended = mesh.up_with(binaries.path()).await?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("worker-1 ended with exit status: 3"), "{ended:?}");
    assert!(ended.stderr.contains("a broken program"), "{ended:?}");
    assert!(ended.stdout.contains("receiver (") && ended.stdout.contains(" ended after "), "{ended:?}");
    mesh.is_not_up().await
}

#[tokio::test]
async fn the_files_of_the_mesh_are_good() -> Result<()> {
    let folder = tools::workspace()?.join("deploy/config/mesh");
    for name in ["worker-1", "worker-2", "worker-3", "gateway-1", "gateway-2"] {
        let file = folder.join(format!("{name}.yaml"));
        let file = file.to_str().context("the workspace's path is no text")?;
        let command = name.split('-').next().unwrap_or_default();
        pointsman(&[command, "--config", file, "--check-config"]).await?.success()?;
    }
    Ok(())
}
