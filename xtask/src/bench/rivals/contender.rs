//! The gateways that are compared: how each is installed and started in front of one upstream.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::super::Binaries;
use super::super::mesh::{Service, free_address, in_front_of, on};
use super::{GATEWAY, MODEL, OURS, Upstream};
use crate::shell;
use crate::tools::{debian, python};

/// A gateway under its name.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) version: String,
    /// One in front of each upstream, or why it could not be had.
    pub(super) services: Result<[Service; 2]>,
}

/// Installs and starts them all. Those that nobody asks anything hardly use their core.
pub(super) fn start(binaries: &Binaries, upstreams: &[Upstream; 2]) -> Vec<Contender> {
    let contender = |name, version: Result<String>, start: fn(&Binaries, &Upstream) -> Result<Service>| {
        let [one, other] = upstreams;
        let services = start(binaries, one).and_then(|service| Ok([service, start(binaries, other)?]));
        println!("{name}: {}", services.as_ref().map_or_else(|error| format!("{error:#}"), |_| "ready".to_owned()));
        Contender { name, version: version.unwrap_or_else(|_| "unknown".to_owned()), services }
    };
    vec![
        contender(OURS, Ok(env!("CARGO_PKG_VERSION").to_owned()), ours),
        contender("nginx", nginx_version(), nginx),
        contender("sglang-router", pinned("sglang-router"), sglang_router),
        contender("smg", pinned("smg"), smg),
        contender("litellm", pinned("litellm"), litellm),
    ]
}

fn ours(binaries: &Binaries, upstream: &Upstream) -> Result<Service> {
    Service::start(binaries, "gateway", &in_front_of(&upstream.worker), GATEWAY)
}

fn nginx(binaries: &Binaries, upstream: &Upstream) -> Result<Service> {
    if nginx_version().is_err() {
        debian::install(&["nginx"])?;
    }
    let (address, folder) = (free_address()?, super::super::folder());
    let at = folder.display();
    // What nginx is told beside the defaults: to reuse connections, and to pass on what comes when it comes.
    let told = format!(
        "daemon off;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  upstream model {{ server {}; keepalive 256; }}\n  server {{\n    \
         listen {address};\n    keepalive_requests 1000000000;\n    location / {{\n      proxy_pass http://model;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffering off;\n    }}\n  }}\n}}\n",
        upstream.openai.address,
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, told)?;
    let mut command = on(GATEWAY, Path::new("nginx"));
    Service::start_foreign(binaries, command.arg("-c").arg(file).stderr(Stdio::null()), address)
}

fn sglang_router(binaries: &Binaries, upstream: &Upstream) -> Result<Service> {
    let program = environment("sglang-router")?.join("bin/python");
    router(binaries, on(GATEWAY, &program).args(["-m", "sglang_router.launch_router"]), upstream)
}

fn smg(binaries: &Binaries, upstream: &Upstream) -> Result<Service> {
    let program = environment("smg")?.join("bin/smg");
    router(binaries, on(GATEWAY, &program).arg("launch"), upstream)
}

/// The two are of one family, with the same options.
fn router(binaries: &Binaries, command: &mut Command, upstream: &Upstream) -> Result<Service> {
    let url = format!("http://{}", upstream.openai.address);
    let (address, metrics) = (free_address()?, free_address()?);
    command.args(["--worker-urls", &url, "--host", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--prometheus-host", "127.0.0.1", "--prometheus-port", &metrics.port().to_string()]);
    command.args(["--log-level", "warn"]).env("NO_PROXY", "*");
    Service::start_foreign(binaries, command.stdout(Stdio::null()).stderr(Stdio::null()), address)
}

fn litellm(binaries: &Binaries, upstream: &Upstream) -> Result<Service> {
    let program = environment("litellm")?.join("bin/litellm");
    let (address, file) = (free_address()?, super::super::folder().join("litellm.yaml"));
    let model =
        format!("{{ model: openai/{MODEL}, api_base: \"http://{}/v1\", api_key: none }}", upstream.openai.address);
    fs::write(&file, format!("model_list:\n- model_name: {MODEL}\n  litellm_params: {model}\n"))?;
    let mut command = on(GATEWAY, &program);
    command.arg("--config").arg(file).args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--num_workers", "1", "--telemetry", "False"]);
    // The list of prices it has itself, or it would ask for one.
    command.envs([("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_LOG", "ERROR"), ("NO_PROXY", "*")]);
    Service::start_foreign(binaries, command.stdout(Stdio::null()).stderr(Stdio::null()), address)
}

/// Returns the environment of a rival from PyPI, made from its pins.
fn environment(name: &str) -> Result<PathBuf> {
    python::environment_of(&format!("rival-{name}"), &requirements(name))
}

fn requirements(name: &str) -> String {
    format!("xtask/rivals/{name}.txt")
}

fn pinned(name: &str) -> Result<String> {
    let text = fs::read_to_string(crate::root().join(requirements(name)))?;
    let version = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("=="));
    Ok(version.context("no pin")?.to_owned())
}

fn nginx_version() -> Result<String> {
    shell::output(Command::new("dpkg-query").args(["--showformat=${Version}", "--show", "nginx"]))
}
