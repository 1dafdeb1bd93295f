//! What is kept of turns while they run: runs, and what store processes tell each other.

use pointsman_proto::inference::v1::Frame;
use pointsman_proto::sessions::v1::{RecordFrames, Run, RunState};
use tonic::async_trait;

use super::{Created, SessionKey, StoreError};

/// Runs, and what they were answered. One that runs has failed where nobody has said otherwise in time.
#[async_trait]
pub(crate) trait RunStore: Send + Sync {
    /// Puts a run on record. [`Created::Exists`]: there is one of that name, however it stands.
    async fn begin(&self, run: &RunKey<'_>, digest: u64, moment: Moment) -> Result<Created, StoreError>;
    /// Says that it runs. False: it does not any more.
    async fn renew(&self, run: &RunKey<'_>, moment: Moment) -> Result<bool, StoreError>;
    /// Keeps frames of it. False: it does not run any more, or more of them is kept.
    async fn record(&self, run: &RunKey<'_>, frames: &RecordFrames, now: i64) -> Result<bool, StoreError>;
    /// Ends it without a turn, for a reason. False: it had ended.
    async fn end(&self, run: &RunKey<'_>, state: RunState, reason: &str, now: i64) -> Result<bool, StoreError>;
    /// The run as it stands now, and the digest of its request.
    async fn get(&self, run: &RunKey<'_>, now: i64) -> Result<Option<(Run, u64)>, StoreError>;
    /// The latest first, of those before this time and name.
    async fn list(
        &self,
        key: &SessionKey,
        before: Option<(i64, String)>,
        limit: u32,
        now: i64,
    ) -> Result<Vec<Run>, StoreError>;
    /// Some frames after a sequence number, in order.
    async fn frames(&self, run: &RunKey<'_>, after: u64) -> Result<Vec<Frame>, StoreError>;
    /// Forgets those that ended before.
    async fn forget(&self, before: i64) -> Result<(), StoreError>;
}

/// Names a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunKey<'a> {
    pub(crate) session: &'a SessionKey,
    pub(crate) request_id: &'a str,
}

/// Now, and until when that holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: i64,
    pub(crate) until: i64,
}

/// What processes tell each other of turns that run.
#[async_trait]
pub(crate) trait SignalStore: Send + Sync {
    /// Tells whoever runs the turn of this request in a session; told again, it is told anew. `None`: there is no such session.
    async fn send(
        &self,
        key: &SessionKey,
        name: (&str, SignalKind),
        heard: &[u8],
        now: i64,
    ) -> Result<Option<Signal>, StoreError>;
    /// Reads all that nobody has taken, and what was erased since then. One round trip.
    async fn read(&self, erased_since: i64) -> Result<Signals, StoreError>;
    /// Takes one, to act on it or to withdraw it: one of those who try does. Returns what was heard.
    async fn take(&self, signal: &Signal) -> Result<Option<Vec<u8>>, StoreError>;
    /// Removes those that were sent before.
    async fn sweep(&self, before: i64) -> Result<(), StoreError>;
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalKind {
    /// The turn is to be broken off, and what was heard of it kept.
    Interrupted,
    /// It is a run that was cancelled.
    Cancelled,
}

/// Something that was told of the turn of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    /// Of the session.
    pub(crate) uid: String,
    pub(crate) request_id: String,
    pub(crate) kind: SignalKind,
}

/// What a process is told at one look.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) signals: Vec<Signal>,
    /// The uids of sessions.
    pub(crate) erased: Vec<String>,
}
