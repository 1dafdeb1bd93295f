use sqlx::query;
use tonic::async_trait;

use super::row::get;
use super::{Sql, failure};
use crate::store::{SessionKey, Signal, SignalKind, SignalStore, Signals, StoreError};

/// What stands in the place of a kind where a session was erased.
const ERASED: i64 = 0;

impl SignalKind {
    fn number(self) -> i64 {
        match self {
            Self::Interrupted => 1,
            Self::Cancelled => 2,
        }
    }

    /// `None`: a newer version's.
    fn of(number: i64) -> Option<Self> {
        [Self::Interrupted, Self::Cancelled].into_iter().find(|kind| kind.number() == number)
    }
}

#[async_trait]
impl SignalStore for Sql {
    async fn send(
        &self,
        key: &SessionKey,
        (request_id, kind): (&str, SignalKind),
        heard: &[u8],
        now: i64,
    ) -> Result<Option<Signal>, StoreError> {
        let send = query(
            "INSERT INTO signals (session, request_id, kind, heard, created) \
             SELECT uid, $1, $2, $3, $4 FROM sessions WHERE tenant = $5 AND id = $6 \
             ON CONFLICT (session, request_id, kind) DO UPDATE SET heard = excluded.heard, created = excluded.created \
             RETURNING session",
        );
        let send = send.bind(request_id).bind(kind.number()).bind(heard).bind(now).bind(&*key.tenant).bind(&*key.id);
        let sent = async {
            match send.fetch_optional(&self.pool).await {
                // It is erased at the same time.
                Err(sqlx::Error::Database(refusal)) if refusal.is_foreign_key_violation() => Ok(None),
                sent => sent.map_err(failure),
            }
        };
        let row = self.breaker.call(sent).await?;
        let signal = |row| Ok(Signal { uid: get(&row, 0)?, request_id: request_id.to_owned(), kind });
        row.map(signal).transpose()
    }

    async fn read(&self, erased_since: i64) -> Result<Signals, StoreError> {
        let read = query(
            "SELECT kind, session, request_id FROM signals \
             UNION ALL SELECT $1, uid, '' FROM erasures WHERE erased >= $2",
        );
        let read = read.bind(ERASED).bind(erased_since);
        let rows = self.breaker.call(async { read.fetch_all(&self.pool).await.map_err(failure) }).await?;
        let mut told = Signals::default();
        for row in &rows {
            let (number, uid): (i64, String) = (get(row, 0)?, get(row, 1)?);
            if number == ERASED {
                told.erased.push(uid);
            } else if let Some(kind) = SignalKind::of(number) {
                told.signals.push(Signal { uid, request_id: get(row, 2)?, kind });
            }
        }
        Ok(told)
    }

    async fn take(&self, signal: &Signal) -> Result<Option<Vec<u8>>, StoreError> {
        let take = query("DELETE FROM signals WHERE session = $1 AND request_id = $2 AND kind = $3 RETURNING heard");
        let take = take.bind(&signal.uid).bind(&signal.request_id).bind(signal.kind.number());
        let row = self.breaker.call(async { take.fetch_optional(&self.pool).await.map_err(failure) }).await?;
        row.map(|row| get(&row, 0)).transpose()
    }

    async fn sweep(&self, before: i64) -> Result<(), StoreError> {
        let sweep = query("DELETE FROM signals WHERE created < $1").bind(before);
        self.breaker.call(async { sweep.execute(&self.pool).await.map_err(failure) }).await?;
        Ok(())
    }
}
