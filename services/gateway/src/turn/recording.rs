//! The frames of a turn on their way to its store: sent in batches, and of a run kept until the store has them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use pointsman_proto::inference::v1::Frame;
use pointsman_proto::sessions::v1::run_turn_request::Step;
use pointsman_proto::sessions::v1::{RecordFrames, RunTurnRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

/// How long a frame waits for others.
const WAIT: Duration = Duration::from_millis(200);
/// So many are sent without waiting.
const BATCH: usize = 64;

/// What is sent to a store beside the begin and the commit.
pub(super) struct Recording {
    /// Whether the store says what it has.
    pub(super) is_run: bool,
    frames: VecDeque<Frame>,
    /// How many of these were sent on this stream.
    sent: usize,
    due: Pin<Box<Sleep>>,
}

impl Recording {
    pub(super) fn new(is_run: bool) -> Self {
        Self { is_run, frames: VecDeque::new(), sent: 0, due: Box::pin(sleep(WAIT)) }
    }

    pub(super) fn push(&mut self, frame: Frame) {
        if self.sent == self.frames.len() {
            self.due.as_mut().reset(Instant::now() + WAIT);
        }
        self.frames.push_back(frame);
    }

    /// Sends what is due.
    pub(super) fn poll_send(&mut self, sender: &mpsc::Sender<RunTurnRequest>, context: &mut Context<'_>) {
        let waiting = self.frames.len() - self.sent;
        if waiting == 0 || (waiting < BATCH && self.due.as_mut().poll(context).is_pending()) {
            return;
        }
        // Where the store is slower than the answer more of it goes at once.
        if let Ok(permit) = sender.try_reserve()
            && let Some(rest) = self.rest()
        {
            return permit.send(rest);
        }
        self.due.as_mut().reset(Instant::now() + WAIT);
        let _ = self.due.as_mut().poll(context);
    }

    /// Takes what was not sent on this stream.
    pub(super) fn rest(&mut self) -> Option<RunTurnRequest> {
        let frames: Vec<Frame> = self.frames.range(self.sent..).cloned().collect();
        if self.is_run {
            self.sent = self.frames.len();
        } else {
            self.frames.clear();
        }
        let step = Step::Record(RecordFrames { frames: (!frames.is_empty()).then_some(frames)? });
        Some(RunTurnRequest { step: Some(step) })
    }

    /// The store has them up to this one.
    pub(super) fn recorded(&mut self, last: u64) {
        while self.frames.front().is_some_and(|frame| frame.sequence <= last) {
            self.frames.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// The stream is a new one: what the store has not, it gets again.
    pub(super) fn begin_again(&mut self, last: u64) {
        self.recorded(last);
        self.sent = 0;
    }
}
