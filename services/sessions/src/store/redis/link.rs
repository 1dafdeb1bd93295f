//! The connection to Redis, which is made, and made again, beside the calls: they take what is there.

mod way;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use self::way::Way;
use super::Reached;
use crate::store::StoreError;

/// From one attempt to connect to the next: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A connection that calls share.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    /// Follows the nodes of the cluster by itself.
    Cluster(ClusterConnection),
}

/// The connection, and who keeps it.
pub(super) struct Link {
    state: watch::Receiver<State>,
    is_bad: Arc<Notify>,
}

enum State {
    /// Nothing is known yet.
    New,
    /// There has been none so far.
    Failed(RedisError),
    Connected(Connection),
}

impl Link {
    /// Begins to connect. It ends with the link.
    pub(super) fn new(reached: &Reached<'_>) -> Result<Self, StoreError> {
        let way = Way::new(reached).map_err(failure)?;
        let (sender, state) = watch::channel(State::New);
        let is_bad = Arc::new(Notify::new());
        tokio::spawn(keep(way, sender, Arc::clone(&is_bad)));
        Ok(Self { state, is_bad })
    }

    /// The connection; waits for the first attempt alone.
    pub(super) async fn connection(&self) -> Result<Connection, StoreError> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| !matches!(state, State::New)).await;
        match state.as_deref() {
            Ok(State::Connected(connection)) => Ok(connection.clone()),
            Ok(State::Failed(error)) => Err(failure(error.clone())),
            Ok(State::New) | Err(_) => Err(StoreError::Unavailable("nobody connects to Redis any more".into())),
        }
    }

    /// Asks for another connection. The one that is there serves until that is made.
    pub(super) fn is_bad(&self) {
        self.is_bad.notify_one();
    }
}

/// Connects, and does so again whenever somebody found the connection bad.
async fn keep(mut way: Way, state: watch::Sender<State>, is_bad: Arc<Notify>) {
    let work = async {
        let mut pause = PAUSES[0];
        loop {
            match way.connect().await {
                Ok(connection) => {
                    state.send_replace(State::Connected(connection));
                    pause = PAUSES[0];
                    sleep(pause).await;
                    is_bad.notified().await;
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "Redis cannot be reached");
                    state.send_if_modified(|state| {
                        let is_news = !matches!(state, State::Connected(_));
                        if is_news {
                            *state = State::Failed(error);
                        }
                        is_news
                    });
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES[1]);
                }
            }
        }
    };
    tokio::select! {
        () = state.closed() => {}
        () = work => {}
    }
}

/// Tells a server that is not there, or not the one that takes writes now, from one that refuses.
pub(super) fn failure(error: RedisError) -> StoreError {
    let is_elsewhere = match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
        ),
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::AuthenticationFailed
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel => true,
        _ => false,
    };
    if is_elsewhere { StoreError::Unavailable(error.into()) } else { StoreError::Failed(error.into()) }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
