//! TLS at the border and mTLS in the mesh, with certificates that change while everything runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pointsman_client::{Channel, ClientTls, Config, remote};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::{DescribeRequest, GenerateRequest, MeshContext};
use pointsman_proto::mesh_context;
use pointsman_testkit::certificates::{Authority, Files};
use pointsman_testkit::{eventually, ports, tools};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Request;

use crate::caller::{connect, read_deltas, reason, say};
use crate::program::{pointsman, python, python_stubs, run};
use crate::service::{LIMIT, Service, Start, simulated_config};

const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];
const FAILED: &str = "pointsman_server_failed_handshakes_total";

/// An authority, and the files of a test.
struct Papers {
    folder: TempDir,
    authority: Authority,
    ca: PathBuf,
}

impl Papers {
    fn new() -> Result<Self> {
        let (folder, authority) = (tempfile::tempdir()?, Authority::new("authority")?);
        let ca = authority.write(folder.path(), "ca.pem")?;
        Ok(Self { folder, authority, ca })
    }

    fn issue(&self, name: &str) -> Result<Files> {
        self.authority.issue(&HOSTS)?.write(self.folder.path(), name)
    }

    /// Makes a stranger with a certificate of its own authority.
    fn stranger(&self, name: &str) -> Result<Files> {
        Authority::new("stranger")?.issue(&HOSTS)?.write(self.folder.path(), name)
    }

    /// A section of a server, as YAML.
    fn server(&self, own: &Files, asks: bool) -> String {
        let client_ca = if asks { format!(", client_ca: \"{}\"", self.ca.display()) } else { String::new() };
        format!("{{{}{client_ca}}}", yaml(own))
    }

    /// Somebody who trusts the authority, and shows this.
    fn client(&self, shown: Option<&Files>) -> ClientTls {
        let (certificate, key) = shown.cloned().map(|files| (files.certificate, files.key)).unzip();
        ClientTls { ca: Some(self.ca.clone()), certificate, key, domain: None }
    }
}

fn yaml(files: &Files) -> String {
    format!("certificate: \"{}\", key: \"{}\"", files.certificate.display(), files.key.display())
}

fn secure(service: &Service) -> String {
    service.address.replace("http://", "https://")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the temporary folder's name is no text")
}

fn open(service: &Service, tls: &ClientTls) -> Result<InferenceServiceClient<Channel>> {
    Ok(InferenceServiceClient::new(remote(&secure(service), Some(tls), &Config::default())?))
}

/// Asks over a connection of its own.
async fn is_served(service: &Service, tls: &ClientTls) -> Result<()> {
    open(service, tls)?.describe(DescribeRequest {}).await?;
    Ok(())
}

/// A request that says what it is allowed, as a gateway's does.
fn of_the_mesh() -> Request<GenerateRequest> {
    let context = MeshContext { tenant: "acme".to_owned(), ..MeshContext::default() };
    let mut request = Request::new(say("simulated", "Hello"));
    mesh_context::write(&context, request.metadata_mut());
    request
}

/// The whole mesh behind TLS.
async fn up(papers: &Papers, engine: &str, asks: bool) -> Result<Service> {
    let tls = papers.server(&papers.issue("own")?, asks);
    Start::new("up", &format!("{}server: {{tls: {tls}}}\n", simulated_config(engine))).ready().await
}

#[tokio::test]
async fn libraries_of_others_call_over_tls() -> Result<()> {
    let papers = Papers::new()?;
    let mesh = up(&papers, "", false).await?;
    let (ca, address) = (text(&papers.ca)?, secure(&mesh));
    python("tests/python/secured.py", &["openai", ca, &address], None).await?;
    python("tests/python/secured.py", &["grpc", ca, &address], Some(&python_stubs().await?)).await?;
    mesh.stop().await
}

#[tokio::test]
async fn our_own_command_line_calls_over_tls() -> Result<()> {
    let papers = Papers::new()?;
    let mesh = up(&papers, "", false).await?;
    let (ca, address) = (text(&papers.ca)?, secure(&mesh));
    mesh.process.line_with("Pointsman is ready on https://127.0.0.1:", LIMIT).await?;
    let said = pointsman(&["chat", "--address", &address, "--ca", ca, "Hello"]).await?.success()?;
    assert_eq!(said, "You said: Hello\n");
    let untrusted = pointsman(&["models", "--address", &address]).await?;
    assert!(untrusted.code == Some(1) && untrusted.stderr.contains("UnknownIssuer); here: --ca"), "{untrusted:?}");
    let plain = pointsman(&["models", "--address", &mesh.address, "--ca", ca]).await?;
    assert!(plain.code == Some(1) && plain.stderr.contains("write https://"), "{plain:?}");
    mesh.stop().await
}

#[tokio::test]
async fn a_worker_believes_who_shows_a_certificate_and_serves_nobody_else() -> Result<()> {
    let papers = Papers::new()?;
    let tls = papers.server(&papers.issue("worker")?, true);
    let config = format!("{}server: {{tls: {tls}}}\n", simulated_config(""));
    let worker = Start::new("worker", &config).ready().await?;
    let shown = papers.issue("gateway")?;
    let instance = format!("{{ca: \"{}\", {}}}", papers.ca.display(), yaml(&shown));
    let config =
        format!("gateway: {{instances: [{{name: one, endpoint: \"{}\", tls: {instance}}}]}}\n", secure(&worker));
    let gateway = Start::new("gateway", &config).ready().await?;
    let said = pointsman(&["chat", "--address", &gateway.address, "Hello"]).await?.success()?;
    assert_eq!(said, "You said: Hello\n");

    open(&worker, &papers.client(Some(&shown)))?.generate(of_the_mesh()).await?;
    let stranger = papers.stranger("stranger")?;
    for refused in [papers.client(None), papers.client(Some(&stranger))] {
        let before = worker.metric(FAILED).await?;
        assert!(is_served(&worker, &refused).await.is_err(), "{refused:?}");
        worker.metric_is(FAILED, before + 1).await?;
    }
    let plain =
        InferenceServiceClient::new(remote(&worker.address, None, &Config::default())?).generate(of_the_mesh()).await;
    assert!(plain.is_err(), "plain text is served");
    gateway.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn a_mesh_listener_takes_certificates_and_a_public_one_believes_none() -> Result<()> {
    let papers = Papers::new()?;
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let tls = papers.server(&papers.issue("own")?, true);
    let mesh_listen = ports::free_address()?;
    let server = format!("server: {{tls: {tls}, mesh_listen: \"{mesh_listen}\", mesh_tls: {tls}}}\n");
    let config = format!("{server}gateway: {{instances: [{{name: one, endpoint: \"{}\"}}]}}\n", worker.address);
    let gateway = Start::new("gateway", &config).ready().await?;
    let shown = papers.client(Some(&papers.issue("peer")?));

    // A certificate opens the public listener; it does not make its callers part of the mesh.
    let mut public = open(&gateway, &shown)?;
    public.generate(say("simulated", "Hello")).await?;
    let status = public.generate(of_the_mesh()).await.err().context("it was believed")?;
    assert_eq!(reason(&status)?, Reason::MeshContextRefused);
    assert!(is_served(&gateway, &papers.client(None)).await.is_err(), "none was shown");

    let mesh = |tls: &ClientTls| -> Result<_> {
        let channel = remote(&format!("https://{mesh_listen}"), Some(tls), &Config::default())?;
        Ok(InferenceServiceClient::new(channel))
    };
    mesh(&shown)?.generate(of_the_mesh()).await?;
    assert!(mesh(&papers.client(None))?.generate(of_the_mesh()).await.is_err(), "none was shown");
    gateway.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn gateways_share_named_requests_over_mtls() -> Result<()> {
    let papers = Papers::new()?;
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let mesh = [ports::free_address()?, ports::free_address()?];
    let mut gateways = Vec::new();
    for (own, other, name, peer) in [(mesh[0], mesh[1], "a", "b"), (mesh[1], mesh[0], "b", "a")] {
        let files = papers.issue(name)?;
        let tls = papers.server(&files, true);
        let shown = format!("{{ca: \"{}\", {}}}", papers.ca.display(), yaml(&files));
        let config = format!(
            "server: {{instance: {name}, mesh_listen: \"{own}\", mesh_tls: {tls}}}\n\
             gateway: {{instances: [{{name: w, endpoint: \"{}\"}}], \
             peers: [{{name: {peer}, endpoint: \"https://{other}\", tls: {shown}}}]}}\n",
            worker.address
        );
        gateways.push(Start::new("gateway", &config).ready().await?);
    }
    let finished = "pointsman_worker_requests_total{outcome=\"FINISHED\"}";
    // So many that each gateway owns some, whatever their hashes are.
    for number in 0..16 {
        for gateway in &gateways {
            let request = GenerateRequest { request_id: format!("order-{number}"), ..say("simulated", "Hello") };
            connect(&gateway.address).await?.generate(request).await?;
        }
        worker.metric_is(finished, number + 1).await?;
    }
    for gateway in gateways {
        gateway.stop().await?;
    }
    worker.stop().await
}

#[tokio::test]
async fn new_certificates_are_for_new_connections_and_broken_ones_for_none() -> Result<()> {
    let papers = Papers::new()?;
    let mesh = up(&papers, "answer_tokens: 100000, context_tokens: 200000, timing: {step: 10ms}", false).await?;
    let old = papers.client(None);
    let mut running = open(&mesh, &old)?;
    let mut frames = running.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 3).await?;

    let renewed = Papers::new()?;
    renewed.authority.issue(&HOSTS)?.write(papers.folder.path(), "own")?;
    mesh.process.line_with("new certificates are in use", LIMIT).await?;
    let new = renewed.client(None);
    is_served(&mesh, &new).await?;
    let distrusted = is_served(&mesh, &old).await.err().context("the old certificate is still shown")?;
    assert!(format!("{distrusted:#}").contains("invalid peer certificate"), "{distrusted:#}");
    read_deltas(&mut frames, 3).await?;

    std::fs::write(papers.folder.path().join("own.key.pem"), "no key")?;
    mesh.process.line_with("own.key.pem has no private key in it", LIMIT).await?;
    is_served(&mesh, &new).await?;
    read_deltas(&mut frames, 3).await?;
    drop(frames);
    mesh.metric_is("pointsman_worker_running_requests", 0).await?;
    // The two files are not written at once: what is seen between may be refused, too.
    mesh.stop_after(&["changed certificates are refused"]).await
}

#[tokio::test]
async fn a_gateway_shows_its_new_certificate_when_it_connects_again() -> Result<()> {
    let papers = Papers::new()?;
    let tls = papers.server(&papers.issue("worker")?, true);
    let config = format!("{}server: {{tls: {tls}}}\n", simulated_config(""));
    let worker = Start::new("worker", &config).ready().await?;
    let shown = papers.stranger("gateway")?;
    let instance = format!("{{ca: \"{}\", {}}}", papers.ca.display(), yaml(&shown));
    let config =
        format!("gateway: {{instances: [{{name: one, endpoint: \"{}\", tls: {instance}}}]}}\n", secure(&worker));
    let gateway = Start::new("gateway", &config).listening().await?;
    gateway.process.line_with("an instance cannot be reached", LIMIT).await?;
    assert_eq!(gateway.probe("readyz").await?, 503);
    papers.issue("gateway")?;
    gateway.ready().await?;
    gateway.stop_after(&["changed certificates are refused"]).await?;
    worker.stop().await
}

#[tokio::test]
async fn handshakes_that_fail_harm_nobody() -> Result<()> {
    let papers = Papers::new()?;
    let mesh = up(&papers, "", false).await?;
    let host = mesh.address.trim_start_matches("http://").to_owned();
    let mut open = Vec::new();
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", &[0xff; 300]] {
        let mut stream = TcpStream::connect(&host).await?;
        stream.write_all(bytes).await?;
        open.push(stream);
    }
    is_served(&mesh, &papers.client(None)).await?;
    drop(open);
    mesh.metric_is(FAILED, 4).await?;
    is_served(&mesh, &papers.client(None)).await?;
    mesh.stop().await
}

/// Checks the configuration of a command; returns the exit status and what it was told.
async fn checked(command: &str, config: &str, listen: &str) -> Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config)?;
    let ended = pointsman(&[command, "--config", text(&file)?, "--check-config", "--listen", listen]).await?;
    Ok((ended.code, ended.stderr))
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_before_anything_listens() -> Result<()> {
    let papers = Papers::new()?;
    let (own, other) = (papers.issue("own")?, papers.stranger("other")?);
    let mixed = Files { key: other.key, ..own.clone() };
    let missing = Files { key: "/no/such/key.pem".into(), ..own.clone() };
    let instance = |tls: &str| {
        format!("gateway: {{instances: [{{name: w, endpoint: \"https://127.0.0.1:9\", tls: {{{tls}}}}}]}}\n")
    };
    let server = |files: &Files| format!("server: {{tls: {}}}\n", papers.server(files, false));
    for (command, config, want) in [
        ("worker", server(&mixed), "server.tls: the key in "),
        ("worker", server(&missing), "server.tls: /no/such/key.pem cannot be read: No such file"),
        ("gateway", instance(&yaml(&mixed)), "gateway.instances[0].tls: the key in "),
        ("gateway", instance("ca: /no/such/ca.pem"), "gateway.instances[0].tls: /no/such/ca.pem cannot be read"),
        ("gateway", instance("").replace("https:", "http:"), "gateway.instances[0].endpoint: "),
        ("up", format!("server: {{mesh_tls: {}}}\n", papers.server(&own, false)), "server.mesh_tls: "),
    ] {
        let (code, told) = checked(command, &config, "127.0.0.1:0").await?;
        assert!(code == Some(64) && told.contains(want), "{want}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_system_without_authorities_is_told_before_anything_listens() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, nobody) = (folder.path().join("config.yaml"), folder.path().join("authorities.pem"));
    std::fs::write(&nobody, "")?;
    let section = "{name: a, endpoint: \"https://127.0.0.1:9\"}";
    for (config, field) in [
        (format!("instances: [{section}]"), "gateway.instances[0].tls"),
        (format!("instances: [{}], peers: [{section}]", section.replace("https", "http")), "gateway.peers[0].tls"),
    ] {
        std::fs::write(&file, format!("gateway: {{{config}}}\n"))?;
        let arguments = ["gateway", "--config", text(&file)?, "--check-config"];
        let environment: [(&str, &Path); 2] = [("SSL_CERT_FILE", &nobody), ("SSL_CERT_DIR", folder.path())];
        let ended = run(&tools::binary()?, &arguments, &environment, "").await?;
        let want = format!("{field}: this system has no certificates of authorities; name a file with `ca`");
        assert!(ended.code == Some(64) && ended.stderr.contains(&want), "{ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn tls_is_what_a_public_address_needs() -> Result<()> {
    let papers = Papers::new()?;
    let own = papers.issue("own")?;
    let keys = format!("gateway: {{keys: [{{id: a, sha256: \"{}\", tenant: t}}]}}\n", "00".repeat(32));
    let tls = |asks| format!("server: {{tls: {}}}\n", papers.server(&own, asks));
    for (command, config, mistake) in [
        ("up", keys.clone(), "server.tls"),
        ("up", format!("{keys}{}", tls(false)), ""),
        ("up", tls(true), "gateway.keys is empty"),
        ("worker", tls(false), "server.tls.client_ca"),
        ("worker", tls(true), ""),
    ] {
        let (code, told) = checked(command, &config, "0.0.0.0:0").await?;
        assert_eq!(code, Some(if mistake.is_empty() { 0 } else { 64 }), "{config}: {told}");
        assert!(told.contains(mistake), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn the_configuration_that_we_ship_is_good() -> Result<()> {
    let papers = Papers::new()?;
    for name in ["public", "gateway-1", "worker-1"] {
        papers.issue(name)?;
    }
    papers.authority.write(papers.folder.path(), "mesh-ca.pem")?;
    let key = format!("[{{id: a, sha256: \"{}\", tenant: t}}]", "00".repeat(32));
    for command in ["gateway", "worker"] {
        let shipped = std::fs::read_to_string(tools::workspace()?.join(format!("deploy/config/tls/{command}.yaml")))?;
        let listen = if command == "gateway" { "0.0.0.0:8443" } else { "0.0.0.0:9090" };
        assert!(shipped.contains(listen), "{shipped}");
        let here = shipped
            .replace("/etc/pointsman/tls", text(papers.folder.path())?)
            .replace("keys: []", &format!("keys: {key}"));
        let (code, told) = checked(command, &here, listen).await?;
        assert_eq!((code, told.as_str()), (Some(0), ""), "{here}");
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_warned_of() -> Result<()> {
    let papers = Papers::new()?;
    let old = papers.authority.issue_expired(&HOSTS)?.write(papers.folder.path(), "old")?;
    let config = format!("{}server: {{tls: {}}}\n", simulated_config(""), papers.server(&old, false));
    let (code, told) = checked("up", &config, "127.0.0.1:0").await?;
    assert!(code == Some(0) && told.contains("warning: server.tls: a certificate in "), "{told}");
    let mesh = Start::new("up", &config).ready().await?;
    mesh.process.line_with("old.pem has expired", LIMIT).await?;
    let refused = is_served(&mesh, &papers.client(None)).await.err().context("it was trusted")?;
    ensure!(format!("{refused:#}").contains("expired"), "{refused:#}");
    eventually!(LIMIT, mesh.metric(FAILED).await.is_ok_and(|failed| failed > 0))?;
    mesh.stop_after(&["old.pem has expired"]).await
}
