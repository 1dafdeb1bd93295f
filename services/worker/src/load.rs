//! How busy this worker is, for whoever chooses between instances.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use pointsman_proto::inference::v1::Load;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The most tokens of an answer that count before it ends: limits are often far above what is written.
const ANSWER_TOKENS: u32 = 512;
/// Nobody is told more often.
const SHORTEST: Duration = Duration::from_millis(50);
/// Nobody is told less often.
const LONGEST: Duration = Duration::from_secs(1);

/// The load, kept by the requests that make it. Each changes it a few times in its life, and never for a
/// token. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Loads(Arc<watch::Sender<Load>>);

impl Loads {
    pub(crate) fn new(slots: usize, queue: usize) -> Self {
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let load = Load { slots: count(slots), queue_places: count(queue), ..Load::default() };
        Self(Arc::new(watch::Sender::new(load)))
    }

    /// Returns the load at this moment.
    pub(crate) fn now(&self) -> Load {
        *self.0.borrow()
    }

    /// Counts a request as queued; its tokens are not known yet.
    pub(crate) fn enter(&self) -> Share {
        self.0.send_modify(|load| load.queued_requests += 1);
        Share { loads: self.clone(), running: false, prompt_tokens: 0, answer_tokens: 0 }
    }

    /// Tells the load at once, and then after each change, in the pace that the contract says. What changes
    /// while the reader is slow is not kept for it.
    pub(crate) fn watch(&self) -> impl Stream<Item = Load> + Send + 'static {
        stream::unfold((self.0.subscribe(), true), async |(mut changes, first)| {
            if !first {
                sleep(SHORTEST).await;
                if let Ok(Err(_)) = timeout(LONGEST - SHORTEST, changes.changed()).await {
                    return None;
                }
            }
            let load = *changes.borrow_and_update();
            Some((load, (changes, false)))
        })
    }
}

/// What one request adds to the load, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Share {
    loads: Loads,
    running: bool,
    prompt_tokens: u64,
    answer_tokens: u64,
}

impl Share {
    /// The prompt was counted and each of so many answers bounded.
    pub(crate) fn count(&mut self, prompt_tokens: u32, max_output_tokens: u32, choices: u32) {
        self.prompt_tokens = prompt_tokens.into();
        self.answer_tokens = u64::from(max_output_tokens.min(ANSWER_TOKENS)) * u64::from(choices);
        self.loads.0.send_modify(|load| load.queued_tokens += self.tokens());
    }

    /// The request has got a slot.
    pub(crate) fn run(&mut self) {
        self.running = true;
        self.loads.0.send_modify(|load| {
            load.queued_requests -= 1;
            load.queued_tokens -= self.tokens();
            load.running_requests += 1;
            load.running_tokens += self.tokens();
        });
    }

    /// The prompt of a running request has been read.
    pub(crate) fn prompt_read(&mut self) {
        let read = std::mem::take(&mut self.prompt_tokens);
        self.loads.0.send_modify(|load| load.running_tokens -= read);
    }

    fn tokens(&self) -> u64 {
        self.prompt_tokens + self.answer_tokens
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.loads.0.send_modify(|load| {
            let (requests, tokens) = match self.running {
                true => (&mut load.running_requests, &mut load.running_tokens),
                false => (&mut load.queued_requests, &mut load.queued_tokens),
            };
            *requests -= 1;
            *tokens -= self.tokens();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures::{FutureExt, StreamExt};
    use pointsman_proto::inference::v1::Load;
    use tokio::time::Instant;

    use super::Loads;

    fn load(running: (u32, u64), queued: (u32, u64)) -> Load {
        Load {
            running_requests: running.0,
            running_tokens: running.1,
            queued_requests: queued.0,
            queued_tokens: queued.1,
            slots: 4,
            queue_places: 0,
        }
    }

    #[test]
    fn each_phase_of_a_request_counts_what_is_left_of_it() {
        let loads = Loads::new(4, 0);
        let (mut one, mut two) = (loads.enter(), loads.enter());
        assert_eq!(loads.now(), load((0, 0), (2, 0)));
        one.count(100, 20, 1);
        two.count(7, 100_000, 1);
        assert_eq!(loads.now(), load((0, 0), (2, 120 + 7 + 512)));
        one.run();
        assert_eq!(loads.now(), load((1, 120), (1, 7 + 512)));
        one.prompt_read();
        assert_eq!(loads.now(), load((1, 20), (1, 7 + 512)));
        drop(two);
        assert_eq!(loads.now(), load((1, 20), (0, 0)));
        drop(one);
        assert_eq!(loads.now(), load((0, 0), (0, 0)));
    }

    #[test]
    fn each_of_several_answers_counts() {
        let loads = Loads::new(4, 0);
        let mut share = loads.enter();
        share.count(7, 100, 128);
        assert_eq!(loads.now(), load((0, 0), (1, 7 + 12_800)));
        share.run();
        share.prompt_read();
        assert_eq!(loads.now(), load((1, 12_800), (0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_is_told_in_the_pace_of_the_contract() {
        let loads = Loads::new(4, 0);
        let mut told = pin!(loads.watch());
        let begin = Instant::now();
        assert_eq!(told.next().now_or_never(), Some(Some(load((0, 0), (0, 0)))), "at once");
        let one = loads.enter();
        assert_eq!(told.next().now_or_never(), None, "not yet");
        let two = loads.enter();
        assert_eq!(told.next().await, Some(load((0, 0), (2, 0))), "the latest");
        assert_eq!(begin.elapsed(), Duration::from_millis(50));
        assert_eq!(told.next().await, Some(load((0, 0), (2, 0))), "though nothing has changed");
        assert_eq!(begin.elapsed(), Duration::from_millis(1050));
        drop((one, two));
        assert_eq!(told.next().await, Some(load((0, 0), (0, 0))));
        assert_eq!(begin.elapsed(), Duration::from_millis(1100));
        let mut other = pin!(loads.watch());
        other.next().await;
        drop(loads);
        assert_eq!(other.next().await, None);
    }
}
