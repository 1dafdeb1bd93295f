//! Erases what is over: sessions whose time has come, runs that ended long ago, signals that nobody has taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_proto::sessions::v1::ErasureCause;

use crate::sessions::Sessions;
use crate::signals::LIVES;
use crate::store::micros;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(30);
/// How many at a time.
const BATCH: u32 = 100;

/// Looks, for as long as the service lives. Others may do the same: a session is erased once.
pub(crate) async fn run(sessions: Arc<Sessions>) {
    loop {
        let kept = sessions.config.run_retention;
        let _ = sessions.stores.runs.forget(micros(SystemTime::now() - kept)).await;
        // What fails now is found by the next look; what stands before the database has said why.
        let _ = sessions.stores.signals.sweep(micros(SystemTime::now() - LIVES)).await;
        let found = sessions.stores.erasures.expired(micros(SystemTime::now()), BATCH).await.unwrap_or_default();
        let mut failed = false;
        for key in &found {
            failed |= sessions.erase(key, "", ErasureCause::Retention).await.is_err();
        }
        if failed || found.len() < BATCH as usize {
            tokio::time::sleep(EVERY).await;
        }
    }
}
