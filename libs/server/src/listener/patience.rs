use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long something may stay pending. While it does not, nothing is kept.
pub(super) struct Patience {
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waiting: None }
    }

    /// Looks at the outcome of a poll. Returns whether it is one of pending ones that have lasted too long.
    pub(super) fn is_over<T>(&mut self, polled: &Poll<T>, context: &mut Context<'_>) -> bool {
        if polled.is_ready() {
            self.waiting = None;
            return false;
        }
        let limit = self.limit;
        self.waiting.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context).is_ready()
    }
}
