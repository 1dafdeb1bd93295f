//! `docker-compose.yml` without Docker: its services as processes, each with the command line and the files that its
//! container would have.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pointsman_testkit::compose::{Service, services};
use pointsman_testkit::servers::{Postgres, Redis};
use pointsman_testkit::{OtlpReceiver, Process, eventually, tools};
use serde_json::Value;

use crate::caller::chat_body;
use crate::program::pointsman;
use crate::service::LIMIT;

/// Where the worker's image has the demo model.
const MODEL: &str = "/models/demo";

/// A service that runs, with its addresses as others on this machine call them.
struct Running {
    name: String,
    process: Process,
    address: String,
    operator: String,
}

/// What the containers' network would resolve: pairs of an address there and one here.
type Names = Vec<(String, String)>;

#[tokio::test]
async fn every_service_starts_with_its_command_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = OtlpReceiver::start().await?;
    let mut names: Names = vec![("http://otel-collector:4317".to_owned(), collector.endpoint())];
    let (postgres, redis) = (Postgres::start().await?, Redis::start().await?);
    names.push(("postgres://pointsman@postgres:5432/pointsman".to_owned(), postgres.database().await?));
    names.push(("redis://redis:6379".to_owned(), redis.url()));
    let (stores, others): (Vec<_>, Vec<_>) = services()?.into_iter().partition(|it| it.command[0] == "sessions");
    let (gateways, workers): (Vec<_>, Vec<_>) = others.into_iter().partition(|it| it.command[0] == "gateway");
    assert_eq!((gateways.len(), workers.len()), (2, 3));
    let [store, migration] = &stores[..] else { anyhow::bail!("{stores:?}") };
    let file = translated(migration, &migration.mounts[0].0, &names, folder.path())?;
    let migrate: Vec<&str> =
        migration.command.iter().map(|it| if it.starts_with('/') { &file } else { it.as_str() }).collect();
    pointsman(&migrate).await?.success()?;
    let mut running = vec![start(store, &names, folder.path()).await?];
    names.push(("http://sessions:9490".to_owned(), running[0].address.clone()));
    for service in workers.iter().chain(&gateways) {
        let started = start(service, &names, folder.path()).await?;
        names.push((format!("http://{}:9090", service.name), started.address.clone()));
        running.push(started);
    }
    for service in &running {
        eventually!(LIMIT, probe(service, "livez").await.is_ok_and(|status| status == 200))?;
        eventually!(LIMIT, probe(service, "readyz").await.is_ok_and(|status| status == 200))?;
    }

    let names: BTreeSet<&str> = gateways.iter().flat_map(|it| &it.volumes).map(|(name, _)| &**name).collect();
    assert_eq!(names.len(), gateways.len(), "each gateway has a volume of its own");
    let key = key_in_the_readme()?;
    for gateway in running.iter().filter(|service| service.name.starts_with("gateway")) {
        let post = || reqwest::Client::new().post(format!("{}/v1/chat/completions", gateway.address));
        let body = chat_body("pip", "Hello", false);
        assert_eq!(post().json(&body).send().await?.status(), 401);
        let answer: Value = post().bearer_auth(&key).json(&body).send().await?.error_for_status()?.json().await?;
        assert_eq!(answer["choices"][0]["message"]["content"], "Hello! I am Pip. How can I help you?");
        let usage = pointsman(&["usage", "--operator-address", &gateway.operator]).await?.success()?;
        assert_eq!(usage.lines().count(), 1, "{usage}");
        let answer = post().bearer_auth(&key).header("x-pointsman-session", "compose").json(&body).send().await?;
        answer.error_for_status()?;
    }
    for (name, _) in gateways.iter().flat_map(|gateway| &gateway.volumes) {
        assert!(folder.path().join(name).join("usage").is_dir(), "{name} is no folder for usage records");
    }

    // As `docker compose down` does it: the gateways first, since they depend on the workers.
    for service in running.iter_mut().rev() {
        service.process.terminate().await?;
        assert_eq!(service.process.wait(LIMIT).await?.code(), Some(0), "{}", service.name);
        assert_eq!(service.process.unexpected_lines(), Vec::<String>::new(), "{}", service.name);
    }
    collector
        .wait_for(LIMIT, |spans| {
            ["gateway-1", "gateway-2"].iter().all(|name| spans.iter().any(|span| span.instance == *name))
        })
        .await?;
    Ok(())
}

/// Starts a service as its container would, but on free ports.
async fn start(service: &Service, names: &Names, folder: &Path) -> Result<Running> {
    let mut arguments = Vec::new();
    for argument in &service.command {
        let mount = service.mounts.iter().find(|(_, container)| container == argument);
        arguments.push(match mount {
            Some((host, _)) => translated(service, host, names, folder)?,
            None => argument.clone(),
        });
    }
    arguments.extend(["--listen", "0.0.0.0:0", "--operator-listen", "0.0.0.0:0"].map(str::to_owned));
    let process = Process::start(&tools::binary()?, &arguments, [("", ""); 0])?;
    let line = process.line_with(" listening ", LIMIT).await?;
    let [address, operator] = ["address=0.0.0.0:", "operator=0.0.0.0:"].map(|field| {
        let port = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(field));
        port.map(|port| format!("http://127.0.0.1:{port}"))
    });
    let (address, operator) = address.zip(operator).with_context(|| line.clone())?;
    Ok(Running { name: service.name.clone(), process, address, operator })
}

/// Copies a mounted file, with what the container finds elsewhere.
fn translated(service: &Service, file: &Path, names: &Names, folder: &Path) -> Result<String> {
    let mut text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let owner = service.name.trim_end_matches("-migrate");
    ensure!(text.contains(&format!("instance: {owner}\n")), "{} is another's", file.display());
    let model = tools::workspace()?.join("models/demo/model");
    for (there, here) in
        names.iter().map(|(there, here)| (&**there, &**here)).chain([(MODEL, &*model.to_string_lossy())])
    {
        text = text.replace(there, here);
    }
    for (name, there) in &service.volumes {
        ensure!(text.contains(there), "nothing in {} is for the volume {name}", file.display());
        text = text.replace(there, &folder.join(name).to_string_lossy());
    }
    // One of the few ports that no option gives.
    text = text.replace("mesh_listen: 0.0.0.0:8082", "mesh_listen: 127.0.0.1:0");
    let copy = folder.join(format!("{}.yaml", service.name));
    std::fs::write(&copy, text)?;
    Ok(copy.to_str().context("the temporary folder's name is no text")?.to_owned())
}

async fn probe(service: &Running, path: &str) -> Result<u16> {
    Ok(reqwest::get(format!("{}/{path}", service.operator)).await?.status().as_u16())
}

/// The demo's key, where its user finds it.
fn key_in_the_readme() -> Result<String> {
    let text = std::fs::read_to_string(tools::workspace()?.join("README.md"))?;
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-');
    let key = words.find(|word| word.starts_with("pm_demo_"));
    Ok(key.context("the README has no key of the demo")?.to_owned())
}
