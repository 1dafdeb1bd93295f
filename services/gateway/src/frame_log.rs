//! The frames of requests that have a name of their caller's: for whoever sends one again, joins it while it
//! runs, or takes it up after its connection was lost.
//!
//! One log for each request, in the memory of the gateway that owns it ([`owner`]), bounded by bytes and time.
//! A request that runs is written by one task and read by any number of readers ([`log`]). When the last one
//! has left, the work goes on for the request's `resume_window`, and is then cancelled. What ended well is
//! kept for a while; what failed is forgotten, so that it can be tried again.
//!
//! The turn of a session is told again by its store, which knows whether it was erased. What is here of one that has ended
//! is for those alone who take up a stream that was lost, and is soon forgotten.
//!
//! A log that is forgotten while somebody reads it is freed when its last reader ends, and is counted until then. So all
//! logs together take `max_bytes` at most, and what those that ran when it was reached still grow by: a slow reader
//! cannot make it more, since no log begins beyond. It can make it last until it has asked for nothing for
//! `stall_timeout`: then it loses the rest.

pub(crate) mod owner;
pub(crate) mod relay;
pub(crate) mod token;

mod log;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_types::ByteSize;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tonic_types::FieldViolation;

use crate::trail::Trail;
use log::Unreadable;
pub(crate) use log::{Extent, Log, Reader, WholeTurn, Writer};
use token::Generation;

/// The section `gateway.frame_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much memory the frames of named requests may take, about. Full: the oldest answers go first; when
    /// those that run fill it, further requests with a name of their own are refused with `OVERLOADED`. What
    /// runs may go beyond, as far as its answers are long. Default 64 MiB.
    pub max_bytes: ByteSize,
    /// How long an answer is kept after its end. Default 10 min. One of a session is kept for as long as its caller was
    /// waited for, and 10 s at least: after that its store tells it.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    /// How long a reader of an answer that is kept no longer may ask for nothing, before it loses the rest. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mebibytes(64),
            keep: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(60),
        }
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
    /// Those that ended well, with the time until which they are kept, in the order of these.
    ended: VecDeque<(Instant, Name)>,
    /// Those that nobody comes to any more, and somebody may still read.
    forgotten: Vec<Weak<Log>>,
    /// What all logs take that somebody holds, those that are forgotten here included.
    bytes: Arc<AtomicU64>,
}

/// What a request is, as far as two with the same name must not differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Of the request's message.
    pub(crate) digest: u64,
    /// Where whoever sent it allows it to run.
    pub(crate) zones: Arc<[Box<str>]>,
    /// Whether a store keeps what it is answered.
    pub(crate) is_turn: bool,
}

impl Asked {
    pub(crate) fn new(request: &GenerateRequest, zones: &Arc<[Box<str>]>) -> Self {
        Self { digest: digest(request), zones: Arc::clone(zones), is_turn: request.session.is_some() }
    }
}

/// Tells a request from another with the same name: of two that differ, one is a mistake.
pub(crate) fn digest(request: &GenerateRequest) -> u64 {
    // For how long one is waited for is no part of what is asked.
    let asked = GenerateRequest { resume_window: None, ..request.clone() };
    let digest = Sha256::digest(asked.encode_to_vec());
    // Never 0, which means that it is not known.
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

/// How long a turn of a session is kept at least, for a caller whose connection was lost with its last frames.
const KEEP_TURN: Duration = Duration::from_secs(10);

/// How often old answers are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What there is of a request.
pub(crate) enum Entered {
    /// Nothing: whoever asked is the one to write it.
    New(Writer, Reader),
    /// It runs, or has ended.
    Known(Reader),
    /// It was a turn, and is whole: its store tells it.
    Stored,
}

impl FrameLogs {
    pub(crate) fn new(config: Config) -> Self {
        Self { kept: Arc::default(), config }
    }

    /// Lets go of old answers for ever, also where no request comes, and of those that nobody goes on reading.
    pub(crate) async fn keep_bounded(self) {
        loop {
            tokio::time::sleep(self.config.stall_timeout.min(LOOK_EVERY)).await;
            let forgotten = {
                let mut kept = self.lock();
                kept.forget_old(Instant::now());
                kept.forgotten.retain(|log| log.strong_count() > 0);
                kept.forgotten.clone()
            };
            for log in forgotten.iter().filter_map(Weak::upgrade) {
                log.cut_if_stalled(self.config.stall_timeout);
            }
        }
    }

    /// Begins the log of a request, or finds the one that there is. `asked` is what the request is: another
    /// one with the same name is a mistake. `trail` is how it comes to its answer.
    pub(crate) fn enter(&self, name: &Name, asked: Asked, trail: &Arc<Trail>) -> Result<Entered, Error> {
        let mut kept = self.lock();
        kept.forget_old(Instant::now());
        if let Some(reader) = kept.known(name, &asked)? {
            return Ok(if reader.turn_that_is_whole().is_some() { Entered::Stored } else { Entered::Known(reader) });
        }
        if !kept.make_room(self.config.max_bytes.bytes()) {
            let message = "too many named requests are running at this gateway; wait, or send it without an id";
            return Err(Error::new(Reason::Overloaded, message).retry_after(Duration::from_secs(1)));
        }
        let log = Arc::new(Log::new(asked, Arc::clone(trail), Arc::clone(&kept.bytes)));
        kept.logs.insert(name.clone(), Arc::clone(&log));
        let shelf = Shelf { kept: Arc::downgrade(&self.kept), name: name.clone(), config: self.config };
        let reader = Reader::begin(&log, 0).map_err(|_| lost())?;
        Ok(Entered::New(Writer::new(log, shelf), reader))
    }

    /// Finds the log of a request that was sent before, and begins none.
    pub(crate) fn find(&self, name: &Name, asked: &Asked, generation: Generation) -> Result<Reader, Error> {
        let mut kept = self.lock();
        kept.forget_old(Instant::now());
        // Before it is read: a reader that comes for another answer is none, and makes none last.
        if kept.logs.get(name).is_some_and(|log| log.generation != generation) {
            return Err(lost());
        }
        kept.known(name, asked)?.ok_or_else(lost)
    }

    /// Takes up a request after a frame, which must be there. What is asked may have a digest of 0: it is not known.
    pub(crate) fn resume(
        &self,
        name: &Name,
        asked: &Asked,
        generation: Generation,
        after: u64,
    ) -> Result<Reader, Error> {
        let mut kept = self.lock();
        kept.forget_old(Instant::now());
        let log = kept.logs.get(name).ok_or_else(lost)?;
        if asked.digest != 0 && log.asked.digest != asked.digest {
            return Err(reused(name));
        }
        // A wall for what is kept, too: frames that were made under other constraints stay where they are.
        if log.asked.zones != asked.zones || log.generation != generation {
            return Err(lost());
        }
        Reader::begin(log, after).map_err(|unreadable| match unreadable {
            Unreadable::Failed => lost(),
            Unreadable::Before(extent) => Counted::Frames.beyond(extent),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Reads what there is of a request from its beginning.
    fn known(&self, name: &Name, asked: &Asked) -> Result<Option<Reader>, Error> {
        let Some(log) = self.logs.get(name) else { return Ok(None) };
        if log.asked == *asked { Ok(Reader::begin(log, 0).ok()) } else { Err(reused(name)) }
    }

    fn keep(&mut self, name: &Name, until: Instant) {
        let place = self.ended.partition_point(|(other, _)| *other <= until);
        self.ended.insert(place, (until, name.clone()));
    }

    fn forget_old(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    /// Lets the oldest answers go until there is room. Returns whether there is.
    fn make_room(&mut self, limit: u64) -> bool {
        while self.bytes.load(Ordering::Relaxed) >= limit {
            // Those that are still being read take their room until they were.
            if self.ended.is_empty() {
                return false;
            }
            self.forget_first();
        }
        true
    }

    fn forget(&mut self, name: &Name) {
        if let Some(log) = self.logs.remove(name)
            && Arc::strong_count(&log) > 1
        {
            self.forgotten.push(Arc::downgrade(&log));
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, name)) = self.ended.pop_front() {
            self.forget(&name);
        }
    }
}

/// Where a log stands, for whoever writes it.
#[derive(Debug)]
struct Shelf {
    kept: Weak<Mutex<Kept>>,
    name: Name,
    config: Config,
}

impl Shelf {
    /// The log grew: older ones make room for it.
    fn grew(&self) {
        self.with(|kept| _ = kept.make_room(self.config.max_bytes.bytes()));
    }

    /// The log has ended: it is kept for a while, or forgotten at once.
    fn ended(&self, well: bool, keep: Duration) {
        self.with(|kept| {
            if well {
                kept.keep(&self.name, Instant::now() + keep.min(self.config.keep));
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

fn reused(name: &Name) -> Error {
    let message = format!("request id `{}` was given to another request; use a new one", name.request_id);
    Error::new(Reason::RequestIdReused, message)
}

/// How callers count what they have got of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Frames,
    Events,
}

impl Counted {
    /// The error of a caller that says to have more than there is. It can have got nothing that was not written: it has
    /// mixed something up, and is not told that all is well.
    pub(crate) fn beyond(self, extent: Extent) -> Error {
        let (field, unit) = match self {
            Self::Frames => ("after_sequence", "frame"),
            Self::Events => ("last-event-id", "event"),
        };
        let Extent { last, is_whole } = extent;
        let so_far = if is_whole { "" } else { " so far" };
        let wrong = format!("is after the last {unit} of this answer{so_far}; must be at most {last}");
        Error::invalid(vec![FieldViolation::new(field, wrong)])
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
