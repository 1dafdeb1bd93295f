//! The slots, each given from hand to hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pointsman_proto::inference::v1::Priority;
use tokio::sync::oneshot;

use super::lines::{Lines, Ticket};

/// So many slots, and who waits for one. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Not 0 only while nobody waits.
    free: usize,
    waiting: Lines<oneshot::Sender<()>>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiting: Lines::default() })))
    }

    /// Waits for a slot. Dropping the future leaves the queue; a slot that it was given by then goes to the next.
    pub(super) async fn take(&self, priority: Priority) -> Turn {
        let (turn, given) = self.line_up(priority);
        if let Some(given) = given {
            // Who drops the other end has sent before: only `next` takes it out of the line while this waits.
            let _ = given.await;
        }
        turn
    }

    fn line_up(&self, priority: Priority) -> (Turn, Option<oneshot::Receiver<()>>) {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            return (Turn { slots: self.clone(), ticket: None }, None);
        }
        let (give, given) = oneshot::channel();
        let ticket = state.waiting.join(priority, give);
        (Turn { slots: self.clone(), ticket: Some(ticket) }, Some(given))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot, or the wait for one. Dropping it ends the wait, or gives the slot to whoever is next.
#[derive(Debug)]
pub(super) struct Turn {
    slots: Slots,
    /// `None`: there was no wait.
    ticket: Option<Ticket>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        if self.ticket.is_some_and(|ticket| state.waiting.leave(ticket).is_some()) {
            return;
        }
        let next = state.waiting.next();
        if next.is_none() {
            state.free += 1;
        }
        drop(state);
        if let Some(give) = next {
            // Whoever leaves at this moment finds itself out of the line, and gives the slot on in its turn.
            let _ = give.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use pointsman_proto::inference::v1::Priority::{Bulk, Default, Interactive};

    use super::Slots;

    #[tokio::test]
    async fn a_slot_goes_to_the_highest_priority_that_waits() {
        let slots = Slots::new(1);
        let held = slots.take(Bulk).await;
        let [mut bulk, mut ordinary, mut urgent] = [Bulk, Default, Interactive].map(|it| Box::pin(slots.take(it)));
        for waiting in [&mut bulk, &mut ordinary, &mut urgent] {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(held);
        assert!(bulk.as_mut().now_or_never().is_none() && ordinary.as_mut().now_or_never().is_none());
        drop(urgent.as_mut().now_or_never().unwrap());
        drop(ordinary.as_mut().now_or_never().unwrap());
        drop(bulk.as_mut().now_or_never().unwrap());
        assert!(slots.take(Bulk).now_or_never().is_some(), "it is free again");
    }

    #[tokio::test]
    async fn who_leaves_with_a_slot_in_the_hand_gives_it_on() {
        let slots = Slots::new(1);
        let held = slots.take(Default).await;
        let [mut first, mut second, mut third] = [Default; 3].map(|it| Box::pin(slots.take(it)));
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(second);
        drop(held);
        // It was given the slot, and never looked.
        drop(first);
        drop(third.as_mut().now_or_never().unwrap());
        assert!(slots.lock().free == 1 && slots.lock().waiting.next().is_none());
    }

    #[tokio::test]
    async fn nobody_overtakes_who_was_given_the_slot() {
        let slots = Slots::new(2);
        let held = [slots.take(Default).await, slots.take(Default).await];
        let mut waiting = Box::pin(slots.take(Bulk));
        assert!(waiting.as_mut().now_or_never().is_none());
        let [one, _other] = held;
        drop(one);
        assert!(slots.take(Interactive).now_or_never().is_none(), "the slot is taken");
        assert!(waiting.as_mut().now_or_never().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_slot_is_lost_or_made_in_a_crowd() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        let (slots, running) = (Slots::new(3), Arc::new(AtomicUsize::new(0)));
        let one = |number: usize| {
            let (slots, running) = (slots.clone(), Arc::clone(&running));
            async move {
                let priority = [Bulk, Default, Interactive][number % 3];
                let taken = slots.take(priority);
                // Every fourth leaves wherever it is after a moment.
                let turn =
                    if number.is_multiple_of(4) { yield_once_then_leave(taken).await } else { Some(taken.await) };
                let Some(_turn) = turn else { return };
                assert!(running.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let all: Vec<_> = (0..500).map(|number| tokio::spawn(one(number))).collect();
        for task in all {
            task.await.unwrap();
        }
        assert_eq!(slots.lock().free, 3);
    }

    /// Polls, lets others go on, and looks once more.
    async fn yield_once_then_leave<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = Box::pin(future);
        if let Some(done) = future.as_mut().now_or_never() {
            return Some(done);
        }
        tokio::task::yield_now().await;
        future.now_or_never()
    }
}
