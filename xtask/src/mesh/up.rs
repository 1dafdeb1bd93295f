//! `cargo xtask mesh up`

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use super::plan::{self, Plan, Role, Service};
use super::state::{Asked, Started, State};
use super::{Engine, UpOptions, down};
use crate::process::Process;
use crate::shell;

/// How long all of it may take to become ready, once it is built.
const READY_LIMIT: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(20);

/// Starts the mesh, and returns when it is ready; what was started is stopped if that fails.
pub(super) fn run(options: &UpOptions) -> Result<()> {
    let folder = super::folder();
    if let Some(state) = State::read(&folder)? {
        let running = state.running();
        if running.len() == state.processes.len() {
            super::status::show(&state);
            bail!("{}", already(state.asked.as_ref()));
        }
        if !running.is_empty() {
            super::status::show(&state);
            bail!("only a part of the mesh is up: stop it with `cargo xtask mesh down`, and start it again");
        }
    }
    plan::check_base(options.port_base)?;
    let programs = options.binaries.as_deref().map_or_else(Programs::build, Programs::lying_in)?;
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    remove_all_but_data(&folder)?;
    let plan = Plan::read(options.port_base, &folder)?;
    plan.refuse_taken_ports()?;
    let asked = Asked { engine: options.engine.name().to_owned(), port_base: options.port_base };
    let state = State { asked: Some(asked), processes: Vec::new() };
    let mut starting = Starting { folder: &folder, state, children: Vec::new() };
    if let Err(error) = starting.all(&plan, &programs, options.engine) {
        down::stop(&starting.state)?;
        State::remove(&folder)?;
        return Err(error);
    }
    super::status::show(&starting.state);
    tell(&plan, options.engine, &folder);
    Ok(())
}

/// A build folder has one mesh, and what is asked of another is not what runs.
fn already(asked: Option<&Asked>) -> String {
    let with = asked.map(|asked| format!(" with --port-base {} --engine {}", asked.port_base, asked.engine));
    format!("a mesh runs{}, one for a build folder: stop it first, `cargo xtask mesh down`", with.unwrap_or_default())
}

/// The programs of the mesh.
struct Programs {
    pointsman: PathBuf,
    receiver: PathBuf,
}

impl Programs {
    /// The same build as `cargo run` and the tests have.
    fn build() -> Result<Self> {
        let pointsman = shell::build()?;
        Self::lying_in(pointsman.parent().context("the binary lies in no folder")?)
    }

    fn lying_in(folder: &Path) -> Result<Self> {
        // Absolute, since the processes run in the root of the workspace.
        let folder = folder.canonicalize().with_context(|| format!("looking into {}", folder.display()))?;
        let programs = Self { pointsman: folder.join("pointsman"), receiver: folder.join("otlp-receiver") };
        for program in [&programs.pointsman, &programs.receiver] {
            if !program.is_file() {
                bail!("{} is not there: run `cargo build`", program.display());
            }
        }
        Ok(programs)
    }
}

/// What was started so far. Kept on the disk with every step, so that `down` can end what was interrupted.
struct Starting<'a> {
    folder: &'a Path,
    state: State,
    children: Vec<Child>,
}

impl Starting<'_> {
    fn all(&mut self, plan: &Plan, programs: &Programs, engine: Engine) -> Result<()> {
        let begin = Instant::now();
        let mut receiver = Command::new(&programs.receiver);
        receiver.arg("--listen").arg(plan.receiver.to_string()).arg("--file").arg(spans(self.folder));
        self.start(Role::Receiver, "receiver", receiver, (plan.receiver, None))?;
        for Service { role, name, config, listen, operator } in &plan.services {
            let mut service = Command::new(&programs.pointsman);
            service.arg(role.command()).arg("--config").arg(config);
            // A folder each, and not in the files: where the build folder lies, they cannot know.
            if *role == Role::Gateway {
                service.arg("--data-dir").arg(data(self.folder).join(name));
            }
            // The demo model is what the files have.
            if *role == Role::Worker && engine != Engine::Mistralrs {
                service.arg("--engine").arg(engine.name());
            }
            self.start(*role, name, service, (*listen, Some(*operator)))?;
        }
        self.ready()?;
        println!("ready after {:.1} s\n", begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Starts a process that does not end with us, nor with an interrupt from our terminal.
    fn start(
        &mut self,
        role: Role,
        name: &str,
        mut command: Command,
        (address, operator): (SocketAddr, Option<SocketAddr>),
    ) -> Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let output = fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        command.current_dir(crate::root()).process_group(0);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let process = Process::with_id(child.id())?;
        self.children.push(child);
        let since = SystemTime::now();
        self.state.processes.push(Started { name: name.to_owned(), role, process, since, address, operator, log });
        self.state.write(self.folder)
    }

    fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY_LIMIT;
        for (started, child) in self.state.processes.iter().zip(&mut self.children) {
            while !started.is_ready() {
                if let Some(status) = child.try_wait()? {
                    bail!("{} ended with {status}; {}", started.name, started.log_tail());
                }
                if Instant::now() >= end {
                    bail!("{} is not ready after {READY_LIMIT:?}; {}", started.name, started.log_tail());
                }
                std::thread::sleep(INTERVAL);
            }
        }
        Ok(())
    }
}

/// Removes logs and spans of the mesh before this one. Its usage records were taken by nobody yet.
fn remove_all_but_data(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path == data(folder) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn spans(folder: &Path) -> PathBuf {
    folder.join("spans.jsonl")
}

/// What outlives a mesh: a folder for each gateway.
fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Says how to use it.
fn tell(plan: &Plan, engine: Engine, folder: &Path) {
    let gateways: Vec<_> = plan.services.iter().filter(|service| service.role == Role::Gateway).collect();
    let Some(first) = gateways.first() else { return };
    let (address, operator, model) = (first.listen, first.operator, engine.model());
    println!(
        "
  cargo run -- chat --address http://{address} \"Hello\"
  curl http://{address}/v1/chat/completions \\
    -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'
  cargo run -- trace --operator-address http://{operator} TRACE_ID      (x-pointsman-trace-id of an answer)

logs   {}
spans  {}, a line of JSON each, up to 5 s late
usage  {}, a folder for each gateway, kept for the next mesh
stop   cargo xtask mesh down",
        folder.join("*.log").display(),
        spans(folder).display(),
        data(folder).display(),
    );
}
