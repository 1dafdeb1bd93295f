//! One log: a writer, and readers that are each at a place of their own.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::Frame;
use pointsman_proto::inference::v1::frame::Body;
use prost::Message;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::token::Generation;
use super::{Asked, KEEP_TURN, Shelf};
use crate::trail::Trail;

/// What a request was answered so far.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) asked: Asked,
    pub(super) generation: Generation,
    trail: Arc<Trail>,
    state: Mutex<State>,
    /// What all logs take together.
    total: Arc<AtomicU64>,
    /// The last reader has left.
    left: Notify,
    /// A reader has come.
    came: Notify,
}

#[derive(Debug)]
struct State {
    frames: Vec<Frame>,
    bytes: u64,
    end: Option<Result<(), Error>>,
    readers: usize,
    /// When one of them has asked for a frame last.
    read: Instant,
    waiting: Vec<Waker>,
}

impl State {
    /// Wakes this reader when there is more. Once for each: a poll replaces what the one before has left.
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.waiting.retain(|waker| !waker.will_wake(context.waker()));
        self.waiting.push(context.waker().clone());
        Poll::Pending
    }

    /// Takes those who wait, to be woken. They have asked for what has come.
    fn wake(&mut self) -> Vec<Waker> {
        if !self.waiting.is_empty() {
            self.read = Instant::now();
        }
        std::mem::take(&mut self.waiting)
    }

    fn extent(&self) -> Extent {
        Extent { last: self.frames.len() as u64, is_whole: self.end.is_some() }
    }
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The sequence number of its last frame; 0: it has none yet.
    pub(crate) last: u64,
    /// Whether no more come.
    pub(crate) is_whole: bool,
}

/// Why a log cannot be read after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Failed,
    /// It ends before that frame, or has not come to it: nobody can have got it.
    Before(Extent),
}

impl Log {
    pub(super) fn new(asked: Asked, trail: Arc<Trail>, total: Arc<AtomicU64>) -> Self {
        let generation = rand::random();
        let state =
            State { frames: Vec::new(), bytes: 0, end: None, readers: 0, read: Instant::now(), waiting: Vec::new() };
        Self { asked, generation, trail, state: Mutex::new(state), total, left: Notify::new(), came: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the room of an answer that has ended and that nobody else can come to, if nobody has asked for more of it
    /// for this long: over HTTP/2 a reader may stand still for as long as its connection lasts.
    pub(super) fn cut_if_stalled(&self, timeout: Duration) {
        let mut state = self.lock();
        if state.end.is_none() || state.read.elapsed() < timeout {
            return;
        }
        state.end = Some(Err(not_read()));
        self.total.fetch_sub(std::mem::take(&mut state.bytes), Ordering::Relaxed);
        let frames = std::mem::take(&mut state.frames);
        drop(state);
        // Not under the lock: they may be many.
        drop(frames);
    }

    /// Waits until nobody has read for this long.
    async fn is_left(&self, window: Duration) {
        loop {
            let left = self.left.notified();
            if self.lock().readers > 0 {
                left.await;
                continue;
            }
            let came = self.came.notified();
            if self.lock().readers == 0 && tokio::time::timeout(window, came).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.total.fetch_sub(self.lock().bytes, Ordering::Relaxed);
    }
}

/// Writes a log. Dropped before the end, it ends the log as cancelled.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Arc<Log>,
    shelf: Shelf,
    /// How long the log is kept after its end, at most.
    keep: Duration,
    ended: bool,
}

impl Writer {
    pub(super) fn new(log: Arc<Log>, shelf: Shelf) -> Self {
        Self { log, shelf, keep: Duration::MAX, ended: false }
    }

    /// Returns which answer to its request this is.
    pub(crate) fn generation(&self) -> Generation {
        self.log.generation
    }

    /// Writes an answer to its end, or until nobody has read it for as long as `window`; none: to its end.
    pub(crate) async fn write(
        mut self,
        answer: impl Future<Output = Result<impl Stream<Item = Result<Frame, Error>> + Unpin, Error>>,
        window: Option<Duration>,
    ) {
        let log = Arc::clone(&self.log);
        if log.asked.is_turn {
            self.keep = window.unwrap_or_default().max(KEEP_TURN);
        }
        let all = async {
            let mut frames = match answer.await {
                Ok(frames) => frames,
                Err(error) => return self.end(Err(error)),
            };
            loop {
                match frames.next().await {
                    Some(Ok(frame)) => self.push(frame),
                    Some(Err(error)) => return self.end(Err(error)),
                    None => return self.end(Ok(())),
                }
            }
        };
        tokio::select! {
            () = all => {}
            // Drops the answer, which cancels the work, and then the writer, which says so.
            () = log.is_left(window.unwrap_or(Duration::MAX)) => {}
        }
    }

    fn push(&self, frame: Frame) {
        // In memory: a frame has room for the largest kind, and its texts beside it.
        let bytes = (size_of::<Frame>() + frame.encoded_len()) as u64;
        let waiting = {
            let mut state = self.log.lock();
            state.frames.push(frame);
            state.bytes += bytes;
            state.wake()
        };
        self.log.total.fetch_add(bytes, Ordering::Relaxed);
        self.shelf.grew();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ends the log, for those who read it and those who come.
    pub(crate) fn end(&mut self, end: Result<(), Error>) {
        self.ended = true;
        // First, so that nobody joins what has failed.
        self.shelf.ended(end.is_ok(), self.keep);
        let waiting = {
            let mut state = self.log.lock();
            state.end = Some(end);
            state.wake()
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(Error::new(Reason::Cancelled, "the request was ended before its answer was whole")));
        }
    }
}

/// A turn of a session, by its names.
#[derive(Debug, PartialEq)]
pub(crate) struct WholeTurn {
    pub(crate) session: String,
    pub(crate) revision: u64,
    pub(crate) request_id: String,
}

/// Reads a log from a place on. Ends after the log's end, or with its error.
#[derive(Debug)]
pub(crate) struct Reader {
    log: Arc<Log>,
    next: usize,
    ended: bool,
}

impl Reader {
    /// Begins after a frame that is there; 0 always is.
    pub(super) fn begin(log: &Arc<Log>, after: u64) -> Result<Self, Unreadable> {
        let mut state = log.lock();
        if let Some(Err(_)) = &state.end {
            return Err(Unreadable::Failed);
        }
        let next = usize::try_from(after).ok().filter(|next| *next <= state.frames.len());
        let next = next.ok_or_else(|| Unreadable::Before(state.extent()))?;
        state.readers += 1;
        state.read = Instant::now();
        drop(state);
        log.came.notify_waiters();
        Ok(Self { log: Arc::clone(log), next, ended: false })
    }

    /// Returns how far the log is. A reader may be behind it, and is never before it.
    pub(crate) fn extent(&self) -> Extent {
        self.log.lock().extent()
    }

    /// Waits for the first frame, so that an error before it is an error and no broken stream.
    pub(crate) async fn first(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|context| {
            let mut state = self.log.lock();
            state.read = Instant::now();
            if state.frames.len() > self.next {
                return Poll::Ready(Ok(()));
            }
            match &state.end {
                Some(end) => Poll::Ready(end.clone()),
                None => state.wait(context),
            }
        })
        .await
    }

    /// How the request came to its answer.
    pub(crate) fn trail(&self) -> &Arc<Trail> {
        &self.log.trail
    }

    /// Returns the turn of a session that this is, if it is whole: its store may know better by now what is kept of it.
    pub(crate) fn turn_that_is_whole(&self) -> Option<WholeTurn> {
        let state = self.log.lock();
        if !self.log.asked.is_turn || state.end.is_none() {
            return None;
        }
        let Some(Body::Started(started)) = state.frames.first().and_then(|frame| frame.body.as_ref()) else {
            return None;
        };
        let turn = started.session_turn.as_ref()?;
        let (session, revision) = (turn.session.clone(), turn.revision);
        Some(WholeTurn { session, revision, request_id: started.request_id.clone() })
    }

    /// Returns the first frame of the whole log, if it is there.
    pub(crate) fn beginning(&self) -> Option<Frame> {
        self.log.lock().frames.first().cloned()
    }
}

impl Stream for Reader {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut state = this.log.lock();
        state.read = Instant::now();
        if let Some(frame) = state.frames.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(frame.clone())));
        }
        match &state.end {
            Some(end) => {
                this.ended = true;
                Poll::Ready(end.clone().err().map(Err))
            }
            None => state.wait(context),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.log.lock();
        state.readers -= 1;
        let was_last = state.readers == 0;
        drop(state);
        if was_last {
            self.log.left.notify_waiters();
        }
    }
}

fn not_read() -> Error {
    let message = "the rest of this answer was not read, and its room was needed for others; ask again with a new id, if a \
                   second answer does no harm";
    Error::new(Reason::FrameLogLost, message)
}
