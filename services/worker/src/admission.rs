//! Who generates now, who waits, and who is told to come back. Who of those that wait is next, [`lines`] says.

mod lines;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::Priority;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::slots::{Slots, Turn};
use crate::load::{Loads, Share};
use crate::metrics::{Counted, Metrics};

/// Slots, and a bounded queue before them.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    slots: Slots,
    /// As many as there are slots and places in the queue: whoever is here has one, to the end.
    places: Arc<Semaphore>,
    slot_count: usize,
    /// How long a slot was held lately, in milliseconds: a moving average, for the hint to come back.
    held_ms: Arc<AtomicU64>,
    loads: Loads,
    metrics: Metrics,
}

impl Admission {
    pub(crate) fn new(slots: usize, queue: usize, loads: Loads, metrics: Metrics) -> Self {
        Self {
            slots: Slots::new(slots),
            places: Arc::new(Semaphore::new(slots + queue)),
            slot_count: slots,
            held_ms: Arc::new(AtomicU64::new(0)),
            loads,
            metrics,
        }
    }

    /// Takes a place, or fails at once if the queue is full. All work for a request comes after this, the
    /// counting of its prompt too: so the queue bounds it.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = "this worker's queue is full; wait as long as the retry hint says, or go to another";
            return Err(Error::new(Reason::QueueFull, message).retry_after(self.wait_hint()));
        };
        Ok(Place { waiting: self.metrics.queued(), share: self.loads.enter(), admission: self.clone(), permit })
    }

    /// How long it takes until a place in a full queue is free: one slot's time, shared by all slots.
    fn wait_hint(&self) -> Duration {
        let one = Duration::from_millis(self.held_ms.load(Ordering::Relaxed));
        let slots = u32::try_from(self.slot_count).unwrap_or(u32::MAX);
        (one / slots).clamp(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// The right to wait for a slot. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Counted,
    share: Share,
    admission: Admission,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Says how large the request is, once that is known.
    pub(crate) fn count(&mut self, prompt_tokens: u32, max_output_tokens: u32, choices: u32) {
        self.share.count(prompt_tokens, max_output_tokens, choices);
    }

    /// Waits for a slot. Dropping the future leaves the queue.
    pub(crate) async fn slot(self, priority: Priority) -> Slot {
        let Self { waiting, mut share, admission, permit: place } = self;
        let turn = admission.slots.take(priority).await;
        let running = admission.metrics.running();
        drop(waiting);
        share.run();
        let held_ms = Arc::clone(&admission.held_ms);
        Slot { since: Instant::now(), held_ms, share, _running: running, _turn: turn, _place: place }
    }
}

/// The right to generate, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Slot {
    since: Instant,
    held_ms: Arc<AtomicU64>,
    share: Share,
    _running: Counted,
    _turn: Turn,
    _place: OwnedSemaphorePermit,
}

impl Slot {
    /// Returns when it was given.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Says that the prompt has been read.
    pub(crate) fn prompt_read(&mut self) {
        self.share.prompt_read();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let held = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.held_ms.load(Ordering::Relaxed);
        // A lost update costs the hint nothing.
        self.held_ms.store(if before == 0 { held } else { (before * 7 + held) / 8 }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use pointsman_errors::Reason;
    use pointsman_proto::inference::v1::Priority;

    use super::Admission;
    use crate::load::Loads;
    use crate::metrics::Metrics;

    const DEFAULT: Priority = Priority::Default;

    fn admission(slots: usize, queue: usize) -> Admission {
        let metrics = Metrics::register(&pointsman_server::Metrics::default());
        Admission::new(slots, queue, Loads::new(slots, queue), metrics)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_with_a_hint() {
        let admission = admission(1, 1);
        let _slot = admission.place().unwrap().slot(DEFAULT).await;
        let waiting = admission.place().unwrap();
        let error = admission.place().unwrap_err();
        assert_eq!(error.reason(), Reason::QueueFull);
        assert!(error.retry_delay().is_some());
        drop(waiting);
        let mut waiting = Box::pin(admission.place().unwrap().slot(DEFAULT));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(admission.place().is_err());
        drop(waiting);
        assert!(admission.place().is_ok(), "the place is free again");
    }

    #[tokio::test]
    async fn who_is_not_yet_counted_fills_the_queue_too() {
        let admission = admission(1, 0);
        let place = admission.place().unwrap();
        assert!(admission.place().is_err());
        let slot = place.slot(DEFAULT).await;
        assert!(admission.place().is_err());
        drop(slot);
        admission.place().unwrap().slot(DEFAULT).await;
    }

    #[tokio::test]
    async fn slots_pass_on_in_order() {
        let admission = admission(1, 2);
        let slot = admission.place().unwrap().slot(DEFAULT).await;
        let (first, second) = (admission.place().unwrap(), admission.place().unwrap());
        let (mut first, mut second) = (Box::pin(first.slot(DEFAULT)), Box::pin(second.slot(DEFAULT)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(slot);
        assert!(second.as_mut().now_or_never().is_none(), "the first comes first");
        let slot = first.await;
        drop(slot);
        second.await;
    }
}
