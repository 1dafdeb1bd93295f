//! A process from its configuration to its last span.

mod shutdown;
mod signals;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use futures::future::{BoxFuture, FutureExt};
use pointsman_telemetry::{Identity, Telemetry};
use pointsman_tls::{Acceptor, ServerTls, TlsError};
use pointsman_types::Origin;
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use self::shutdown::Shutdown;
use self::signals::Signals;
use crate::config::ProcessConfig;
use crate::listener::{Listener, Security};
use crate::web::{Browsers, Cors};
use crate::{Drain, Metrics, Readiness, Requests, Usage, operator};

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
    /// Whether that listener is reached by callers without keys. In plain text it then answers to loopback's own names only.
    pub keyless: bool,
    /// Where a second listener of the same service faces the mesh, if there is one.
    pub mesh_listen: Option<SocketAddr>,
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
    /// The moments of a shutdown.
    pub drain: Drain,
    /// Where metrics are added.
    pub metrics: Metrics,
    /// Where the service says whether it can do its work.
    pub readiness: Readiness,
    /// Where the service says which requests it is answering.
    pub requests: Requests,
    /// Where the service does what may outlast the connection that asked for it.
    pub work: Work,
    /// Where the service gives what it keeps of usage.
    pub usage: Usage,
}

/// What a service is made of.
pub struct Parts {
    /// Its routes, guarded by [`crate::surface`].
    pub router: Router,
    /// What it does beside answering.
    pub tasks: Vec<Task>,
}

/// Work that a drain waits for, beside connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Work(TaskTracker);

impl Work {
    /// Begins something that ends by itself, at the latest when the drain is cut.
    pub fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }
}

/// Something that a service does for as long as it lives. It is dropped after the last stream has ended;
/// if it ends by itself, the process fails.
pub struct Task {
    name: &'static str,
    /// Ends with the reason, if the task knows one.
    work: BoxFuture<'static, Option<String>>,
}

impl Task {
    /// Names a task.
    pub fn new(name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name, work: work.map(|()| None).boxed() }
    }

    /// Names a task that gives up some day, and says why.
    pub fn until_given_up(name: &'static str, work: impl Future<Output = String> + Send + 'static) -> Self {
        Self { name, work: work.map(Some).boxed() }
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
    /// The certificates were right when the configuration was checked, and are not any more.
    #[error("the certificates of a listener cannot be used")]
    Certificates(#[source] TlsError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// The service could not be built.
    #[error("the service cannot start")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A task ended, or panicked.
    #[error("the task `{0}` ended, and the service cannot go on without it")]
    Task(&'static str),
    /// A task gave up, and said why.
    #[error("{0}")]
    GivenUp(String),
}

/// Runs a process to its end. Returns after a signal, or the end of a task that should not end, and a drain;
/// a signal during the drain exits at once.
pub async fn run<B>(process: Process, build: B) -> Result<(), RunError>
where
    B: AsyncFnOnce(Context) -> Result<Parts, Box<dyn std::error::Error + Send + Sync>>,
{
    let telemetry = Telemetry::init(&process.identity, &process.config.telemetry).map_err(RunError::Telemetry)?;
    let grace = process.config.server.shutdown_grace;
    // Kept to the very end: as long as they are, a signal does not kill the process, and has to be heard.
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let started = tokio::select! {
        started = start(process, &telemetry, build) => started.map(Some),
        () = signals.next() => Ok(None),
    };
    let (running, outcome) = match started {
        Ok(Some(mut running)) => {
            let outcome = tokio::select! {
                () = signals.next() => Ok(()),
                error = running.ended() => Err(error),
            };
            (Some(running), outcome)
        }
        Ok(None) => (None, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let shutdown = Shutdown::within(grace);
    let rest = async {
        if let Some(running) = running {
            if let Err(error) = &outcome {
                tracing::error!(%error, "going down");
            }
            tracing::info!(?grace, "draining; a second signal exits at once");
            running.drain(&shutdown).await;
        }
        // Last, so that it has the spans of what was drained. It blocks.
        let flush = tokio::task::spawn_blocking(move || telemetry.flush(shutdown.left()));
        if let Err(error) = flush.await {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    };
    tokio::select! {
        () = rest => outcome,
        () = signals.next() => {
            tracing::warn!("a second signal: exiting at once");
            std::process::exit(SECOND_SIGNAL);
        }
    }
}

/// A process that serves.
struct Running {
    drain: Drain,
    readiness: Readiness,
    connections: TaskTracker,
    tasks: JoinSet<Ended>,
}

/// A task's name, and why it gave up.
type Ended = (&'static str, Option<String>);

async fn start<B>(process: Process, telemetry: &Telemetry, build: B) -> Result<Running, RunError>
where
    B: AsyncFnOnce(Context) -> Result<Parts, Box<dyn std::error::Error + Send + Sync>>,
{
    // Before the build, which may take minutes: a taken port is known at once.
    let socket = bind(process.listen).await?;
    let operator_socket = bind(process.operator_listen).await?;
    let mesh_socket = match process.mesh_listen {
        Some(asked) => Some(bind(asked).await?),
        None => None,
    };
    let address = |socket: &TcpListener, asked| socket.local_addr().unwrap_or(asked);
    let (drain, readiness) = (Drain::default(), Readiness::default());
    let context = Context {
        instance: process.identity.instance.clone(),
        address: address(&socket, process.listen),
        operator_address: address(&operator_socket, process.operator_listen),
        drain: drain.clone(),
        metrics: Metrics::default(),
        readiness: readiness.clone(),
        requests: Requests::default(),
        work: Work::default(),
        usage: Usage::default(),
    };
    let server = process.config.server;
    let config = server.connection;
    let mut tasks = JoinSet::new();
    let failed = Counter::default();
    let help = "TLS handshakes that failed";
    let failed = context.metrics.register("server_failed_handshakes", help, None, failed);
    let tls = secured(&mut tasks, "server.tls", server.tls.as_ref(), &failed)?;
    let mesh_tls = secured(&mut tasks, "server.mesh_tls", server.mesh_tls.as_ref(), &failed)?;
    // The operator port has a drain of its own that never begins: it answers to the end.
    let operator_drain = Drain::default();
    let (operator, operator_health) = operator::router(&context, telemetry.recent().clone(), &operator_drain);
    let operator = Listener {
        socket: operator_socket,
        router: operator,
        origin: Origin::Public,
        tls: None,
        browsers: Browsers { cors: None, loopback_names_only: context.operator_address.ip().is_loopback() },
        config,
        drain: operator_drain,
        connections: TaskTracker::new(),
    };
    spawn(&mut tasks, Task::new("operator port", operator.serve()));
    spawn(&mut tasks, operator_health);

    // The drain waits for both.
    let connections = context.work.0.clone();
    let (public, operator) = (context.address, context.operator_address);
    let parts = build(context).await.map_err(RunError::Build)?;
    // The one place that tells a port that was asked for as 0.
    let mesh = mesh_socket.as_ref().and_then(|socket| socket.local_addr().ok()).map(tracing::field::display);
    tracing::info!(address = %public, %operator, mesh, "listening");
    for task in parts.tasks {
        spawn(&mut tasks, task);
    }
    // Over TLS the browser has asked for a certificate of the name that it calls.
    let loopback_names_only = process.keyless && tls.is_none();
    let listener = |socket, origin, tls| {
        let browsers = match origin {
            Origin::Public => Browsers { cors: Some(Arc::new(Cors::new(&server.cors))), loopback_names_only },
            // Browsers have no business in the mesh: no page may call, by whatever name.
            Origin::Mesh | Origin::InProcess => Browsers::default(),
        };
        let (router, drain, connections) = (parts.router.clone(), drain.clone(), connections.clone());
        Listener { socket, router, origin, tls, browsers, config, drain, connections }
    };
    spawn(&mut tasks, Task::new("listener", listener(socket, process.origin, tls).serve()));
    if let Some(socket) = mesh_socket {
        spawn(&mut tasks, Task::new("mesh listener", listener(socket, Origin::Mesh, mesh_tls).serve()));
    }
    Ok(Running { drain, readiness, connections, tasks })
}

/// Reads the certificates of a listener, and begins to follow their files.
fn secured(
    tasks: &mut JoinSet<Ended>,
    section: &str,
    tls: Option<&ServerTls>,
    failed: &Counter,
) -> Result<Option<Security>, RunError> {
    let Some(tls) = tls else { return Ok(None) };
    let acceptor = Acceptor::new(section, tls).map_err(RunError::Certificates)?;
    spawn(tasks, Task::new("certificates", acceptor.clone().follow()));
    Ok(Some(Security { acceptor, failed: failed.clone() }))
}

impl Running {
    /// Waits until a task has ended, which none should.
    async fn ended(&mut self) -> RunError {
        match self.tasks.join_next().await {
            Some(Ok((_, Some(why)))) => RunError::GivenUp(why),
            Some(Ok((name, None))) => RunError::Task(name),
            Some(Err(_)) => RunError::Task("unknown"),
            None => RunError::Task("all of them"),
        }
    }

    /// Lets what runs finish, then ends it, then closes its connections. Tasks live until then.
    async fn drain(self, shutdown: &Shutdown) {
        self.readiness.drain();
        self.drain.begin();
        self.connections.close();
        if shutdown.before_cut(self.connections.wait()).await.is_none() {
            tracing::warn!("streams were still running at the end of the grace; they were ended");
            self.drain.cut();
            if shutdown.before_close(self.connections.wait()).await.is_none() {
                tracing::debug!("connections were closed whose peers did not read");
                self.drain.close();
                self.connections.wait().await;
            }
        }
        tracing::info!("drained");
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Bind { address, source })
}

fn spawn(tasks: &mut JoinSet<Ended>, task: Task) {
    tasks.spawn(async move {
        // A panic has said what it was; whose it was is said by whoever gets the name.
        (task.name, AssertUnwindSafe(task.work).catch_unwind().await.unwrap_or_default())
    });
}

#[cfg(test)]
mod tests;
