//! The frames of requests that have a name of their caller's: for whoever sends one again, joins it while it
//! runs, or takes it up after its connection was lost.
//!
//! One log for each request, in the memory of the gateway that owns it ([`owner`]), bounded by bytes and time.
//! A request that runs is written by one task and read by any number of readers ([`log`]). When the last one
//! has left, the work goes on for the request's `resume_window`, and is then cancelled. What ended well is
//! kept for a while; what failed is forgotten, so that it can be tried again.

pub(crate) mod owner;
pub(crate) mod relay;
pub(crate) mod token;

mod log;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_types::ByteSize;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub(crate) use log::{Log, Reader, Writer};

/// The section `gateway.frame_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much memory the frames of all requests may take. Full: the oldest answers go first; when those that
    /// run fill it, further requests with a name of their own are refused with `OVERLOADED`. Default 64 MiB.
    pub max_bytes: ByteSize,
    /// How long an answer is kept after its end. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: ByteSize::mebibytes(64), keep: Duration::from_secs(600) }
    }
}

/// A request's name, within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) tenant: Arc<str>,
    pub(crate) request_id: Arc<str>,
}

/// The logs of a gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FrameLogs {
    kept: Arc<Mutex<Kept>>,
    config: Config,
}

#[derive(Debug, Default)]
struct Kept {
    logs: HashMap<Name, Arc<Log>>,
    /// Those that ended well, oldest first, with the time until which they are kept.
    ended: VecDeque<(Instant, Name)>,
    bytes: u64,
}

/// What there is of a request.
pub(crate) enum Entered {
    /// Nothing: whoever asked is the one to write it.
    New(Writer, Reader),
    /// It runs, or has ended.
    Known(Reader),
}

impl FrameLogs {
    pub(crate) fn new(config: Config) -> Self {
        Self { kept: Arc::default(), config }
    }

    /// Begins the log of a request, or finds the one that there is. `digest` is that of the request: another
    /// one with the same name is a mistake.
    pub(crate) fn enter(&self, name: &Name, digest: u64) -> Result<Entered, Error> {
        let mut kept = self.lock();
        kept.forget_old(Instant::now());
        if let Some(reader) = kept.known(name, digest)? {
            return Ok(Entered::Known(reader));
        }
        kept.make_room(self.config.max_bytes.bytes());
        if kept.bytes >= self.config.max_bytes.bytes() {
            let message = "too many named requests are running at this gateway; wait, or send it without an id";
            return Err(Error::new(Reason::Overloaded, message).retry_after(Duration::from_secs(1)));
        }
        let log = Arc::new(Log::new(digest));
        kept.logs.insert(name.clone(), Arc::clone(&log));
        let shelf = Shelf { kept: Arc::downgrade(&self.kept), name: name.clone(), keep: self.config.keep };
        let reader = Reader::begin(&log, 0);
        let writer = Writer::new(log, shelf);
        reader.map(|reader| Entered::New(writer, reader)).ok_or_else(lost)
    }

    /// Finds the log of a request that was sent before, and begins none.
    pub(crate) fn find(&self, name: &Name, digest: u64) -> Result<Reader, Error> {
        let mut kept = self.lock();
        kept.forget_old(Instant::now());
        kept.known(name, digest)?.ok_or_else(lost)
    }

    /// Takes up a request after a frame.
    pub(crate) fn resume(&self, name: &Name, after: u64) -> Result<Reader, Error> {
        let mut kept = self.lock();
        kept.forget_old(Instant::now());
        kept.logs.get(name).and_then(|log| Reader::begin(log, after)).ok_or_else(lost)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Reads what there is of a request from its beginning.
    fn known(&self, name: &Name, digest: u64) -> Result<Option<Reader>, Error> {
        let Some(log) = self.logs.get(name) else { return Ok(None) };
        if log.digest != digest {
            let message = format!("request id `{}` was given to another request; use a new one", name.request_id);
            return Err(Error::new(Reason::RequestIdReused, message));
        }
        Ok(Reader::begin(log, 0))
    }

    fn forget_old(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn make_room(&mut self, limit: u64) {
        while self.bytes >= limit && !self.ended.is_empty() {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, name)) = self.ended.pop_front() {
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &Name) {
        if let Some(log) = self.logs.remove(name) {
            self.bytes = self.bytes.saturating_sub(log.bytes());
        }
    }
}

/// Where a log stands, for whoever writes it.
#[derive(Debug)]
struct Shelf {
    kept: Weak<Mutex<Kept>>,
    name: Name,
    keep: Duration,
}

impl Shelf {
    /// Counts what was added to the log.
    fn grew(&self, bytes: u64) {
        self.with(|kept| kept.bytes += bytes);
    }

    /// The log has ended: it is kept for a while, or forgotten at once.
    fn ended(&self, well: bool) {
        self.with(|kept| {
            if well {
                kept.ended.push_back((Instant::now() + self.keep, self.name.clone()));
            } else {
                kept.forget(&self.name);
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.kept.upgrade() {
            change(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The error of frames that are not there.
pub(crate) fn lost() -> Error {
    let message =
        "the frames of this request are not here any more; ask again with a new id, if a second answer does no harm";
    Error::new(Reason::FrameLogLost, message)
}

#[cfg(test)]
mod tests;
