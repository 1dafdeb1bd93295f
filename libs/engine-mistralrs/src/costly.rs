//! Work that takes long, and no more of it at once than there are cores.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use pointsman_engine::EngineError;
use tokio::sync::Semaphore;

/// Threads for work that takes long. What has begun runs to its end, whether anybody waits for it or not, and
/// counts until then: whoever asks and leaves does not pile it up.
#[derive(Debug)]
pub(crate) struct Costly(Arc<Semaphore>);

impl Costly {
    /// As much at once as there are cores.
    pub(crate) fn new() -> Self {
        Self::at_once(available_parallelism().map_or(1, NonZero::get))
    }

    fn at_once(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Waits for a thread, and does the work there. Dropped while it waits, it does nothing.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let failed = |detail: String| EngineError::Failed { detail };
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use futures::FutureExt;

    use super::Costly;

    #[tokio::test]
    async fn who_leaves_does_not_pile_up_work() {
        let costly = Costly::at_once(2);
        let begun = Arc::new(AtomicU32::new(0));
        let (mut ends, mut started) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let (end, ended) = mpsc::channel::<()>();
            let (start, starts) = mpsc::channel();
            let begun = Arc::clone(&begun);
            let left = costly.run(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                let _ = start.send(());
                let _ = ended.recv();
            });
            assert!(left.now_or_never().is_none());
            ends.push(end);
            started.push(starts);
        }
        for (place, starts) in (0..).zip(started) {
            // Those that did not begin are gone, and their channel with them.
            assert_eq!(starts.recv().is_ok(), place < 2);
        }
        let mut next = Box::pin(costly.run(|| 7));
        assert!(next.as_mut().now_or_never().is_none(), "the work of those who left still counts");
        drop(ends);
        assert_eq!(next.await, Ok(7));
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }
}
