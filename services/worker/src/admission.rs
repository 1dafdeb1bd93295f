//! Who generates now, who waits, and who is told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pointsman_errors::{Error, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// Slots, and a bounded queue before them, first come first served.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    slots: Arc<Semaphore>,
    places: Arc<Semaphore>,
    slot_count: usize,
    /// How long a slot was held lately, in milliseconds: a moving average, for the hint to come back.
    held_ms: Arc<AtomicU64>,
    metrics: Metrics,
}

impl Admission {
    pub(crate) fn new(slots: usize, queue: usize, metrics: Metrics) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            places: Arc::new(Semaphore::new(queue)),
            slot_count: slots,
            held_ms: Arc::new(AtomicU64::new(0)),
            metrics,
        }
    }

    /// Waits for a slot. Fails at once if the queue is full. Dropping the future leaves the queue.
    pub(crate) async fn enter(&self) -> Result<Slot, Error> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(self.slot(permit));
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = "this worker's queue is full; wait as long as the retry hint says, or go to another";
            return Err(Error::new(Reason::QueueFull, message).retry_after(self.wait_hint()));
        };
        let waiting = self.metrics.queued();
        // Never closed: an error cannot come.
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        drop((place, waiting));
        match permit {
            Ok(permit) => Ok(self.slot(permit)),
            Err(_) => Err(Error::new(Reason::ShuttingDown, "this worker takes nothing new; go to another")),
        }
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        Slot {
            since: Instant::now(),
            held_ms: Arc::clone(&self.held_ms),
            _running: self.metrics.running(),
            _permit: permit,
        }
    }

    /// How long it takes until a place in a full queue is free: one slot's time, shared by all slots.
    fn wait_hint(&self) -> Duration {
        let one = Duration::from_millis(self.held_ms.load(Ordering::Relaxed));
        let slots = u32::try_from(self.slot_count).unwrap_or(u32::MAX);
        (one / slots).clamp(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// The right to generate, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Slot {
    since: Instant,
    held_ms: Arc<AtomicU64>,
    _running: crate::metrics::Counted,
    _permit: OwnedSemaphorePermit,
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

    use super::Admission;
    use crate::metrics::Metrics;

    fn admission(slots: usize, queue: usize) -> Admission {
        Admission::new(slots, queue, Metrics::register(&pointsman_server::Metrics::default()))
    }

    #[tokio::test]
    async fn a_full_queue_refuses_with_a_hint() {
        let admission = admission(1, 1);
        let _slot = admission.enter().await.unwrap();
        let mut waiting = Box::pin(admission.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        let error = admission.enter().await.unwrap_err();
        assert_eq!(error.reason(), Reason::QueueFull);
        assert!(error.retry_delay().is_some());
        drop(waiting);
        assert!(Box::pin(admission.enter()).as_mut().now_or_never().is_none(), "the place is free again");
    }

    #[tokio::test]
    async fn slots_pass_on_in_order() {
        let admission = admission(1, 2);
        let slot = admission.enter().await.unwrap();
        let (mut first, mut second) = (Box::pin(admission.enter()), Box::pin(admission.enter()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(slot);
        assert!(second.as_mut().now_or_never().is_none(), "the first comes first");
        let slot = first.await.unwrap();
        drop(slot);
        second.await.unwrap();
    }
}
