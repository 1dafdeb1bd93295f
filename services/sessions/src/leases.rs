//! The right to run a turn, between processes: in Redis, or where Redis is not there in PostgreSQL, or in memory beside
//! SQLite.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::store::{Lease, LeaseStore, Memory, SessionKey, StoreError, Taken};

/// Where leases are.
#[derive(Clone)]
pub(crate) struct Leases {
    /// Asked first. `None`: there is none.
    pub(crate) redis: Option<Arc<dyn LeaseStore>>,
    /// Asked where that is none, or does not answer.
    pub(crate) own: Arc<dyn LeaseStore>,
    /// How long one lives unless it is renewed.
    pub(crate) time: Duration,
    pub(crate) metrics: Metrics,
}

/// A lease that was taken, and where.
pub(crate) struct Held {
    store: Arc<dyn LeaseStore>,
    pub(crate) key: SessionKey,
    pub(crate) holder: String,
    time: Duration,
}

impl Leases {
    /// Takes a lease where there is one to take. Redis that does not answer is passed over: slower, and as correct, since
    /// the commit is fenced.
    pub(crate) async fn take(&self, key: &SessionKey, by_force: bool) -> Result<(Taken, Held), StoreError> {
        let holder = uuid::Uuid::new_v4().to_string();
        let lease = Lease { holder: &holder, time: self.time };
        if let Some(redis) = &self.redis {
            match redis.take(key, &lease, by_force).await {
                Ok(taken) => return Ok((taken, self.held(redis, key, holder))),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "Redis is passed over");
                    self.metrics.passed_over();
                }
            }
        }
        let taken = self.own.take(key, &lease, by_force).await?;
        Ok((taken, self.held(&self.own, key, holder)))
    }

    fn held(&self, store: &Arc<dyn LeaseStore>, key: &SessionKey, holder: String) -> Held {
        Held { store: Arc::clone(store), key: key.clone(), holder, time: self.time }
    }

    /// Forgets what is remembered of a session, everywhere.
    pub(crate) async fn forget(&self, key: &SessionKey) -> Result<(), StoreError> {
        match &self.redis {
            Some(redis) => redis.forget(key).await,
            None => Ok(()),
        }
    }
}

impl Held {
    /// Keeps it for longer; takes it again where it was lost and nobody has it. False: another has.
    pub(crate) async fn renew(&self) -> Result<bool, StoreError> {
        let lease = Lease { holder: &self.holder, time: self.time };
        if self.store.renew(&self.key, &lease).await? {
            return Ok(true);
        }
        let taken = self.store.take(&self.key, &lease, false).await?;
        Ok(matches!(taken, Taken::Yes(_)))
    }

    /// Gives it back. What fails here ends by itself when the lease does.
    pub(crate) async fn give_back(&self, memory: Memory<'_>) {
        if let Err(error) = self.store.give_back(&self.key, &self.holder, memory).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a lease was not given back");
        }
    }
}
