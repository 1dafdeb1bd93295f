//! A process from its configuration to its last span.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use futures::future::{BoxFuture, FutureExt};
use pointsman_telemetry::{Identity, Telemetry};
use pointsman_types::Origin;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::config::ProcessConfig;
use crate::{Drain, Metrics, Readiness, listener, operator};

/// How long streams have to say that they were ended, after the grace is over.
const CUT_LIMIT: Duration = Duration::from_secs(1);
/// How long the last spans may take to send.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Exit status after a second signal, as a shell reports an interrupt.
const SECOND_SIGNAL: i32 = 130;

/// What a process is, before it is built.
#[derive(Debug)]
pub struct Process {
    /// Who it is, for telemetry.
    pub identity: Identity,
    /// Its configuration, checked.
    pub config: ProcessConfig,
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where the operator port listens.
    pub operator_listen: SocketAddr,
    /// Whom the service's listener faces.
    pub origin: Origin,
}

/// What a service gets to be built with.
#[derive(Clone, Debug)]
pub struct Context {
    /// This instance's name.
    pub instance: String,
    /// Where the service listens, with the real port.
    pub address: SocketAddr,
    /// Where the operator port listens, with the real port.
    pub operator_address: SocketAddr,
    /// The two moments of a shutdown.
    pub drain: Drain,
    /// Where metrics are added.
    pub metrics: Metrics,
    /// Where the service says whether it can do its work.
    pub readiness: Readiness,
}

/// What a service is made of.
pub struct Parts {
    /// Its routes, guarded by [`crate::surface`].
    pub router: Router,
    /// What it does beside answering.
    pub tasks: Vec<Task>,
}

/// Something that a service does for as long as it lives. It is dropped after the last stream has ended;
/// if it ends by itself, the process fails.
pub struct Task {
    name: &'static str,
    work: BoxFuture<'static, ()>,
}

impl Task {
    /// Names a task.
    pub fn new(name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name, work: work.boxed() }
    }
}

/// Why a process ended other than by a signal.
#[derive(Debug, Error)]
pub enum RunError {
    /// Telemetry could not be set up.
    #[error("telemetry cannot be set up")]
    Telemetry(#[source] pointsman_telemetry::InitError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; stop what listens there, or choose another address")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// The service could not be built.
    #[error("the service cannot start")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A task ended.
    #[error("the task `{0}` ended, and the service cannot go on without it")]
    Task(&'static str),
}

/// Runs a process to its end. Returns after a signal and a drain; a second signal exits at once.
pub async fn run<B>(process: Process, build: B) -> Result<(), RunError>
where
    B: AsyncFnOnce(Context) -> Result<Parts, Box<dyn std::error::Error + Send + Sync>>,
{
    let telemetry = Telemetry::init(&process.identity, &process.config.telemetry).map_err(RunError::Telemetry)?;
    let outcome = serve(process, &telemetry, build).await;
    telemetry.flush(FLUSH_LIMIT);
    outcome
}

async fn serve<B>(process: Process, telemetry: &Telemetry, build: B) -> Result<(), RunError>
where
    B: AsyncFnOnce(Context) -> Result<Parts, Box<dyn std::error::Error + Send + Sync>>,
{
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    // Before the build, which may take minutes: a taken port is known at once.
    let listener = bind(process.listen).await?;
    let operator_listener = bind(process.operator_listen).await?;
    let address = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let (drain, readiness) = (Drain::default(), Readiness::default());
    let context = Context {
        instance: process.identity.instance.clone(),
        address: address(&listener, process.listen),
        operator_address: address(&operator_listener, process.operator_listen),
        drain: drain.clone(),
        metrics: Metrics::default(),
        readiness: readiness.clone(),
    };
    // The one place that tells a port that was asked for as 0.
    tracing::info!(address = %context.address, operator = %context.operator_address, "listening");
    // The operator port has a drain of its own that never begins: it answers to the end.
    let operator_drain = Drain::default();
    let (operator, operator_health) =
        operator::router(readiness.clone(), context.metrics.clone(), telemetry.recent().clone(), &operator_drain);
    let mut tasks = JoinSet::new();
    let connection = process.config.server.connection;
    tasks.spawn(named(
        "operator port",
        listener::serve(operator_listener, operator, Origin::Public, connection, operator_drain),
    ));
    spawn(&mut tasks, operator_health);

    let parts = tokio::select! {
        parts = build(context) => parts.map_err(RunError::Build)?,
        () = signals.next() => return Ok(()),
    };
    for task in parts.tasks {
        spawn(&mut tasks, task);
    }
    let mut service = tokio::spawn(listener::serve(listener, parts.router, process.origin, connection, drain.clone()));

    tokio::select! {
        () = signals.next() => {}
        Some(ended) = tasks.join_next() => {
            let name = ended.unwrap_or("unknown: it panicked");
            return Err(RunError::Task(name));
        }
    }
    tracing::info!(grace = ?process.config.server.shutdown_grace, "draining; a second signal exits at once");
    readiness.drain();
    drain.begin();
    let finish = async {
        if tokio::time::timeout(process.config.server.shutdown_grace, &mut service).await.is_err() {
            tracing::warn!("streams were still running at the end of the grace; they were ended");
            drain.cut();
            let _ = tokio::time::timeout(CUT_LIMIT, &mut service).await;
        }
    };
    tokio::select! {
        () = finish => tracing::info!("drained"),
        () = signals.next() => {
            tracing::warn!("a second signal: exiting at once");
            std::process::exit(SECOND_SIGNAL);
        }
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Bind { address, source })
}

fn spawn(tasks: &mut JoinSet<&'static str>, task: Task) {
    tasks.spawn(named(task.name, task.work));
}

async fn named(name: &'static str, work: impl Future<Output = ()>) -> &'static str {
    work.await;
    name
}

/// Interrupt and termination, as one.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
