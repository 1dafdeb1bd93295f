use std::time::{Duration, SystemTime};

use sqlx::query;
use tonic::async_trait;

use super::{Sql, failure};
use crate::store::sql::row::get;
use crate::store::{Lease, LeaseStore, Memory, SessionKey, StoreError, Taken, micros};

/// Leases without Redis, in PostgreSQL. Nothing is remembered with them.
#[async_trait]
impl LeaseStore for Sql {
    async fn take(&self, key: &SessionKey, lease: &Lease<'_>, by_force: bool) -> Result<Taken, StoreError> {
        let now = micros(SystemTime::now());
        // The row is there afterwards, ours or another's: told in one round trip.
        let take = query(
            "INSERT INTO leases (tenant, id, holder, until) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, id) DO UPDATE SET \
             until = CASE WHEN leases.until <= $5 OR leases.holder = excluded.holder \
             THEN excluded.until ELSE leases.until END, \
             holder = CASE WHEN leases.until <= $5 THEN excluded.holder ELSE leases.holder END \
             RETURNING holder, until",
        )
        .bind(&*key.tenant)
        .bind(&*key.id)
        .bind(lease.holder)
        .bind(until(now, lease.time))
        .bind(if by_force { i64::MAX } else { now });
        let row = self.breaker.call(async { take.fetch_one(&self.pool).await.map_err(failure) }).await?;
        let (holder, until): (String, i64) = (get(&row, 0)?, get(&row, 1)?);
        if holder == lease.holder {
            return Ok(Taken::Yes(None));
        }
        Ok(Taken::Held(Duration::from_micros(until.saturating_sub(now).unsigned_abs())))
    }

    async fn renew(&self, key: &SessionKey, lease: &Lease<'_>) -> Result<bool, StoreError> {
        let renew = query("UPDATE leases SET until = $1 WHERE tenant = $2 AND id = $3 AND holder = $4")
            .bind(until(micros(SystemTime::now()), lease.time))
            .bind(&*key.tenant)
            .bind(&*key.id)
            .bind(lease.holder);
        let renewed = self.breaker.call(async { renew.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn give_back(&self, key: &SessionKey, holder: &str, _: Memory<'_>) -> Result<(), StoreError> {
        let remove = query("DELETE FROM leases WHERE tenant = $1 AND id = $2 AND holder = $3")
            .bind(&*key.tenant)
            .bind(&*key.id)
            .bind(holder);
        self.breaker.call(async { remove.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(())
    }

    async fn forget(&self, _: &SessionKey) -> Result<(), StoreError> {
        Ok(())
    }
}

fn until(now: i64, time: Duration) -> i64 {
    now.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}
