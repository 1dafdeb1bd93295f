//! What the mesh is made of, read from the files that its processes are configured with.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The first gateway's port in the files.
pub(super) const PORT_BASE: u16 = 8080;
/// How far the last port, the session store's, is from it, and the first, PostgreSQL's.
const SPAN: u16 = 1411;
const SPAN_BELOW: u16 = 2638;
/// Not the usual ports of these, which another server on this machine may have.
const POSTGRES: SocketAddr = loopback(5442);
const REDIS: SocketAddr = loopback(6389);
const FILES: &str = "deploy/config/mesh";
/// Those who are called first, so that the gateways find them; those who call end before them (`down`).
const SERVICES: [(Role, &str); 6] = [
    (Role::Sessions, "sessions"),
    (Role::Worker, "worker-1"),
    (Role::Worker, "worker-2"),
    (Role::Worker, "worker-3"),
    (Role::Gateway, "gateway-1"),
    (Role::Gateway, "gateway-2"),
];
/// Every address in the files begins so.
const LOOPBACK: &str = "127.0.0.1:";

/// Fails where the ports behind this one would be none, or belong to the system.
pub(super) fn check_base(port_base: u16) -> Result<()> {
    let allowed = 1024 + SPAN_BELOW..=u16::MAX - SPAN;
    if !allowed.contains(&port_base) {
        let (least, most) = allowed.into_inner();
        bail!(
            "--port-base {port_base}: the mesh has 17 ports, from {SPAN_BELOW} below it to {SPAN} above: choose a base from {least} to {most}"
        );
    }
    Ok(())
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Gateway,
    Worker,
    Sessions,
    /// Writes the spans of the others to a file.
    Receiver,
    Postgres,
    Redis,
}

impl Role {
    /// The subcommand of `pointsman`, or the name of what is not ours.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
            Self::Sessions => "sessions",
            Self::Receiver => "receiver",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// What asks it to end.
    pub(super) fn end_signal(self) -> &'static str {
        match self {
            // At SIGTERM it would wait until everybody has left, also who looks into it with `psql`.
            Self::Postgres => "INT",
            _ => "TERM",
        }
    }
}

/// The processes to start, and their addresses.
pub(super) struct Plan {
    pub(super) receiver: SocketAddr,
    pub(super) postgres: SocketAddr,
    pub(super) redis: SocketAddr,
    pub(super) services: Vec<Service>,
}

/// A gateway, a worker or the session store.
pub(super) struct Service {
    pub(super) role: Role,
    pub(super) name: &'static str,
    pub(super) config: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) operator: SocketAddr,
    /// Where other gateways call this one. `None`: it has no peers.
    mesh: Option<SocketAddr>,
}

impl Plan {
    /// Reads the committed files. Where the ports are others, changed copies of them are written to `folder`.
    pub(super) fn read(port_base: u16, folder: &Path) -> Result<Self> {
        let by = i32::from(port_base) - i32::from(PORT_BASE);
        let mut receiver = None;
        let mut services = Vec::new();
        for (role, name) in SERVICES {
            let committed = crate::root().join(FILES).join(format!("{name}.yaml"));
            let text = fs::read_to_string(&committed).with_context(|| format!("reading {}", committed.display()))?;
            let (config, text) = if by == 0 {
                (committed, text)
            } else {
                let copy = folder.join(format!("{name}.yaml"));
                let text = shifted(&text, by).with_context(|| format!("--port-base {port_base}"))?;
                fs::write(&copy, &text).with_context(|| format!("writing {}", copy.display()))?;
                (copy, text)
            };
            let file: File = serde_saphyr::from_str(&text).with_context(|| config.display().to_string())?;
            let endpoint = file.telemetry.otlp.endpoint;
            let address = endpoint.trim_start_matches("http://").parse();
            receiver = Some(address.with_context(|| format!("{}: {endpoint}", config.display()))?);
            let Server { listen, operator_listen: operator, mesh_listen: mesh } = file.server;
            services.push(Service { role, name, config, listen, operator, mesh });
        }
        let server = |address: SocketAddr| Ok::<_, anyhow::Error>(loopback(moved(address.port(), by)?));
        let (postgres, redis) = (server(POSTGRES)?, server(REDIS)?);
        Ok(Self { receiver: receiver.context("no services")?, postgres, redis, services })
    }

    /// Where the processes listen.
    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let of = |service: &Service| [Some(service.listen), Some(service.operator), service.mesh];
        let services = self.services.iter().flat_map(of).flatten();
        services.chain([self.receiver, self.postgres, self.redis])
    }

    /// Fails with every port that somebody else listens on.
    pub(super) fn refuse_taken_ports(&self) -> Result<()> {
        let taken: Vec<_> = self.addresses().filter(|address| TcpListener::bind(address).is_err()).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = taken
            .iter()
            .map(|address| format!("{address} is taken: `ss -ltnp 'sport = :{}'` tells by whom", address.port()))
            .collect();
        bail!("{}\nstop who listens there, or choose other ports: --port-base 18080", lines.join("\n"))
    }
}

/// What we need to know of a service's file.
#[derive(Deserialize)]
struct File {
    server: Server,
    telemetry: Telemetry,
}

#[derive(Deserialize)]
struct Server {
    listen: SocketAddr,
    operator_listen: SocketAddr,
    mesh_listen: Option<SocketAddr>,
}

#[derive(Deserialize)]
struct Telemetry {
    otlp: Otlp,
}

#[derive(Deserialize)]
struct Otlp {
    endpoint: String,
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn moved(port: u16, by: i32) -> Result<u16> {
    let moved = u16::try_from(i32::from(port) + by).ok().filter(|port| *port > 0);
    moved.with_context(|| format!("port {port} would be no port any more"))
}

/// Moves every loopback port in a text.
fn shifted(text: &str, by: i32) -> Result<String> {
    let mut pieces = text.split(LOOPBACK);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(piece.len());
        let (digits, rest) = piece.split_at(end);
        let port = digits.parse().with_context(|| format!("`{LOOPBACK}{digits}` has no port"))?;
        let port = moved(port, by)?;
        out.push_str(&format!("{LOOPBACK}{port}{rest}"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_moves_alike() {
        let text = "listen: 127.0.0.1:8080\nendpoint: http://127.0.0.1:9390/v1 # 8080\n";
        let expected = "listen: 127.0.0.1:18080\nendpoint: http://127.0.0.1:19390/v1 # 8080\n";
        assert_eq!(shifted(text, 10_000).unwrap(), expected);
        assert!(shifted(text, 57_000).is_err() && shifted(text, -8080).is_err());
        assert_eq!(moved(POSTGRES.port(), 10_000).unwrap(), 15_442);
    }

    #[test]
    fn every_port_of_the_mesh_is_one() {
        for (base, fits) in [(3661, false), (3662, true), (64_124, true), (64_125, false), (65_000, false)] {
            assert_eq!(check_base(base).is_ok(), fits, "{base}");
        }
        let told = check_base(65_000).unwrap_err().to_string();
        assert!(
            told.starts_with("--port-base 65000: ") && told.ends_with("choose a base from 3662 to 64124"),
            "{told}"
        );
    }

    #[test]
    fn the_files_belong_together() {
        let folder = std::env::temp_dir();
        let plan = Plan::read(PORT_BASE, &folder).unwrap();
        let ports: Vec<_> = plan.addresses().map(|address| address.port()).collect();
        let gateways = [8080, 8081, 8082, 8180, 8181, 8182];
        let others = [9490, 9491, 9090, 9091, 9190, 9191, 9290, 9291];
        assert_eq!(ports, [&others[..], &gateways, &[9390, 5442, 6389]].concat());
        let (first, last) = (PORT_BASE - SPAN_BELOW, PORT_BASE + SPAN);
        assert_eq!((ports.iter().min(), ports.iter().max()), (Some(&first), Some(&last)));
        let workers: Vec<_> = plan.services.iter().filter(|it| it.role == Role::Worker).collect();
        for gateway in plan.services.iter().filter(|it| it.role == Role::Gateway) {
            let text = fs::read_to_string(&gateway.config).unwrap();
            assert!(workers.iter().all(|worker| text.contains(&format!("http://{}\n", worker.listen))), "{text}");
            assert!(text.contains("sessions:\n    name: sessions\n    endpoint: http://127.0.0.1:9490\n"), "{text}");
        }
    }
}
