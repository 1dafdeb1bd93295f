//! The places that the suite runs against: real servers, and a file.

use std::sync::Arc;
use std::time::Duration;

use pointsman_testkit::servers::{Postgres, Redis, RedisCluster, RedisSentinel};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::store::redis::{Reached as RedisReached, RedisLeases};
use crate::store::sql::{Reached, Sql};
use crate::store::{
    BindingStore, ErasureStore, FeedStore, LeaseStore, MemoryLeases, RunStore, SessionStore, SignalStore, TurnStore,
};

/// Longer than anything takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A database of a test's own.
pub(crate) struct Database {
    pub(crate) sql: Arc<Sql>,
    _folder: Option<TempDir>,
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("sessions.db").display());
        Self::new(&url, Some(folder)).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = Postgres::shared().await.unwrap().database().await.unwrap();
        Self::new(&url, None).await
    }

    async fn new(url: &str, folder: Option<TempDir>) -> Self {
        let sql = Sql::new(&Reached { url, connections: 8, deadline: DEADLINE }).unwrap();
        assert!(!sql.is_migrated().await.unwrap());
        sql.migrate().await.unwrap();
        assert!(sql.is_migrated().await.unwrap());
        Self { sql: Arc::new(sql), _folder: folder }
    }

    pub(crate) fn sessions(&self) -> &dyn SessionStore {
        &*self.sql
    }

    pub(crate) fn turns(&self) -> &dyn TurnStore {
        &*self.sql
    }

    pub(crate) fn bindings(&self) -> &dyn BindingStore {
        &*self.sql
    }

    pub(crate) fn signals(&self) -> &dyn SignalStore {
        &*self.sql
    }

    pub(crate) fn runs(&self) -> &dyn RunStore {
        &*self.sql
    }

    pub(crate) fn feed(&self) -> &dyn FeedStore {
        &*self.sql
    }

    pub(crate) fn erasures(&self) -> &dyn ErasureStore {
        &*self.sql
    }
}

/// A place of leases.
pub(crate) struct Leases {
    pub(crate) store: Arc<dyn LeaseStore>,
    /// Whether turns are remembered there.
    pub(crate) remembers: bool,
}

/// How much of a session is remembered in these tests.
pub(crate) const WINDOW_BYTES: usize = 2000;

impl Leases {
    pub(crate) async fn memory() -> Self {
        Self { store: Arc::new(MemoryLeases::default()), remembers: false }
    }

    pub(crate) async fn postgres() -> Self {
        Self { store: Database::postgres().await.sql, remembers: false }
    }

    pub(crate) async fn redis() -> Self {
        Self::of(&[&redis().await.url()], None)
    }

    pub(crate) async fn cluster() -> Self {
        let urls = cluster().await.urls();
        Self::of(&urls.iter().map(String::as_str).collect::<Vec<_>>(), None)
    }

    pub(crate) async fn sentinel() -> Self {
        static SENTINEL: OnceCell<RedisSentinel> = OnceCell::const_new();
        let servers = SENTINEL.get_or_init(async || RedisSentinel::start().await.unwrap()).await;
        Self::of(&[&servers.sentinel().url()], Some(servers.master_name()))
    }

    fn of(urls: &[&str], sentinel_master: Option<&str>) -> Self {
        let store = RedisLeases::new(&RedisReached { sentinel_master, ..reached(urls) }).unwrap();
        Self { store: Arc::new(store), remembers: true }
    }
}

/// The server that tests share, each with sessions of its own.
pub(crate) async fn redis() -> &'static Redis {
    static REDIS: OnceCell<Redis> = OnceCell::const_new();
    REDIS.get_or_init(async || Redis::start().await.unwrap()).await
}

/// The cluster that tests share.
pub(crate) async fn cluster() -> &'static RedisCluster {
    static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
    CLUSTER.get_or_init(async || RedisCluster::start().await.unwrap()).await
}

pub(crate) fn reached<'a>(urls: &'a [&'a str]) -> RedisReached<'a> {
    RedisReached {
        urls,
        sentinel_master: None,
        roots: None,
        deadline: DEADLINE,
        window_bytes: WINDOW_BYTES,
        window_ttl: Duration::from_secs(600),
    }
}
