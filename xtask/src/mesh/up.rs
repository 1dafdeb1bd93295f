//! `cargo xtask mesh up`

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use super::members::{Member, Programs};
use super::plan::{self, Plan, Role};
use super::state::{self, Asked, Started, State};
use super::{Engine, UpOptions, down};
use crate::process::Process;

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
    fs::create_dir_all(data(&folder)).with_context(|| format!("making {}", folder.display()))?;
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

/// What was started so far. Kept on the disk with every step, so that `down` can end what was interrupted.
struct Starting<'a> {
    folder: &'a Path,
    state: State,
    children: Vec<Child>,
}

impl Starting<'_> {
    fn all(&mut self, plan: &Plan, programs: &Programs, engine: Engine) -> Result<()> {
        let begin = Instant::now();
        let data = data(self.folder);
        for server in programs.servers(plan, &spans(self.folder), &data)? {
            self.start(server)?;
        }
        self.ready()?;
        for service in programs.services(plan, engine, &data) {
            self.start(service)?;
        }
        self.ready()?;
        println!("ready after {:.1} s\n", begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Starts a process that does not end with us, nor with an interrupt from our terminal.
    fn start(&mut self, member: Member) -> Result<()> {
        let Member { role, name, address, operator, before, mut command } = member;
        let log = self.folder.join(format!("{name}.log"));
        let output = fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        for mut command in before {
            let ended = on_its_own(&mut command, &output)?.status();
            let status = ended.with_context(|| format!("starting {:?} for {name}", command.get_program()))?;
            if !status.success() {
                bail!("what runs before {name} ended with {status}; {}", state::log_tail(&log));
            }
        }
        let child = on_its_own(&mut command, &output)?.spawn().with_context(|| format!("starting {name}"))?;
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

/// In the root of the workspace, apart from our terminal, and with its output in a file.
fn on_its_own<'a>(command: &'a mut Command, output: &fs::File) -> Result<&'a mut Command> {
    command.current_dir(crate::root()).process_group(0).stdin(Stdio::null());
    Ok(command.stdout(output.try_clone()?).stderr(output.try_clone()?))
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

/// What outlives a mesh: a folder for each gateway, and one for PostgreSQL.
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
data   {}, a folder for each gateway, and PostgreSQL's, kept for the next mesh
       postgres://{postgres}/postgres and redis://{redis}, without a password
stop   cargo xtask mesh down",
        folder.join("*.log").display(),
        spans(folder).display(),
        data(folder).display(),
        postgres = format_args!("postgres@{}", plan.postgres),
        redis = plan.redis,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn member(name: &'static str, before: Vec<Command>, command: Command) -> Member {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        Member { role: Role::Redis, name, address, operator: None, before, command }
    }

    #[test]
    fn what_runs_before_a_process_runs_to_its_end() {
        let folder = crate::target_dir().join("mesh-of-a-test");
        fs::create_dir_all(&folder).unwrap();
        let mut starting = Starting { folder: &folder, state: State::default(), children: Vec::new() };
        let before = vec![shell("sleep 0.1; echo one"), shell("echo two >&2")];
        starting.start(member("good", before, shell("echo three"))).unwrap();
        starting.children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
        assert_eq!(fs::read_to_string(folder.join("good.log")).unwrap(), "one\ntwo\nthree\n");

        let before = vec![shell("echo a broken program; exit 3"), shell("echo next")];
        let error = starting.start(member("bad", before, shell("echo started"))).unwrap_err().to_string();
        assert!(error.starts_with("what runs before bad ended with exit status: 3; the end of "), "{error}");
        assert!(error.ends_with("bad.log:\n  a broken program"), "{error}");
        assert_eq!(starting.state.processes.len(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
