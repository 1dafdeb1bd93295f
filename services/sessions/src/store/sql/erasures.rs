use std::sync::Arc;

use pointsman_proto::sessions::v1::Erasure;
use sqlx::query;
use tonic::async_trait;

use super::row::{get, micros_of, time};
use super::{Kind, Sql, failure};
use crate::store::{ErasureStore, SessionKey, StoreError};

#[async_trait]
impl ErasureStore for Sql {
    async fn erase(
        &self,
        key: &SessionKey,
        erasure: &Erasure,
        expired_by: Option<i64>,
    ) -> Result<Option<Erasure>, StoreError> {
        self.breaker
            .call(async {
                let mut transaction = self.pool.begin().await.map_err(failure)?;
                // Nobody commits to it from here on.
                let remove = query(
                    "DELETE FROM sessions WHERE tenant = $1 AND id = $2 AND expires <= $3 RETURNING uid, revision",
                );
                let remove = remove.bind(&*key.tenant).bind(&*key.id).bind(expired_by.unwrap_or(i64::MAX));
                let Some(row) = remove.fetch_optional(&mut *transaction).await.map_err(failure)? else {
                    return Ok(None);
                };
                let (uid, turns): (String, i64) = (get(&row, 0)?, get(&row, 1)?);
                let note = query(
                    "INSERT INTO erasures (uid, tenant, session, key, cause, turns, erased) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                );
                let note = note.bind(&uid).bind(&*key.tenant).bind(&erasure.session).bind(&erasure.key);
                let note = note.bind(i64::from(erasure.cause)).bind(turns).bind(micros_of(erasure.erase_time.as_ref()));
                note.execute(&mut *transaction).await.map_err(failure)?;
                transaction.commit().await.map_err(failure)?;
                if self.kind == Kind::Sqlite {
                    // What was erased stands in the log of changes until that is written back. It stays a little longer where
                    // somebody reads it at this moment.
                    query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await.map_err(failure)?;
                }
                Ok(Some(Erasure { uid, turn_count: turns.unsigned_abs(), ..erasure.clone() }))
            })
            .await
    }

    async fn expired(&self, now: i64, limit: u32) -> Result<Vec<SessionKey>, StoreError> {
        let find = query("SELECT tenant, id FROM sessions WHERE expires <= $1 ORDER BY expires LIMIT $2");
        let find = find.bind(now).bind(i64::from(limit));
        let rows = self.breaker.call(async { find.fetch_all(&self.pool).await.map_err(failure) }).await?;
        let key = |row| {
            let (tenant, id): (String, String) = (get(row, 0)?, get(row, 1)?);
            Ok(SessionKey { tenant: Arc::from(tenant), id: Arc::from(id) })
        };
        rows.iter().map(key).collect()
    }

    async fn list(&self, tenant: &str, before: Option<(i64, String)>, limit: u32) -> Result<Vec<Erasure>, StoreError> {
        let (erased, uid) = before.unwrap_or((i64::MAX, String::new()));
        let find = query(
            "SELECT session, uid, key, cause, turns, erased FROM erasures \
             WHERE tenant = $1 AND (erased < $2 OR erased = $2 AND uid > $3) ORDER BY erased DESC, uid LIMIT $4",
        );
        let find = find.bind(tenant).bind(erased).bind(uid).bind(i64::from(limit));
        let rows = self.breaker.call(async { find.fetch_all(&self.pool).await.map_err(failure) }).await?;
        let erasure = |row| {
            Ok(Erasure {
                session: get(row, 0)?,
                uid: get(row, 1)?,
                key: get(row, 2)?,
                cause: i32::try_from(get::<i64>(row, 3)?).unwrap_or_default(),
                turn_count: get::<i64>(row, 4)?.unsigned_abs(),
                erase_time: Some(time(get(row, 5)?)),
            })
        };
        rows.iter().map(erasure).collect()
    }
}
