use pointsman_proto::sessions::v1::{ChannelBinding, Session};
use sqlx::{AssertSqlSafe, query};
use tonic::async_trait;

use super::row::{self, SESSION, get, time};
use super::{Sql, failure, sessions};
use crate::store::{BindingStore, Created, SessionKey, StoreError, Who};

#[async_trait]
impl BindingStore for Sql {
    async fn resolve(
        &self,
        who: &Who<'_>,
        (key, session): (&SessionKey, &Session),
    ) -> Result<(Session, Created), StoreError> {
        // Who has a session may lose it before it is read: then they get one all the same.
        loop {
            if let Some(bound) = self.breaker.call(self.bound(who)).await? {
                return Ok((bound, Created::Exists));
            }
            if self.breaker.call(self.make_bound(who, key, session)).await? {
                return Ok((session.clone(), Created::Yes));
            }
        }
    }

    async fn get(&self, who: &Who<'_>) -> Result<Option<ChannelBinding>, StoreError> {
        let find = "SELECT id, bindings.created FROM bindings JOIN sessions ON uid = session \
                    WHERE bindings.tenant = $1 AND channel = $2 AND external_user = $3";
        self.binding(find, who).await
    }

    async fn bind(&self, who: &Who<'_>, key: &SessionKey) -> Result<Option<ChannelBinding>, StoreError> {
        let bind = query(
            "INSERT INTO bindings (tenant, channel, external_user, session, created) \
             SELECT $1, $2, $3, uid, $4 FROM sessions WHERE tenant = $1 AND id = $5 \
             ON CONFLICT (tenant, channel, external_user) DO UPDATE SET session = excluded.session, created = excluded.created",
        );
        let bind = bind.bind(who.tenant).bind(who.channel).bind(who.external_user).bind(who.time).bind(&*key.id);
        let bound = self.breaker.call(async { bind.execute(&self.pool).await.map_err(failure) }).await?;
        Ok((bound.rows_affected() == 1).then(|| ChannelBinding {
            channel: who.channel.to_owned(),
            external_user: who.external_user.to_owned(),
            session: format!("sessions/{}", key.id),
            create_time: Some(time(who.time)),
        }))
    }

    async fn unbind(&self, who: &Who<'_>) -> Result<Option<ChannelBinding>, StoreError> {
        let remove = "DELETE FROM bindings WHERE tenant = $1 AND channel = $2 AND external_user = $3 \
                      RETURNING (SELECT id FROM sessions WHERE uid = session), created";
        self.binding(remove, who).await
    }

    async fn list(&self, key: &SessionKey, limit: u32) -> Result<Vec<ChannelBinding>, StoreError> {
        let find = query(
            "SELECT b.channel, b.external_user, b.created FROM sessions s JOIN bindings b ON b.session = s.uid \
             WHERE s.tenant = $1 AND s.id = $2 ORDER BY b.channel, b.external_user LIMIT $3",
        );
        let find = find.bind(&*key.tenant).bind(&*key.id).bind(i64::from(limit));
        let rows = self.breaker.call(async { find.fetch_all(&self.pool).await.map_err(failure) }).await?;
        let binding = |row| {
            Ok(ChannelBinding {
                channel: get(row, 0)?,
                external_user: get(row, 1)?,
                session: format!("sessions/{}", key.id),
                create_time: Some(time(get(row, 2)?)),
            })
        };
        rows.iter().map(binding).collect()
    }
}

impl Sql {
    /// The binding of a person, of whose session this returns the id, and since when it is theirs.
    async fn binding(&self, sql: &'static str, who: &Who<'_>) -> Result<Option<ChannelBinding>, StoreError> {
        let ask = query(sql).bind(who.tenant).bind(who.channel).bind(who.external_user);
        let row = self.breaker.call(async { ask.fetch_optional(&self.pool).await.map_err(failure) }).await?;
        let binding = |row| {
            Ok(ChannelBinding {
                channel: who.channel.to_owned(),
                external_user: who.external_user.to_owned(),
                session: format!("sessions/{}", get::<String>(&row, 0)?),
                create_time: Some(time(get(&row, 1)?)),
            })
        };
        row.map(binding).transpose()
    }

    /// Keeps a session and binds it. False: another was faster, and this one was never there.
    async fn make_bound(&self, who: &Who<'_>, key: &SessionKey, session: &Session) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(failure)?;
        sessions::keep(&mut transaction, key, session).await?;
        let bind = query(
            "INSERT INTO bindings (tenant, channel, external_user, session, created) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        );
        let bind = bind.bind(who.tenant).bind(who.channel).bind(who.external_user);
        let bound = bind.bind(&session.uid).bind(who.time).execute(&mut *transaction).await.map_err(failure)?;
        if bound.rows_affected() == 0 {
            return Ok(false);
        }
        transaction.commit().await.map_err(failure)?;
        Ok(true)
    }

    async fn bound(&self, who: &Who<'_>) -> Result<Option<Session>, StoreError> {
        let sql = format!(
            "SELECT {SESSION} FROM sessions WHERE uid = (SELECT session FROM bindings \
             WHERE tenant = $1 AND channel = $2 AND external_user = $3)"
        );
        let find = query(AssertSqlSafe(sql)).bind(who.tenant).bind(who.channel).bind(who.external_user);
        let row = find.fetch_optional(&self.pool).await.map_err(failure)?;
        row.map(|row| row::session(&row, 0)).transpose()
    }
}
