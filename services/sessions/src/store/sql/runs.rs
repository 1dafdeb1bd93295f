use pointsman_proto::inference::v1::Frame;
use pointsman_proto::sessions::v1::{RecordFrames, Run, RunState};
use prost::Message as _;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, query};
use tonic::async_trait;

use super::row::{get, time};
use super::{Sql, failure, signed};
use crate::run::GATEWAY_LOST;
use crate::store::{Created, Moment, RunKey, RunStore, SessionKey, StoreError};

/// A run that runs: of this session and name, and heard of in time.
const RUNNING: &str = "session = (SELECT uid FROM sessions WHERE tenant = $1 AND id = $2) AND request_id = $3 \
    AND state = 1 AND until >= $4";

const RUN: &str = "r.request_id, r.state, r.until, r.reason, r.revision, r.created, r.ended, r.digest, \
    (SELECT COALESCE(MAX(f.last), 0) FROM run_frames f WHERE f.session = r.session AND f.request_id = r.request_id)";

/// What was asked before a run's time was over may still be done then, or by another clock: so much later it has failed, in
/// microseconds.
pub(crate) const MARGIN: i64 = 2_000_000;

/// How many batches of frames are read at once.
const BATCHES: i64 = 64;

#[async_trait]
impl RunStore for Sql {
    async fn begin(&self, run: &RunKey<'_>, digest: u64, moment: Moment) -> Result<Created, StoreError> {
        let add = query(
            "INSERT INTO runs (session, request_id, digest, state, until, reason, revision, created, ended) \
             SELECT uid, $3, $4, 1, $5, '', 0, $6, 0 FROM sessions WHERE tenant = $1 AND id = $2 ON CONFLICT DO NOTHING",
        );
        let add = add.bind(&*run.session.tenant).bind(&*run.session.id).bind(run.request_id);
        let add = add.bind(digest.cast_signed()).bind(moment.until).bind(moment.now);
        let added = self.breaker.call(async { add.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(if added.rows_affected() == 1 { Created::Yes } else { Created::Exists })
    }

    async fn renew(&self, run: &RunKey<'_>, moment: Moment) -> Result<bool, StoreError> {
        let sql = format!("UPDATE runs SET until = $5 WHERE {RUNNING}");
        let renew = query(AssertSqlSafe(sql)).bind(&*run.session.tenant).bind(&*run.session.id);
        let renew = renew.bind(run.request_id).bind(moment.now).bind(moment.until);
        let renewed = self.breaker.call(async { renew.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn record(&self, run: &RunKey<'_>, frames: &RecordFrames, now: i64) -> Result<bool, StoreError> {
        let (Some(first), Some(last)) = (frames.frames.first(), frames.frames.last()) else { return Ok(true) };
        let sql = format!(
            "INSERT INTO run_frames (session, request_id, first, last, frames) \
             SELECT session, request_id, $5, $6, $7 FROM runs WHERE {RUNNING} \
             ON CONFLICT (session, request_id, first) DO UPDATE SET last = excluded.last, frames = excluded.frames \
             WHERE excluded.last >= run_frames.last"
        );
        let keep = query(AssertSqlSafe(sql)).bind(&*run.session.tenant).bind(&*run.session.id).bind(run.request_id);
        let keep = keep.bind(now).bind(signed(first.sequence)).bind(signed(last.sequence)).bind(frames.encode_to_vec());
        let kept = self.breaker.call(async { keep.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(kept.rows_affected() == 1)
    }

    async fn end(&self, run: &RunKey<'_>, state: RunState, reason: &str, now: i64) -> Result<bool, StoreError> {
        let sql = format!("UPDATE runs SET state = $5, reason = $6, ended = $4 WHERE {RUNNING}");
        let end = query(AssertSqlSafe(sql)).bind(&*run.session.tenant).bind(&*run.session.id).bind(run.request_id);
        let end = end.bind(now).bind(i64::from(i32::from(state))).bind(reason);
        let ended = self.breaker.call(async { end.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(ended.rows_affected() == 1)
    }

    async fn get(&self, run: &RunKey<'_>, now: i64) -> Result<Option<(Run, u64)>, StoreError> {
        let sql = format!(
            "SELECT {RUN} FROM sessions s JOIN runs r ON r.session = s.uid \
             WHERE s.tenant = $1 AND s.id = $2 AND r.request_id = $3"
        );
        let find = query(AssertSqlSafe(sql)).bind(&*run.session.tenant).bind(&*run.session.id).bind(run.request_id);
        let row = self.breaker.call(async { find.fetch_optional(&self.pool).await.map_err(failure) }).await?;
        row.map(|row| Ok((self::run(&row, run.session, now)?, get::<i64>(&row, 7)?.cast_unsigned()))).transpose()
    }

    async fn list(
        &self,
        key: &SessionKey,
        before: Option<(i64, String)>,
        limit: u32,
        now: i64,
    ) -> Result<Vec<Run>, StoreError> {
        let (created, request_id) = before.unwrap_or((i64::MAX, String::new()));
        let sql = format!(
            "SELECT {RUN} FROM sessions s JOIN runs r ON r.session = s.uid WHERE s.tenant = $1 AND s.id = $2 \
             AND (r.created < $3 OR r.created = $3 AND r.request_id > $4) ORDER BY r.created DESC, r.request_id LIMIT $5"
        );
        let find = query(AssertSqlSafe(sql)).bind(&*key.tenant).bind(&*key.id);
        let find = find.bind(created).bind(request_id).bind(i64::from(limit));
        let rows = self.breaker.call(async { find.fetch_all(&self.pool).await.map_err(failure) }).await?;
        rows.iter().map(|row| run(row, key, now)).collect()
    }

    async fn frames(&self, run: &RunKey<'_>, after: u64) -> Result<Vec<Frame>, StoreError> {
        let find = query(
            "SELECT f.frames FROM sessions s JOIN run_frames f ON f.session = s.uid \
             WHERE s.tenant = $1 AND s.id = $2 AND f.request_id = $3 AND f.last > $4 ORDER BY f.first LIMIT $5",
        );
        let find = find.bind(&*run.session.tenant).bind(&*run.session.id).bind(run.request_id);
        let find = find.bind(signed(after)).bind(BATCHES);
        let rows = self.breaker.call(async { find.fetch_all(&self.pool).await.map_err(failure) }).await?;
        let (mut frames, mut last) = (Vec::new(), after);
        for row in &rows {
            let batch = RecordFrames::decode(get::<Vec<u8>>(row, 0)?.as_slice());
            // Where two processes have kept the same, as around a lost stream, it is given once.
            let batch = batch.map_err(|error| StoreError::Unreadable(error.to_string()))?.frames;
            frames.extend(batch.into_iter().filter(|frame| frame.sequence > last));
            last = frames.last().map_or(last, |frame: &Frame| frame.sequence);
        }
        Ok(frames)
    }

    async fn forget(&self, before: i64) -> Result<(), StoreError> {
        let forget = query("DELETE FROM runs WHERE until < $1").bind(before);
        self.breaker.call(async { forget.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(())
    }
}

/// Reads a run of the columns [`RUN`].
fn run(row: &AnyRow, key: &SessionKey, now: i64) -> Result<Run, StoreError> {
    let (state, until): (i64, i64) = (get(row, 1)?, get(row, 2)?);
    let state = i32::try_from(state).ok().and_then(|state| RunState::try_from(state).ok());
    let mut run = Run {
        session: format!("sessions/{}", key.id),
        request_id: get(row, 0)?,
        state: state.unwrap_or_default().into(),
        failure_reason: get(row, 3)?,
        last_sequence: get::<i64>(row, 8)?.unsigned_abs(),
        revision: get::<i64>(row, 4)?.unsigned_abs(),
        create_time: Some(time(get(row, 5)?)),
        end_time: Some(get(row, 6)?).filter(|ended| *ended > 0).map(time),
    };
    if run.state() == RunState::Running && until + MARGIN < now {
        run.set_state(RunState::Failed);
        (run.failure_reason, run.end_time) = (GATEWAY_LOST.name().to_owned(), Some(time(until)));
    }
    Ok(run)
}
