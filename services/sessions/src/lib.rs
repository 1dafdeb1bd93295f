//! The session store: conversations that no crash, race or channel can break.
//!
//! It owns sessions, turns, channel bindings and what is known of erasures. It depends on a database, PostgreSQL or
//! SQLite, and perhaps on Redis. It refuses to lose or to interleave turns.
//!
//! Two services: [`service`] is what tenants see of their sessions ([`sessions`]), [`service::turns`] is what gateways run
//! turns with ([`turn`]). A turn gets its place among those of this process ([`places`]) and its lease among the
//! processes ([`leases`]); both save work only. What keeps turns apart is the commit, which the database does if the
//! session still stands where the turn began ([`store`]).
//!
//! Around a turn: [`merge`] answers requests together that come together, [`tools`] closes calls, [`interrupt`] breaks off, [`run`]
//! outlives its caller, [`signals`] is what processes tell each other of turns that run. Afterwards [`feed`] tells turns to
//! consumers, and [`retention`] erases what is over.

mod config;
mod error;
mod feed;
mod interrupt;
mod leases;
mod merge;
mod metrics;
mod places;
mod retention;
mod run;
mod service;
mod sessions;
mod settings;
mod signals;
mod store;
mod tools;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use pointsman_proto::sessions::v1::session_service_server::{self, SessionServiceServer};
use pointsman_proto::sessions::v1::turn_service_server::{self, TurnServiceServer};
use pointsman_server::{Context, Parts, Surface, Task, surface};
use thiserror::Error;
use tokio::time::Instant;
use tonic::service::Routes;

pub use config::{Config, DatabaseConfig, RedisConfig, SecretUrl};
use sessions::{Around, Sessions};
use store::sql::{Kind, Reached, Sql};
use store::{LeaseStore, MemoryLeases, RedisLeases, RedisReached, StoreError};

/// What a session store needs from outside.
pub struct Deps {
    /// The largest message that is read, in bytes.
    pub max_request_bytes: usize,
}

/// A session store cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The database's URL was right when the configuration was checked, and is not any more.
    #[error("sessions.database.{0}")]
    Url(String),
    /// The database, which is at this URL, cannot be used.
    #[error("the database of sessions, {0:?}, cannot be used")]
    Database(SecretUrl, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its schema is older than this version.
    #[error(
        "the database of sessions has an older schema than this version needs: run `pointsman sessions migrate --config FILE`"
    )]
    NotMigrated,
    /// Redis cannot be used.
    #[error("sessions.redis cannot be used")]
    Redis(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Brings the schema of a database up to what this version needs. What the version before needs stays.
pub async fn migrate(config: &Config) -> Result<(), BuildError> {
    let database = database(config)?;
    database.reach().await.map_err(|error| unusable(config, error))?;
    database.migrate().await.map_err(|error| unusable(config, error))
}

fn unusable(config: &Config, error: StoreError) -> BuildError {
    match config.database.url() {
        Ok(url) => BuildError::Database(url, error.into()),
        Err(problem) => BuildError::Url(problem),
    }
}

/// Builds a session store.
pub async fn build(config: &Config, deps: Deps, context: &Context) -> Result<Parts, BuildError> {
    let database = Arc::new(database(config)?);
    prepare(&database, config).await?;
    let redis = config.redis.as_ref().map(redis).transpose()?;
    let metrics = metrics::Metrics::register(&context.metrics);
    let around = Around { metrics, work: context.work.clone(), drain: context.drain.clone() };
    let sessions = Sessions::new(config, &database, redis, around);
    let turns = TurnServiceServer::new(service::turns::Service(Arc::clone(&sessions)))
        .max_decoding_message_size(deps.max_request_bytes)
        .max_encoding_message_size(usize::MAX);
    let own = SessionServiceServer::new(service::Service(Arc::clone(&sessions)))
        .max_decoding_message_size(deps.max_request_bytes);
    let mut routes = Routes::builder();
    routes.add_service(own).add_service(turns);
    let names = vec![session_service_server::SERVICE_NAME, turn_service_server::SERVICE_NAME];
    let own = Surface { grpc: routes.routes(), names, http: Router::new() };
    let (router, health) = surface(own, &context.readiness, &context.drain);
    context.readiness.set(true);
    let signals = Task::new("signals", signals::run(Arc::clone(&sessions)));
    let retention = Task::new("retention", retention::run(sessions));
    Ok(Parts { router, tasks: vec![health, signals, retention] })
}

/// How long a database that is not there yet is waited for: it may have been started at the same time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for the database, and looks whether its schema is what is needed.
async fn prepare(database: &Sql, config: &Config) -> Result<(), BuildError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let prepared = match config.database.migrates(database.kind()) {
            true => database.migrate().await.map(|()| true),
            false => database.is_migrated().await,
        };
        match prepared {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(BuildError::NotMigrated),
            Err(StoreError::Unavailable(error)) if Instant::now() < until => {
                tracing::info!(error = &*error as &dyn std::error::Error, "the database cannot be reached yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(unusable(config, error)),
        }
    }
}

fn database(config: &Config) -> Result<Sql, BuildError> {
    let url = config.database.url().map_err(BuildError::Url)?;
    let DatabaseConfig { connections, deadline, .. } = config.database;
    Sql::new(&Reached { url: url.expose(), connections, deadline }).map_err(|error| unusable(config, error))
}

/// Where leases are that Redis does not give.
fn leases(database: Arc<Sql>) -> Arc<dyn LeaseStore> {
    match database.kind() {
        Kind::Postgres => database,
        Kind::Sqlite => Arc::new(MemoryLeases::default()),
    }
}

fn redis(config: &RedisConfig) -> Result<Arc<dyn LeaseStore>, BuildError> {
    let roots = config.ca.as_ref().map(std::fs::read).transpose().map_err(|error| BuildError::Redis(error.into()))?;
    let urls: Vec<&str> = config.urls.iter().map(SecretUrl::expose).collect();
    let reached = RedisReached {
        urls: &urls,
        sentinel_master: config.sentinel_master.as_deref(),
        roots: roots.as_deref(),
        deadline: config.deadline,
        window_ttl: config.window_ttl,
        window_bytes: config.window_size.as_usize(),
    };
    let leases = RedisLeases::new(&reached).map_err(|error| BuildError::Redis(error.into()))?;
    Ok(Arc::new(leases))
}
