//! PostgreSQL and SQLite: the truth.
//!
//! One text of SQL serves both, but for the commit: PostgreSQL does it as one statement, and so in one round trip,
//! SQLite, which is in this process, as two in a transaction.

mod bindings;
mod erasures;
mod feed;
mod file;
mod leases;
mod row;
mod runs;
mod sessions;
mod signals;
mod turns;

use std::borrow::Cow;
use std::fs::File;
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, SqlSafeStr as _};
use tokio::time::timeout;

use super::StoreError;
use super::breaker::Breaker;

pub(crate) use row::{micros_of, time};
pub(crate) use runs::MARGIN;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Sqlite,
}

impl Kind {
    /// What the URL of a database says it is.
    pub(crate) fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    /// How the schema came to be, oldest first.
    fn migrations(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Postgres => &[
                ("sessions", include_str!("../../migrations/postgres-0001.sql")),
                ("lists", include_str!("../../migrations/postgres-0002.sql")),
            ],
            Self::Sqlite => &[
                ("sessions", include_str!("../../migrations/sqlite-0001.sql")),
                ("lists", include_str!("../../migrations/sqlite-0002.sql")),
            ],
        }
    }

    fn migrator(self) -> Migrator {
        let migration = |((name, sql), version): (&(&'static str, &'static str), i64)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        };
        Migrator::with_migrations(self.migrations().iter().zip(1..).map(migration).collect())
    }
}

/// A database.
#[derive(Debug)]
pub(crate) struct Sql {
    kind: Kind,
    pool: AnyPool,
    breaker: Breaker,
    /// Says to other processes that this one works with the file.
    _mark: Option<File>,
}

/// How a database is reached.
#[derive(Debug)]
pub(crate) struct Reached<'a> {
    pub(crate) url: &'a str,
    pub(crate) connections: u32,
    pub(crate) deadline: Duration,
}

/// How long a database may take to be connected to, where somebody waits for the reason.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// How long a database that does not answer is left alone.
const REST: Duration = Duration::from_secs(1);

impl Sql {
    /// Names a database. It is connected to at the first call, and again after a loss.
    pub(crate) fn new(reached: &Reached<'_>) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let kind = Kind::of(reached.url).ok_or_else(|| {
            StoreError::Failed("the database's URL begins with neither `postgres:` nor `sqlite:`".into())
        })?;
        let mark = if kind == Kind::Sqlite { file::open(reached.url)? } else { None };
        // Asking whether a statement is to be logged makes tracing's filters forget the next span of the thread.
        let options: AnyConnectOptions = reached.url.parse().map_err(failure)?;
        let options = options.disable_statement_logging();
        let pool = AnyPoolOptions::new()
            .max_connections(reached.connections)
            .acquire_timeout(reached.deadline)
            // The next call would find out, and fails if a connection was lost: it is asked first.
            .test_before_acquire(false)
            .after_connect(move |connection, _| Box::pin(prepare(kind, connection)))
            .connect_lazy_with(options);
        let breaker = Breaker::new("the database", reached.deadline, REST);
        let breaker = breaker.with_places(usize::try_from(reached.connections).unwrap_or(usize::MAX));
        Ok(Self { kind, pool, breaker, _mark: mark })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Connects once, to say why that is not possible: a pool says only that it took too long.
    pub(crate) async fn reach(&self) -> Result<(), StoreError> {
        let connected = timeout(REACHED_WITHIN, self.pool.connect_options().connect()).await;
        connected.map_err(|_| StoreError::TooSlow(REACHED_WITHIN))?.map(drop).map_err(failure)
    }

    /// Brings the schema up to what this version needs. What older versions need stays.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        self.kind.migrator().run(&self.pool).await.map_err(|error| match error {
            MigrateError::Execute(error) => failure(error),
            error => StoreError::Failed(error.into()),
        })
    }

    /// Whether the schema is what this version needs.
    pub(crate) async fn is_migrated(&self) -> Result<bool, StoreError> {
        let needed = i64::try_from(self.kind.migrations().len()).unwrap_or(i64::MAX);
        let done = sqlx::query_scalar::<_, i64>("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success");
        match done.fetch_one(&self.pool).await {
            Ok(version) => Ok(version >= needed),
            // There is no such table: nobody has migrated yet.
            Err(sqlx::Error::Database(refusal)) if !is_going_down(refusal.as_ref()) => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }
}

/// Makes a new connection ours.
async fn prepare(kind: Kind, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    if kind == Kind::Sqlite {
        for pragma in [
            "PRAGMA journal_mode = WAL",
            // A commit is on the disk when it is acknowledged.
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
            "PRAGMA busy_timeout = 5000",
            // What is erased is overwritten.
            "PRAGMA secure_delete = ON",
        ] {
            sqlx::query(pragma).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Tells a database that cannot be reached from one that refuses.
fn failure(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        sqlx::Error::Database(refusal) if is_going_down(refusal.as_ref()) => StoreError::Unavailable(refusal.into()),
        error => StoreError::Failed(error.into()),
    }
}

/// Whether PostgreSQL refuses because it starts, stops or has no connection left (its classes 57P and 53), or SQLite
/// because another process holds its file.
fn is_going_down(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    let code = refusal.code().unwrap_or_default();
    code.starts_with("57P") || code.starts_with("53") || code == "5"
}

/// Counts that are never above what a database's integers hold.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
