//! Leases in memory, beside SQLite: one process has its file, as a rule, and the commit keeps others apart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tonic::async_trait;

use super::{Lease, LeaseStore, Memory, SessionKey, StoreError, Taken};

/// Leases that end with the process. Nothing is remembered with them.
#[derive(Debug, Default)]
pub(crate) struct MemoryLeases(Mutex<HashMap<SessionKey, Held>>);

#[derive(Debug)]
struct Held {
    holder: String,
    until: Instant,
}

impl MemoryLeases {
    fn held(&self) -> MutexGuard<'_, HashMap<SessionKey, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LeaseStore for MemoryLeases {
    async fn take(&self, key: &SessionKey, lease: &Lease<'_>, by_force: bool) -> Result<Taken, StoreError> {
        let (mut all, now) = (self.held(), Instant::now());
        if let Some(held) = all.get(key).filter(|held| !by_force && held.holder != lease.holder && held.until > now) {
            return Ok(Taken::Held(held.until - now));
        }
        all.insert(key.clone(), Held { holder: lease.holder.to_owned(), until: now + lease.time });
        Ok(Taken::Yes(None))
    }

    async fn renew(&self, key: &SessionKey, lease: &Lease<'_>) -> Result<bool, StoreError> {
        let mut all = self.held();
        let held = all.get_mut(key).filter(|held| held.holder == lease.holder);
        Ok(held.map(|held| held.until = Instant::now() + lease.time).is_some())
    }

    async fn give_back(&self, key: &SessionKey, holder: &str, _: Memory<'_>) -> Result<(), StoreError> {
        let mut all = self.held();
        if all.get(key).is_some_and(|held| held.holder == holder) {
            all.remove(key);
        }
        Ok(())
    }

    async fn forget(&self, _: &SessionKey) -> Result<(), StoreError> {
        Ok(())
    }
}
