use sqlx::{AssertSqlSafe, query};
use tonic::async_trait;

use super::row::get;
use super::{Kind, Sql, failure, signed};
use crate::store::{Claim, Claimed, FeedStore, Group, StoreError};

#[async_trait]
impl FeedStore for Sql {
    async fn join(&self, group: &Group<'_>, channel: &str, from_the_beginning: bool) -> Result<String, StoreError> {
        let joined = async {
            let make = query(
                "INSERT INTO turn_groups (tenant, name, channel, from_the_beginning) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING",
            );
            let make = make.bind(group.tenant).bind(group.name).bind(channel).bind(i64::from(from_the_beginning));
            make.execute(&self.pool).await.map_err(failure)?;
            let found = query("SELECT channel, from_the_beginning FROM turn_groups WHERE tenant = $1 AND name = $2");
            let found = found.bind(group.tenant).bind(group.name).fetch_one(&self.pool).await.map_err(failure)?;
            let channel: String = get(&found, 0)?;
            if get::<i64>(&found, 1)? == 1 {
                self.tell_all(group, &channel).await.map_err(failure)?;
            }
            Ok(channel)
        };
        self.breaker.call(joined).await
    }

    async fn claim(&self, group: &Group<'_>, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError> {
        // Who waits while holding what others wait for is ended by PostgreSQL, and a commit might be: nobody waits here. In
        // SQLite, one writes at a time.
        let wait = match self.kind {
            Kind::Postgres => "FOR UPDATE SKIP LOCKED",
            Kind::Sqlite => "",
        };
        // Materialized: else it might be looked for anew for every row, and skip what it has locked itself.
        let take = format!(
            "WITH free AS MATERIALIZED (SELECT session FROM turn_cursors WHERE tenant = $3 AND turn_group = $4 \
             AND revision > acknowledged AND until <= $5 ORDER BY until LIMIT $6 {wait}) \
             UPDATE turn_cursors SET consumer = $1, until = $2 WHERE tenant = $3 AND turn_group = $4 \
             AND session IN (SELECT session FROM free) \
             RETURNING (SELECT id FROM sessions WHERE uid = session), session, acknowledged"
        );
        let take = query(AssertSqlSafe(take))
            .bind(claim.consumer)
            .bind(claim.until)
            .bind(group.tenant)
            .bind(group.name)
            .bind(claim.now)
            .bind(i64::from(claim.limit));
        let rows = self.breaker.call(async { take.fetch_all(&self.pool).await.map_err(failure) }).await?;
        let claimed =
            |row| Ok(Claimed { id: get(row, 0)?, uid: get(row, 1)?, acknowledged: get::<i64>(row, 2)?.unsigned_abs() });
        rows.iter().map(claimed).collect()
    }

    async fn acknowledge(
        &self,
        group: &Group<'_>,
        consumer: &str,
        uid: &str,
        revision: u64,
    ) -> Result<bool, StoreError> {
        let change = query(
            "UPDATE turn_cursors SET acknowledged = $1, consumer = '', until = 0 WHERE tenant = $2 AND turn_group = $3 \
             AND session = $4 AND consumer = $5 AND acknowledged < $1 AND revision >= $1",
        )
        .bind(signed(revision))
        .bind(group.tenant)
        .bind(group.name)
        .bind(uid)
        .bind(consumer);
        let changed = self.breaker.call(async { change.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(changed.rows_affected() == 1)
    }

    async fn leave(&self, group: &Group<'_>, consumer: &str) -> Result<(), StoreError> {
        let change = query(
            "UPDATE turn_cursors SET consumer = '', until = 0 WHERE tenant = $1 AND turn_group = $2 AND consumer = $3",
        );
        let change = change.bind(group.tenant).bind(group.name).bind(consumer);
        self.breaker.call(async { change.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(())
    }

    async fn end(&self, group: &Group<'_>) -> Result<bool, StoreError> {
        let remove =
            query("DELETE FROM turn_groups WHERE tenant = $1 AND name = $2").bind(group.tenant).bind(group.name);
        let removed = self.breaker.call(async { remove.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(removed.rows_affected() == 1)
    }
}

impl Sql {
    /// Tells a group that is there already, and for all to see, of what was committed before. A commit that is under way and
    /// does not see the group yet may be missed: the next time that somebody joins, it is told.
    async fn tell_all(&self, group: &Group<'_>, channel: &str) -> Result<(), sqlx::Error> {
        let tell = query(
            "INSERT INTO turn_cursors (tenant, turn_group, session, acknowledged, revision, consumer, until) \
             SELECT tenant, $2, uid, 0, revision, '', 0 FROM sessions s WHERE tenant = $1 AND revision > 0 \
             AND ($3 = '' OR EXISTS (SELECT 1 FROM bindings b WHERE b.session = s.uid AND b.channel = $3)) \
             AND NOT EXISTS (SELECT 1 FROM turn_cursors c WHERE c.tenant = $1 AND c.turn_group = $2 \
             AND c.session = s.uid AND c.revision >= s.revision) \
             ON CONFLICT (tenant, turn_group, session) DO UPDATE SET revision = excluded.revision \
             WHERE turn_cursors.revision < excluded.revision",
        );
        tell.bind(group.tenant).bind(group.name).bind(channel).execute(&self.pool).await?;
        Ok(())
    }
}
