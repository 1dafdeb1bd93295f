//! What a key may use of this gateway: requests in a time, and at the same time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_types::counted;
use tokio::time::Instant;

use crate::config::LimitsConfig;

/// The limits of one key, and what of them is used.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: LimitsConfig,
    bucket: Mutex<Bucket>,
    running: AtomicU32,
}

/// A token bucket: a second's worth of requests, filled at the rate.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// A request that counts, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Running(Arc<Limiter>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limiter {
    pub(crate) fn new(limits: LimitsConfig) -> Self {
        let tokens = f64::from(limits.requests_per_second.unwrap_or_default());
        let bucket = Mutex::new(Bucket { tokens, filled: Instant::now() });
        Self { limits, bucket, running: AtomicU32::new(0) }
    }

    /// Counts a request, or says when to come back.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Running, Error> {
        // Before the rate: what is refused for this uses up nothing.
        let running = Running(Arc::clone(self));
        let others = self.running.fetch_add(1, Ordering::Relaxed);
        if let Some(limit) = self.limits.concurrent.filter(|limit| others >= *limit) {
            let requests = counted(limit, "request");
            let message = format!("this key may have {requests} answered at the same time; wait for one to end");
            return Err(Error::new(Reason::RateLimited, message).retry_after(Duration::from_secs(1)));
        }
        if let Some(rate) = self.limits.requests_per_second {
            self.take(f64::from(rate)).map_err(|wait| {
                let requests = counted(rate, "request");
                let message = format!("this key may send {requests} a second; wait and try again");
                Error::new(Reason::RateLimited, message).retry_after(wait)
            })?;
        }
        Ok(running)
    }

    /// Takes a token, or says when there will be one.
    fn take(&self, rate: f64) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        bucket.tokens = (bucket.tokens + (now - bucket.filled).as_secs_f64() * rate).min(rate);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use pointsman_errors::Reason;

    use super::Limiter;
    use crate::config::LimitsConfig;

    #[tokio::test(start_paused = true)]
    async fn a_second_has_so_many_requests() {
        let limits = LimitsConfig { requests_per_second: Some(4), concurrent: None };
        let limiter = Arc::new(Limiter::new(limits));
        let count = || (0..100).take_while(|_| limiter.enter().is_ok()).count();
        assert_eq!(count(), 4);
        let refused = limiter.enter().unwrap_err();
        assert_eq!((refused.reason(), refused.retry_delay()), (Reason::RateLimited, Some(Duration::from_millis(250))));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(count(), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(count(), 4, "what was not used is not kept for longer than a second");
    }

    #[tokio::test]
    async fn so_many_run_at_the_same_time() {
        let limits = LimitsConfig { requests_per_second: None, concurrent: Some(2) };
        let limiter = Arc::new(Limiter::new(limits));
        let (first, _second) = (limiter.enter().unwrap(), limiter.enter().unwrap());
        assert_eq!(limiter.enter().unwrap_err().reason(), Reason::RateLimited);
        drop(first);
        assert!(limiter.enter().is_ok());
    }

    #[tokio::test]
    async fn a_limit_of_one_is_told_in_the_singular() {
        for (limits, told) in [
            (LimitsConfig { requests_per_second: Some(1), concurrent: None }, "may send 1 request a second;"),
            (LimitsConfig { requests_per_second: None, concurrent: Some(1) }, "may have 1 request answered at"),
        ] {
            let limiter = Arc::new(Limiter::new(limits));
            let _running = limiter.enter().unwrap();
            let refused = limiter.enter().unwrap_err();
            assert!(refused.message().contains(told), "{}", refused.message());
        }
    }
}
