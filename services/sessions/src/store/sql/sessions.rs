use pointsman_proto::sessions::v1::{Fence, Session};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, query};
use tonic::async_trait;

use super::row::{self, SESSION, micros_of};
use super::{Sql, failure, signed};
use crate::store::{Created, Listing, SessionKey, SessionStore, StoreError};

const INSERT: &str = "INSERT INTO sessions (tenant, id, uid, epoch, revision, bytes, awaited, awaited_until, settings, \
     etag, forked_from, forked_at, created, updated, expires, retention) \
     VALUES ($1, $2, $3, 0, $4, 0, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING";

#[async_trait]
impl SessionStore for Sql {
    async fn create(&self, key: &SessionKey, session: &Session) -> Result<Created, StoreError> {
        self.breaker
            .call(async {
                if session.labels.is_empty() {
                    // Most sessions are made by their first turn, which waits for this.
                    let made = insert(key, session, 0).execute(&self.pool).await.map_err(failure)?;
                    return Ok(created(made.rows_affected()));
                }
                let mut transaction = self.pool.begin().await.map_err(failure)?;
                let made = keep(&mut transaction, key, session).await?;
                transaction.commit().await.map_err(failure)?;
                Ok(made)
            })
            .await
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        let sql = format!("SELECT {SESSION} FROM sessions WHERE tenant = $1 AND id = $2");
        let find = query(AssertSqlSafe(sql)).bind(&*key.tenant).bind(&*key.id);
        let found = self.breaker.call(async { find.fetch_optional(&self.pool).await.map_err(failure) }).await?;
        found.map(|row| row::session(&row, 0)).transpose()
    }

    async fn list(&self, listing: &Listing<'_>) -> Result<Vec<Session>, StoreError> {
        // `tenant` as the index of changes has it, which nothing else is to use.
        let mut sql =
            format!("SELECT {SESSION} FROM sessions WHERE tenant || '' = $1 AND updated >= $2 AND updated < $3");
        let mut next = 4;
        for _ in listing.labels {
            sql += &format!(
                " AND EXISTS (SELECT 1 FROM session_labels WHERE session = uid AND key = ${next} AND value = ${})",
                next + 1
            );
            next += 2;
        }
        if listing.after.is_some() {
            sql += &format!(" AND (updated < ${next} OR updated = ${next} AND id > ${})", next + 1);
            next += 2;
        }
        sql += &format!(" ORDER BY updated DESC, id LIMIT ${next}");
        let mut find =
            query(AssertSqlSafe(sql)).bind(listing.tenant).bind(listing.updated_from).bind(listing.updated_before);
        for (key, value) in listing.labels {
            find = find.bind(key).bind(value);
        }
        if let Some((time, id)) = &listing.after {
            find = find.bind(time).bind(id);
        }
        let find = find.bind(i64::from(listing.limit));
        let rows = self.breaker.call(async { find.fetch_all(&self.pool).await.map_err(failure) }).await?;
        rows.iter().map(|row| row::session(row, 0)).collect()
    }

    async fn update(&self, key: &SessionKey, etag: &str, session: &Session) -> Result<Option<Session>, StoreError> {
        let sql = format!(
            "UPDATE sessions SET settings = $1, etag = $2, updated = $3, expires = $4, retention = $5 \
             WHERE tenant = $6 AND id = $7 AND etag = $8 RETURNING {SESSION}"
        );
        self.breaker
            .call(async {
                let change = query(AssertSqlSafe(sql))
                    .bind(row::settings(session))
                    .bind(&session.etag)
                    .bind(micros_of(session.update_time.as_ref()))
                    .bind(micros_of(session.expire_time.as_ref()))
                    .bind(row::retention(session))
                    .bind(&*key.tenant)
                    .bind(&*key.id)
                    .bind(etag);
                let mut transaction = self.pool.begin().await.map_err(failure)?;
                let Some(row) = change.fetch_optional(&mut *transaction).await.map_err(failure)? else {
                    return Ok(None);
                };
                let changed = row::session(&row, 0)?;
                let forget = query("DELETE FROM session_labels WHERE session = $1").bind(&changed.uid);
                forget.execute(&mut *transaction).await.map_err(failure)?;
                label(&mut transaction, &changed).await?;
                transaction.commit().await.map_err(failure)?;
                Ok(Some(changed))
            })
            .await
    }

    async fn fork(&self, from: &Fence, key: &SessionKey, session: &Session) -> Result<Option<Created>, StoreError> {
        self.breaker
            .call(async {
                let mut transaction = self.pool.begin().await.map_err(failure)?;
                let made = keep(&mut transaction, key, session).await?;
                if made == Created::Yes {
                    let copy = query(
                        "INSERT INTO turns (session, revision, request_id, digest, pinned, created, content) \
                         SELECT $1, revision, request_id, digest, pinned, created, content FROM turns \
                         WHERE session = $2 AND revision <= $3 \
                         AND EXISTS (SELECT 1 FROM sessions WHERE uid = $2 AND epoch = $4)",
                    );
                    let copy = copy.bind(&session.uid).bind(&from.uid).bind(signed(from.revision));
                    let copied = copy.bind(signed(from.epoch)).execute(&mut *transaction).await.map_err(failure)?;
                    if copied.rows_affected() != from.revision {
                        return Ok(None);
                    }
                    let copy = query(
                        "INSERT INTO merged_requests (session, request_id, digest, revision) \
                         SELECT $1, request_id, digest, revision FROM merged_requests \
                         WHERE session = $2 AND revision <= $3",
                    );
                    let copy = copy.bind(&session.uid).bind(&from.uid).bind(signed(from.revision));
                    copy.execute(&mut *transaction).await.map_err(failure)?;
                    let count = query(
                        "UPDATE sessions SET bytes = (SELECT COALESCE(SUM(LENGTH(content)), 0) FROM turns \
                         WHERE session = $1) WHERE uid = $1",
                    );
                    count.bind(&session.uid).execute(&mut *transaction).await.map_err(failure)?;
                }
                transaction.commit().await.map_err(failure)?;
                Ok(Some(made))
            })
            .await
    }
}

pub(super) async fn keep(
    connection: &mut AnyConnection,
    key: &SessionKey,
    session: &Session,
) -> Result<Created, StoreError> {
    let made = insert(key, session, session.revision).execute(&mut *connection).await.map_err(failure)?;
    let made = created(made.rows_affected());
    if made == Created::Yes {
        label(connection, session).await?;
    }
    Ok(made)
}

fn created(rows: u64) -> Created {
    if rows == 1 { Created::Yes } else { Created::Exists }
}

fn insert<'q>(key: &'q SessionKey, session: &'q Session, revision: u64) -> Query<'q, Any, AnyArguments> {
    query(INSERT)
        .bind(&*key.tenant)
        .bind(&*key.id)
        .bind(&session.uid)
        .bind(signed(revision))
        .bind(session.awaited_tool_call_ids.join(row::SEPARATOR))
        .bind(micros_of(session.tool_expire_time.as_ref()))
        .bind(row::settings(session))
        .bind(&session.etag)
        .bind(&session.forked_from)
        .bind(signed(session.forked_at_revision))
        .bind(micros_of(session.create_time.as_ref()))
        .bind(micros_of(session.update_time.as_ref()))
        .bind(micros_of(session.expire_time.as_ref()))
        .bind(row::retention(session))
}

async fn label(connection: &mut AnyConnection, session: &Session) -> Result<(), StoreError> {
    for (key, value) in &session.labels {
        let add = query("INSERT INTO session_labels (session, key, value) VALUES ($1, $2, $3)");
        add.bind(&session.uid).bind(key).bind(value).execute(&mut *connection).await.map_err(failure)?;
    }
    Ok(())
}
