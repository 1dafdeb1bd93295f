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
        if let Some(bound) = self.breaker.call(self.bound(who)).await? {
            return Ok((bound, Created::Exists));
        }
        let made = self
            .breaker
            .call(async {
                let mut transaction = self.pool.begin().await.map_err(failure)?;
                sessions::keep(&mut transaction, key, session).await?;
                let bind = query(
                    "INSERT INTO bindings (tenant, channel, external_user, session, created) \
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                );
                let bind = bind.bind(who.tenant).bind(who.channel).bind(who.external_user);
                let bound = bind.bind(&session.uid).bind(who.time).execute(&mut *transaction).await.map_err(failure)?;
                if bound.rows_affected() == 0 {
                    // Another was faster: theirs it is, and this one was never there.
                    return Ok(false);
                }
                transaction.commit().await.map_err(failure)?;
                Ok(true)
            })
            .await?;
        if made {
            return Ok((session.clone(), Created::Yes));
        }
        let bound = self.breaker.call(self.bound(who)).await?;
        let gone = || StoreError::Failed("a binding was there and is not any more".into());
        bound.map(|session| (session, Created::Exists)).ok_or_else(gone)
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
