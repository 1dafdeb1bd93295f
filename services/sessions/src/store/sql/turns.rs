use pointsman_proto::sessions::v1::{Fence, Turn};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, query};
use tonic::async_trait;

use super::row::{self, get, micros_of};
use super::{Kind, Sql, failure, signed};
use crate::merge;
use crate::store::{Awaited, Commit, Committed, Merged, Opened, Opening, SessionKey, StoreError, TurnStore};

/// One answer to five questions, in one snapshot: the session, the turn of this name, the turns that are not known, the
/// pinned ones before those, and the turn that answers a request of this name. The first column says which of them a row is about.
const OPEN: &str = "\
    SELECT 0, id, uid, epoch, revision, awaited, awaited_until, settings, etag, forked_from, forked_at, created, updated, expires, bytes \
    FROM sessions WHERE tenant = $1 AND id = $2 \
    UNION ALL SELECT 1, t.request_id, '', t.digest, t.revision, '', t.pinned, t.content, '', '', 0, t.created, 0, 0, 0 \
    FROM sessions s JOIN turns t ON t.session = s.uid WHERE s.tenant = $1 AND s.id = $2 AND t.request_id = $3 \
    UNION ALL SELECT 2, t.request_id, '', t.digest, t.revision, '', t.pinned, t.content, '', '', 0, t.created, 0, 0, 0 \
    FROM sessions s JOIN turns t ON t.session = s.uid WHERE s.tenant = $1 AND s.id = $2 \
    AND t.revision > CASE WHEN s.uid || '.' || s.epoch = $4 THEN $5 ELSE 0 END AND t.revision > s.revision - $6 \
    UNION ALL SELECT 3, t.request_id, '', t.digest, t.revision, '', t.pinned, t.content, '', '', 0, t.created, 0, 0, 0 \
    FROM sessions s JOIN turns t ON t.session = s.uid WHERE s.tenant = $1 AND s.id = $2 AND t.pinned = 1 \
    AND s.uid || '.' || s.epoch <> $4 AND t.revision <= s.revision - $6 \
    UNION ALL SELECT 4, t.request_id, '', m.digest, t.revision, '', t.pinned, t.content, '', '', 0, t.created, 0, 0, 0 \
    FROM sessions s JOIN merged_requests m ON m.session = s.uid JOIN turns t ON t.session = s.uid AND t.revision = m.revision \
    WHERE s.tenant = $1 AND s.id = $2 AND m.request_id = $3";

/// Where the columns of a turn stand in it.
const TURN: [usize; 5] = [1, 4, 11, 6, 7];

/// Moves the session, adds the turn and tells it to consumers, or does nothing of it.
macro_rules! commit {
    ($besides:literal) => {
        concat!(
            "WITH running AS (SELECT 1 FROM runs WHERE session = $8 AND request_id = $12 AND state = 1 AND until >= $4 FOR UPDATE), \
    moved AS (UPDATE sessions SET revision = revision + 1, bytes = bytes + $1, awaited = $2, awaited_until = $3, \
    updated = $4, expires = $4 + CASE retention WHEN 0 THEN $5 ELSE retention END \
    WHERE tenant = $6 AND id = $7 AND uid = $8 AND epoch = $9 AND revision = $10 \
    AND ($17 = 0 OR EXISTS (SELECT 1 FROM running)) RETURNING tenant, uid, revision), ended AS (UPDATE runs SET state = 2, ended = $4, \
    revision = m.revision FROM moved m WHERE $17 = 1 AND runs.session = m.uid AND runs.request_id = $12), \
    told AS (INSERT INTO turn_cursors \
    (tenant, turn_group, session, acknowledged, revision, consumer, until) \
    SELECT g.tenant, g.name, m.uid, CASE WHEN g.from_the_beginning = 1 THEN 0 ELSE m.revision - 1 END, m.revision, '', 0 \
    FROM moved m JOIN turn_groups g ON g.tenant = m.tenant WHERE g.channel = '' \
    OR g.channel IN (SELECT b.channel FROM bindings b WHERE b.session = m.uid) \
    ON CONFLICT (tenant, turn_group, session) DO UPDATE SET revision = excluded.revision)",
            $besides,
            " INSERT INTO turns (session, revision, request_id, digest, pinned, created, content) \
    SELECT uid, $11, $12, $13, $14, $15, $16 FROM moved"
        )
    };
}

const COMMIT: &str = commit!("");

/// With the other requests that the turn answers.
const COMMIT_MERGED: &str = commit!(
    ", merged AS (INSERT INTO merged_requests (session, request_id, digest, revision) \
    SELECT m.uid, r.request_id, r.digest, m.revision FROM moved m, \
    unnest(string_to_array($18, chr(31)), string_to_array($19, chr(31))::bigint[]) AS r (request_id, digest))"
);

const MOVE: &str = "\
    UPDATE sessions SET revision = revision + 1, bytes = bytes + $1, awaited = $2, awaited_until = $3, \
    updated = $4, expires = $4 + CASE retention WHEN 0 THEN $5 ELSE retention END \
    WHERE tenant = $6 AND id = $7 AND uid = $8 AND epoch = $9 AND revision = $10";

const END_RUN: &str = "\
    UPDATE runs SET state = 2, ended = $1, revision = $2 \
    WHERE session = $3 AND request_id = $4 AND state = 1 AND until >= $1";

const ADD: &str = "\
    INSERT INTO turns (session, revision, request_id, digest, pinned, created, content) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

const ADD_MERGED: &str = "INSERT INTO merged_requests (session, request_id, digest, revision) VALUES ($1, $2, $3, $4)";

const TELL: &str = "\
    INSERT INTO turn_cursors (tenant, turn_group, session, acknowledged, revision, consumer, until) \
    SELECT g.tenant, g.name, $1, CASE WHEN g.from_the_beginning = 1 THEN 0 ELSE $2 - 1 END, $2, '', 0 \
    FROM turn_groups g WHERE g.tenant = $3 AND (g.channel = '' \
    OR g.channel IN (SELECT b.channel FROM bindings b WHERE b.session = $1)) \
    ON CONFLICT (tenant, turn_group, session) DO UPDATE SET revision = excluded.revision";

/// How often a commit is tried that others have disturbed.
const TRIES: u32 = 4;

#[async_trait]
impl TurnStore for Sql {
    async fn open(&self, opening: &Opening<'_>) -> Result<Opened, StoreError> {
        let known = opening.window.map_or(("", 0), |window| (window.uid.as_str(), window.revision));
        let ask = query(OPEN)
            .bind(&*opening.key.tenant)
            .bind(&*opening.key.id)
            .bind(opening.request_id)
            .bind(known.0)
            .bind(signed(known.1))
            .bind(signed(opening.turns));
        let rows = self.breaker.call(async { ask.fetch_all(&self.pool).await.map_err(failure) }).await?;
        opened(&rows)
    }

    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        let content = row::content(commit.turn);
        let done = self
            .breaker
            .call(async {
                match self.kind {
                    Kind::Postgres => self.commit_in_one(commit, &content).await,
                    Kind::Sqlite => self.commit_in_two(commit, &content).await,
                }
                .or_else(|error| match &error {
                    // Somebody commits the same request at the same time.
                    sqlx::Error::Database(refusal) if refusal.is_unique_violation() => Ok(false),
                    _ => Err(failure(error)),
                })
            })
            .await?;
        if done { Ok(Committed::Now) } else { self.committed_before(commit).await }
    }

    async fn list(&self, key: &SessionKey, after: u64, limit: u32, bytes: u64) -> Result<Vec<Turn>, StoreError> {
        let ask = query(
            "SELECT request_id, revision, created, pinned, content FROM (\
             SELECT t.*, SUM(LENGTH(t.content)) OVER (ORDER BY t.revision) - LENGTH(t.content) AS before \
             FROM sessions s JOIN turns t ON t.session = s.uid \
             WHERE s.tenant = $1 AND s.id = $2 AND t.revision > $3 AND t.revision <= $3 + $4) numbered \
             WHERE before < $5 ORDER BY revision",
        )
        .bind(&*key.tenant)
        .bind(&*key.id)
        // Nothing comes after what no integer can be added to.
        .bind(signed(after).min(i64::MAX - i64::from(u32::MAX)))
        .bind(i64::from(limit))
        .bind(signed(bytes));
        let rows = self.breaker.call(async { ask.fetch_all(&self.pool).await.map_err(failure) }).await?;
        rows.iter().map(|row| row::turn(row, [0, 1, 2, 3, 4])).collect()
    }

    async fn pin(&self, key: &SessionKey, revision: u64, pinned: bool) -> Result<Option<Turn>, StoreError> {
        let change = query(
            "UPDATE turns SET pinned = $1 WHERE revision = $2 \
             AND session = (SELECT uid FROM sessions WHERE tenant = $3 AND id = $4) \
             RETURNING request_id, revision, created, pinned, content",
        )
        .bind(i64::from(pinned))
        .bind(signed(revision))
        .bind(&*key.tenant)
        .bind(&*key.id);
        let row = self.breaker.call(async { change.fetch_optional(&self.pool).await.map_err(failure) }).await?;
        row.map(|row| row::turn(&row, [0, 1, 2, 3, 4])).transpose()
    }

    async fn supersede(&self, key: &SessionKey) -> Result<(), StoreError> {
        let change = query("UPDATE sessions SET epoch = epoch + 1 WHERE tenant = $1 AND id = $2");
        let change = change.bind(&*key.tenant).bind(&*key.id);
        self.breaker.call(async { change.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(())
    }

    async fn replace_last(
        &self,
        key: &SessionKey,
        fence: &Fence,
        turn: &Turn,
        awaited: Awaited<'_>,
    ) -> Result<bool, StoreError> {
        let content = row::content(turn);
        let replaced = async {
            let mut transaction = self.pool.begin().await?;
            let moved = query(
                "UPDATE sessions SET epoch = epoch + 1, awaited = $1, awaited_until = $2, \
                 bytes = bytes + $3 - (SELECT LENGTH(content) FROM turns WHERE session = uid AND revision = sessions.revision) \
                 WHERE tenant = $4 AND id = $5 AND uid = $6 AND epoch = $7 AND revision = $8 AND revision > 0",
            );
            let moved = moved.bind(awaited.calls.join(row::SEPARATOR)).bind(awaited.until);
            let moved = moved.bind(signed(content.len() as u64)).bind(&*key.tenant).bind(&*key.id).bind(&fence.uid);
            let moved = moved.bind(signed(fence.epoch)).bind(signed(fence.revision)).execute(&mut *transaction).await?;
            if moved.rows_affected() == 0 {
                return Ok(false);
            }
            let put = query("UPDATE turns SET content = $1, request_id = $2 WHERE session = $3 AND revision = $4");
            let put = put.bind(&content).bind(row::request_key(turn)).bind(&fence.uid).bind(signed(fence.revision));
            put.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(true)
        };
        self.breaker.call(async { replaced.await.map_err(failure) }).await
    }
}

impl Sql {
    async fn commit_in_one(&self, commit: &Commit<'_>, content: &[u8]) -> Result<bool, sqlx::Error> {
        for _ in 1..TRIES {
            match self.try_to_commit(commit, content).await {
                Err(error) if is_given_up_for_another(&error) => {}
                done => return done,
            }
        }
        self.try_to_commit(commit, content).await
    }

    async fn try_to_commit(&self, commit: &Commit<'_>, content: &[u8]) -> Result<bool, sqlx::Error> {
        let sql = if commit.merged.is_empty() { COMMIT } else { COMMIT_MERGED };
        let mut moved = add(moved(query(sql), commit, content), commit, content).bind(i64::from(commit.is_run));
        if !commit.merged.is_empty() {
            let digests = commit.merged.iter().map(|request| request.request_digest.cast_signed().to_string());
            moved = moved.bind(merge::names(commit.merged).join(row::SEPARATOR));
            moved = moved.bind(digests.collect::<Vec<_>>().join(row::SEPARATOR));
        }
        Ok(moved.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn commit_in_two(&self, commit: &Commit<'_>, content: &[u8]) -> Result<bool, sqlx::Error> {
        // A transaction that begins to write in its middle fails if another has written meanwhile.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let moved = moved(query(MOVE), commit, content).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        if commit.is_run {
            let end =
                query(END_RUN).bind(micros_of(commit.turn.create_time.as_ref())).bind(signed(commit.turn.revision));
            let end = end.bind(&commit.fence.uid).bind(&commit.turn.request_id).execute(&mut *transaction).await?;
            if end.rows_affected() == 0 {
                return Ok(false);
            }
        }
        add(query(ADD).bind(&commit.fence.uid), commit, content).execute(&mut *transaction).await?;
        for request in commit.merged {
            let merged = query(ADD_MERGED).bind(&commit.fence.uid).bind(&request.request_id);
            let merged = merged.bind(request.request_digest.cast_signed()).bind(signed(commit.turn.revision));
            merged.execute(&mut *transaction).await?;
        }
        let tell = query(TELL).bind(&commit.fence.uid).bind(signed(commit.turn.revision)).bind(&*commit.key.tenant);
        tell.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Whether what cannot be committed was before.
    async fn committed_before(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        let request_id = &row::request_key(commit.turn);
        let opening = Opening { key: commit.key, request_id, window: None, turns: 0 };
        let opened = self.open(&opening).await?;
        let is_same = opened.session.is_some_and(|session| session.uid == commit.fence.uid);
        Ok(match opened.committed.filter(|_| is_same) {
            Some((turn, digest)) => Committed::Before(turn, digest),
            None => Committed::Conflict,
        })
    }
}

/// Whether PostgreSQL did nothing of it because a group of consumers ended at the same time, or for a deadlock with them: a
/// turn is not lost for that.
fn is_given_up_for_another(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else { return false };
    refusal.is_foreign_key_violation() || refusal.code().is_some_and(|code| code == "40P01")
}

type Ask<'q> = Query<'q, Any, AnyArguments>;

fn moved<'q>(ask: Ask<'q>, commit: &'q Commit<'_>, content: &[u8]) -> Ask<'q> {
    ask.bind(signed(content.len() as u64))
        .bind(commit.awaited.calls.join(row::SEPARATOR))
        .bind(commit.awaited.until)
        .bind(micros_of(commit.turn.create_time.as_ref()))
        .bind(commit.retention)
        .bind(&*commit.key.tenant)
        .bind(&*commit.key.id)
        .bind(&commit.fence.uid)
        .bind(signed(commit.fence.epoch))
        .bind(signed(commit.fence.revision))
}

fn add<'q>(ask: Ask<'q>, commit: &'q Commit<'_>, content: &'q [u8]) -> Ask<'q> {
    let turn = commit.turn;
    ask.bind(signed(turn.revision))
        .bind(row::request_key(turn))
        // As it is, bit by bit: a database's integers have a sign.
        .bind(commit.digest.cast_signed())
        .bind(i64::from(turn.pinned))
        .bind(micros_of(turn.create_time.as_ref()))
        .bind(content)
}

fn opened(rows: &[AnyRow]) -> Result<Opened, StoreError> {
    let mut opened = Opened::default();
    for row in rows {
        match kind(row)? {
            0 => {
                opened.session = Some(row::session(row, 1)?);
                opened.bytes = get::<i64>(row, 14)?.unsigned_abs();
            }
            1 => opened.committed = Some((row::turn(row, TURN)?, get::<i64>(row, 3)?.cast_unsigned())),
            4 => {
                let turn = row::turn(row, TURN)?;
                let digest = get::<i64>(row, 3)?.cast_unsigned();
                opened.merged = Some(Merged { digest, turn: turn.request_id, revision: turn.revision });
            }
            _ => opened.turns.push(row::turn(row, TURN)?),
        }
    }
    opened.turns.sort_by_key(|turn| turn.revision);
    Ok(opened)
}

/// PostgreSQL takes a plain number for a short integer, SQLite for a long one.
fn kind(row: &AnyRow) -> Result<i64, StoreError> {
    get::<i64>(row, 0).or_else(|_| get::<i32>(row, 0).map(i64::from))
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Executor, Row};

    use super::{COMMIT, OPEN};
    use crate::store::conformance::places::Database;

    /// PostgreSQL plans a statement for good when it knows nothing of the tables yet.
    #[tokio::test]
    async fn plans_of_a_new_database_read_one_session_and_not_its_tenants() {
        let database = Database::postgres().await;
        let mut connection = database.sql.pool.acquire().await.unwrap();
        connection.execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
        let text = "text, ".repeat(3);
        for (name, sql, types, values) in [
            ("open", OPEN, format!("{text}text, bigint, bigint"), "'t', 's', 'r', 'u.0', 1, 9".to_owned()),
            (
                "commit",
                COMMIT,
                format!(
                    "bigint, text, bigint, bigint, bigint, {text}bigint, bigint, bigint, text, bigint, bigint, bigint, bytea, bigint"
                ),
                "1, '', 0, 1, 1, 't', 's', 'u', 0, 1, 2, 'r', 3, 0, 1, 'b', 0".to_owned(),
            ),
        ] {
            let prepare = format!("PREPARE {name} ({types}) AS {sql}");
            connection.execute(AssertSqlSafe(prepare)).await.unwrap();
            let explain = format!("EXPLAIN (COSTS OFF) EXECUTE {name} ({values})");
            let plan = connection.fetch_all(AssertSqlSafe(explain)).await.unwrap();
            let plan = plan.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n");
            assert!(plan.contains("sessions_pkey") || plan.contains("sessions_uid_key"), "{plan}");
            for far in ["sessions_changed", "sessions_expires", "Seq Scan on turns", "Seq Scan on bindings"] {
                assert!(!plan.contains(far), "{name} reads too much by {far}:\n{plan}");
            }
        }
    }
}
