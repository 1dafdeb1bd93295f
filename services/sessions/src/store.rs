//! What is kept, and where: one trait for each noun, and two kinds of places.
//!
//! [`sql`] is the truth, PostgreSQL or SQLite. [`redis`] holds leases and recent turns, and is believed in
//! nothing: a lease saves work, a window saves reading. Without it leases are in PostgreSQL, and beside SQLite in [`memory`].
//! All of them pass one suite (`conformance`).

pub(crate) mod breaker;
#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod memory;
pub(crate) mod redis;
mod running;
pub(crate) mod sql;

pub(crate) use self::memory::MemoryLeases;
pub(crate) use self::redis::{Reached as RedisReached, RedisLeases};
pub(crate) use self::running::{Moment, RunKey, RunStore, Signal, SignalKind, SignalStore, Signals};

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_proto::sessions::v1::{ChannelBinding, Erasure, Fence, MergedRequest, Session, Turn};
use thiserror::Error;
use tonic::async_trait;

/// Names a session within the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) tenant: Arc<str>,
    pub(crate) id: Arc<str>,
}

/// A store could not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// It cannot be reached, or has not been for a while and is not asked.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// It did not answer in time: whether it has done what it was asked is not known.
    #[error("the store did not answer within {0:?}")]
    TooSlow(Duration),
    /// It has so much to do that nobody got to ask it in time. Nothing was done.
    #[error("the store is busy")]
    Busy,
    /// It failed at it, and would again.
    #[error("the store failed")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
    /// What it has is not what we write.
    #[error("the store has something that cannot be read: {0}")]
    Unreadable(String),
}

/// Whether something new is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Yes,
    /// There was one of that name before.
    Exists,
}

/// Sessions, without their turns.
#[async_trait]
pub(crate) trait SessionStore: Send + Sync {
    /// Keeps a new session, which has its uid and times.
    async fn create(&self, key: &SessionKey, session: &Session) -> Result<Created, StoreError>;
    async fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError>;
    /// The ones that changed last first.
    async fn list(&self, listing: &Listing<'_>) -> Result<Vec<Session>, StoreError>;
    /// Replaces the settings, if the session still has this etag. Returns the session as it is now; `None` if it has
    /// another, or is gone.
    async fn update(&self, key: &SessionKey, etag: &str, session: &Session) -> Result<Option<Session>, StoreError>;
    /// Keeps a new session with copies of the turns of another, up to its own revision. `None`: they are not there, or not any
    /// more as they were in that epoch.
    async fn fork(&self, from: &Fence, key: &SessionKey, session: &Session) -> Result<Option<Created>, StoreError>;
}

/// Which sessions are wanted.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) labels: &'a [(String, String)],
    /// In microseconds since 1970, as all times here.
    pub(crate) updated_from: i64,
    pub(crate) updated_before: i64,
    /// Those that come after this time and id.
    pub(crate) after: Option<(i64, String)>,
    pub(crate) limit: u32,
}

/// Turns, and where sessions stand.
#[async_trait]
pub(crate) trait TurnStore: Send + Sync {
    /// Reads what a turn begins with. One round trip.
    async fn open(&self, opening: &Opening<'_>) -> Result<Opened, StoreError>;
    /// Commits a turn if the session still stands where it stood. One round trip, unless it does not.
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed, StoreError>;
    /// Turns after a revision, oldest first: so many, and not many more bytes than that.
    async fn list(&self, key: &SessionKey, after: u64, limit: u32, bytes: u64) -> Result<Vec<Turn>, StoreError>;
    /// Says of a turn whether it is pinned. `None`: there is no such turn.
    async fn pin(&self, key: &SessionKey, revision: u64, pinned: bool) -> Result<Option<Turn>, StoreError>;
    /// Makes whatever runs in the session uncommittable.
    async fn supersede(&self, key: &SessionKey) -> Result<(), StoreError>;
    /// Puts another turn of its request in the place of the last, if the session still stands there; it awaits this then, and has
    /// another epoch. False: it stands elsewhere.
    async fn replace_last(
        &self,
        key: &SessionKey,
        fence: &Fence,
        turn: &Turn,
        awaited: Awaited<'_>,
    ) -> Result<bool, StoreError>;
}

/// The tool calls whose results a session awaits, and until when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Awaited<'a> {
    pub(crate) calls: &'a [String],
    pub(crate) until: i64,
}

/// What is asked at the beginning of a turn.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) key: &'a SessionKey,
    /// A turn that was committed under this name, or answers a request of this name, is told.
    pub(crate) request_id: &'a str,
    /// What is known of the turns already.
    pub(crate) window: Option<&'a Window>,
    /// How many turns are wanted.
    pub(crate) turns: u64,
}

/// What there is of a session.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// `None`: there is none.
    pub(crate) session: Option<Session>,
    /// How many bytes its turns take.
    pub(crate) bytes: u64,
    /// The turn that was committed under the request's name before, and the digest of that request.
    pub(crate) committed: Option<(Turn, u64)>,
    /// Or the turn of another request that has its messages.
    pub(crate) merged: Option<Merged>,
    /// The turns that are wanted and were not known, oldest first; pinned ones among them.
    pub(crate) turns: Vec<Turn>,
}

/// A request whose messages are in the turn of another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    pub(crate) digest: u64,
    /// That turn's request, and its place.
    pub(crate) turn: String,
    pub(crate) revision: u64,
}

/// A turn to be committed.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) key: &'a SessionKey,
    pub(crate) fence: &'a Fence,
    /// With its revision and time.
    pub(crate) turn: &'a Turn,
    pub(crate) digest: u64,
    /// The other requests that it answers.
    pub(crate) merged: &'a [MergedRequest],
    /// What the session awaits after it.
    pub(crate) awaited: Awaited<'a>,
    /// How long the session is kept after it if it does not say, in microseconds.
    pub(crate) retention: i64,
    /// Whether it ends a run, which must be running still.
    pub(crate) is_run: bool,
}

/// What became of a commit.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each turn, and soon taken apart")]
pub(crate) enum Committed {
    Now,
    /// It was committed before: by a request with this digest.
    Before(Turn, u64),
    /// The session stands elsewhere, or is gone.
    Conflict,
}

/// What groups of consumers were told, and have dealt with.
#[async_trait]
pub(crate) trait FeedStore: Send + Sync {
    /// Makes the group if there is none, which is told turns from then on, or from the first. Returns its channel.
    async fn join(&self, group: &Group<'_>, channel: &str, from_the_beginning: bool) -> Result<String, StoreError>;
    /// Takes some sessions with turns that the group has not dealt with: they are this consumer's until then.
    async fn claim(&self, group: &Group<'_>, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError>;
    /// The group has dealt with a session's turns up to this one. False: it was too late, and they are another's.
    async fn acknowledge(
        &self,
        group: &Group<'_>,
        consumer: &str,
        uid: &str,
        revision: u64,
    ) -> Result<bool, StoreError>;
    /// The consumer leaves: what it has not acknowledged is for others, at once.
    async fn leave(&self, group: &Group<'_>, consumer: &str) -> Result<(), StoreError>;
    /// Ends a group. False: there was none.
    async fn end(&self, group: &Group<'_>) -> Result<bool, StoreError>;
}

/// Consumers that share turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) name: &'a str,
}

/// What a consumer wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) consumer: &'a str,
    pub(crate) now: i64,
    pub(crate) until: i64,
    pub(crate) limit: u32,
}

/// A session that is a consumer's for a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claimed {
    pub(crate) id: String,
    pub(crate) uid: String,
    /// The last turn that the group has dealt with.
    pub(crate) acknowledged: u64,
}

/// The right to run a turn, for a time. It saves work; the fence is in [`TurnStore::commit`].
#[async_trait]
pub(crate) trait LeaseStore: Send + Sync {
    /// Takes the lease of a session, unless another holder has it; by force, even then.
    async fn take(&self, key: &SessionKey, lease: &Lease<'_>, by_force: bool) -> Result<Taken, StoreError>;
    /// Keeps it for longer. False: another holder has it.
    async fn renew(&self, key: &SessionKey, lease: &Lease<'_>) -> Result<bool, StoreError>;
    /// Gives it back, and leaves something to be remembered for the next holder.
    async fn give_back(&self, key: &SessionKey, holder: &str, memory: Memory<'_>) -> Result<(), StoreError>;
    /// Forgets whatever is remembered of a session.
    async fn forget(&self, key: &SessionKey) -> Result<(), StoreError>;
}

/// A lease as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease<'a> {
    pub(crate) holder: &'a str,
    pub(crate) time: Duration,
}

/// What came of asking for a lease.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    /// It is ours. With it comes what is remembered of the session, if anything is.
    Yes(Option<Window>),
    /// Another has it, for so long unless it is renewed.
    Held(Duration),
}

/// The turns of a session as they were once: never changed, perhaps added to since.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    /// Of which session, and which epoch of it: see [`stamp`].
    pub(crate) uid: String,
    /// The revision of the youngest.
    pub(crate) revision: u64,
    pub(crate) turns: Vec<Turn>,
}

/// What is remembered when a lease is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'a> {
    /// As it was.
    Unchanged,
    /// One turn more.
    Added(&'a str, &'a Turn),
    /// These, and nothing else.
    Whole(&'a Window),
}

/// Which person in which channel has which session.
#[async_trait]
pub(crate) trait BindingStore: Send + Sync {
    /// The session of a person in a channel; keeps and binds this one if they have none. One or the other, whoever asks
    /// at the same time.
    async fn resolve(&self, who: &Who<'_>, new: (&SessionKey, &Session)) -> Result<(Session, Created), StoreError>;
    /// The session that a person has. `None`: they have none.
    async fn get(&self, who: &Who<'_>) -> Result<Option<ChannelBinding>, StoreError>;
    /// Binds a person to a session. `None`: there is no such session.
    async fn bind(&self, who: &Who<'_>, key: &SessionKey) -> Result<Option<ChannelBinding>, StoreError>;
    /// Takes it from them, and returns what they had. `None`: they had none.
    async fn unbind(&self, who: &Who<'_>) -> Result<Option<ChannelBinding>, StoreError>;
    async fn list(&self, key: &SessionKey, limit: u32) -> Result<Vec<ChannelBinding>, StoreError>;
}

/// A person in a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) external_user: &'a str,
    /// Now.
    pub(crate) time: i64,
}

/// What is no more.
#[async_trait]
pub(crate) trait ErasureStore: Send + Sync {
    /// Erases a session and all that belongs to it, and notes that alone; if its time was over by then, where one is given.
    /// Returns the note, with the number of turns; `None`: there was none.
    async fn erase(
        &self,
        key: &SessionKey,
        erasure: &Erasure,
        expired_by: Option<i64>,
    ) -> Result<Option<Erasure>, StoreError>;
    /// Some sessions whose time is over.
    async fn expired(&self, now: i64, limit: u32) -> Result<Vec<SessionKey>, StoreError>;
    /// The latest first, of those before this time and uid.
    async fn list(&self, tenant: &str, before: Option<(i64, String)>, limit: u32) -> Result<Vec<Erasure>, StoreError>;
}

/// What tells the turns of a session from those that were there before one of them was replaced.
pub(crate) fn stamp(session: &Session) -> String {
    format!("{}.{}", session.uid, session.epoch)
}

/// Microseconds since 1970: how times are kept.
pub(crate) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
