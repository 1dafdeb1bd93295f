//! Sessions and turns to keep, and steps that many tests make.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::{Message, Part, Role};
use pointsman_proto::sessions::v1::{Erasure, ErasureCause, Fence, Session, SessionState, Turn, TurnKind};
use prost_types::Timestamp;

use super::places::Database;
use crate::store::{Awaited, Commit, Committed, Created, Listing, Opened, Opening, SessionKey, Window};

/// 2026-01-01, in microseconds.
pub(crate) const BEGIN: i64 = 1_767_225_600_000_000;
/// When sessions expire when they are made.
pub(crate) const END: i64 = BEGIN + 1_000_000_000_000;

/// How long sessions are kept after a commit, in microseconds, if they do not say.
pub(crate) const RETENTION: i64 = END - BEGIN;

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp { seconds: micros / 1_000_000, nanos: (micros % 1_000_000) as i32 * 1000 }
}

/// Another moment at every call.
pub(crate) fn now() -> i64 {
    static NOW: AtomicI64 = AtomicI64::new(BEGIN);
    NOW.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn key(tenant: &str, id: &str) -> SessionKey {
    SessionKey { tenant: Arc::from(tenant), id: Arc::from(id) }
}

/// A session as it is made.
pub(crate) fn session(key: &SessionKey) -> Session {
    let moment = Some(time(now()));
    Session {
        name: format!("sessions/{}", key.id),
        uid: uuid::Uuid::new_v4().to_string(),
        state: SessionState::Idle.into(),
        etag: uuid::Uuid::new_v4().to_string(),
        create_time: moment,
        update_time: moment,
        expire_time: Some(time(END)),
        ..Session::default()
    }
}

pub(crate) fn text(role: Role, text: &str) -> Message {
    Message { role: role.into(), parts: vec![Part { kind: Some(Kind::Text(text.into())) }], name: String::new() }
}

/// A short turn; its request is named after its revision.
pub(crate) fn turn(revision: u64) -> Turn {
    Turn {
        revision,
        kind: TurnKind::Generated.into(),
        request_id: format!("request-{revision}"),
        input: vec![text(Role::User, &format!("question {revision}"))],
        output: Some(text(Role::Assistant, &format!("answer {revision}"))),
        create_time: Some(time(now())),
        ..Turn::default()
    }
}

pub(crate) fn window(uid: &str, revisions: impl IntoIterator<Item = u64>) -> Window {
    let turns: Vec<_> = revisions.into_iter().map(turn).collect();
    Window { uid: uid.into(), revision: turns.last().map_or(0, |turn| turn.revision), turns }
}

pub(crate) fn revisions(turns: &[Turn]) -> Vec<u64> {
    turns.iter().map(|turn| turn.revision).collect()
}

pub(crate) fn erasure(key: &SessionKey, micros: i64) -> Erasure {
    Erasure {
        session: format!("sessions/{}", key.id),
        key: "pm_key".into(),
        cause: ErasureCause::Requested.into(),
        erase_time: Some(time(micros)),
        ..Erasure::default()
    }
}

pub(crate) fn fence(session: &Session) -> Fence {
    Fence { uid: session.uid.clone(), epoch: session.epoch, revision: session.revision }
}

/// A commit that leaves nothing open.
pub(crate) fn commit<'a>(key: &'a SessionKey, fence: &'a Fence, turn: &'a Turn) -> Commit<'a> {
    let awaited = Awaited::default();
    Commit { key, fence, turn, digest: 7, merged: &[], awaited, retention: RETENTION, is_run: false }
}

impl Database {
    /// Makes a session.
    pub(crate) async fn made(&self, key: &SessionKey) -> Session {
        let session = session(key);
        assert_eq!(self.sessions().create(key, &session).await.unwrap(), Created::Yes);
        session
    }

    /// Makes a session with so many turns, and returns both as they are afterwards.
    pub(crate) async fn made_with(&self, key: &SessionKey, turns: u64) -> (Session, Vec<Turn>) {
        let session = self.made(key).await;
        let mut made = Vec::new();
        for revision in 1..=turns {
            let turn = turn(revision);
            let fence = Fence { revision: revision - 1, ..fence(&session) };
            let done = self.turns().commit(&commit(key, &fence, &turn)).await.unwrap();
            assert!(matches!(done, Committed::Now), "{done:?}");
            made.push(turn);
        }
        (self.session(key).await, made)
    }

    /// The session, which is there.
    pub(crate) async fn session(&self, key: &SessionKey) -> Session {
        self.sessions().get(key).await.unwrap().unwrap()
    }

    /// All turns of a session.
    pub(crate) async fn all_turns(&self, key: &SessionKey) -> Vec<Turn> {
        self.turns().list(key, 0, 100_000, u64::MAX).await.unwrap()
    }

    /// What there is of a session where nothing is known of it.
    pub(crate) async fn opened(&self, key: &SessionKey, request_id: &str) -> Opened {
        let opening = Opening { key, request_id, window: None, turns: 1000 };
        self.turns().open(&opening).await.unwrap()
    }

    /// The ids of the sessions with these labels.
    pub(crate) async fn labelled(&self, tenant: &str, labels: &[(&str, &str)]) -> Vec<String> {
        let labels: Vec<_> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.ids(&Listing { labels: &labels, ..everything(tenant) }).await
    }

    pub(crate) async fn ids(&self, listing: &Listing<'_>) -> Vec<String> {
        let sessions = self.sessions().list(listing).await.unwrap();
        sessions.iter().map(|session| session.name.trim_start_matches("sessions/").to_owned()).collect()
    }
}

pub(crate) fn everything(tenant: &str) -> Listing<'_> {
    Listing { tenant, labels: &[], updated_from: 0, updated_before: i64::MAX, after: None, limit: 1000 }
}
