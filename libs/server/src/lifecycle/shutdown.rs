use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The most that is kept for what comes after streams have had their time.
const LARGEST_RESERVE: Duration = Duration::from_secs(4);

/// The one deadline of a shutdown, and what has to be over by when for it to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shutdown {
    end: Instant,
    /// Half of it for streams to say that they were ended, half for the last spans.
    reserve: Duration,
}

impl Shutdown {
    /// Begins now.
    pub(super) fn within(grace: Duration) -> Self {
        Self { end: Instant::now() + grace, reserve: (grace / 4).min(LARGEST_RESERVE) }
    }

    /// Waits while streams may finish by themselves; `None` if that did not do.
    pub(super) async fn before_cut<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.end - self.reserve, work).await.ok()
    }

    /// Waits while streams that were ended may say so; `None` if that did not do.
    pub(super) async fn before_close<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.end - self.reserve / 2, work).await.ok()
    }

    /// Returns the time that is left.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::Shutdown;

    #[tokio::test(start_paused = true)]
    async fn everything_fits_into_the_grace() {
        for (grace, cut, closed) in [(30_000, 26_000, 28_000), (8_000, 6_000, 7_000), (400, 300, 350)] {
            let shutdown = Shutdown::within(Duration::from_millis(grace));
            let gone = || Duration::from_millis(grace) - shutdown.left();
            assert_eq!(shutdown.before_cut(async { 1 }).await, Some(1));
            assert_eq!(shutdown.before_cut(pending::<()>()).await, None);
            assert_eq!(gone(), Duration::from_millis(cut));
            assert_eq!(shutdown.before_close(pending::<()>()).await, None);
            assert_eq!(gone(), Duration::from_millis(closed));
        }
    }
}
