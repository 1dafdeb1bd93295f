//! What stands before every call to a server: a deadline, and a rest for one that does not answer.

use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::StoreError;

/// Failures in a row after which a server is left alone.
const FAILURES: u32 = 5;

tokio::task_local! {
    /// How often the task has asked a server.
    static TRIPS: AtomicU32;
}

/// Does something, and counts how often it asks servers.
pub(crate) async fn counting<T>(work: impl Future<Output = T>) -> (T, u32) {
    let count = async {
        let done = work.await;
        (done, TRIPS.with(|trips| trips.load(Ordering::Relaxed)))
    };
    TRIPS.scope(AtomicU32::new(0), count).await
}

/// Lets calls through to one server, each for a time; after some failures in a row, one a while.
#[derive(Debug)]
pub(crate) struct Breaker {
    name: &'static str,
    /// As many ask at the same time: who waits for others is no sign that the server fails. `None`: any number.
    places: Option<Semaphore>,
    deadline: Duration,
    rest: Duration,
    began: Instant,
    failures: AtomicU32,
    /// Nobody asks before, in milliseconds since `began`.
    closed_until: AtomicU64,
}

impl Breaker {
    pub(crate) fn new(name: &'static str, deadline: Duration, rest: Duration) -> Self {
        let (failures, closed_until) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { name, places: None, deadline, rest, began: Instant::now(), failures, closed_until }
    }

    /// Lets so many ask at the same time.
    pub(crate) fn with_places(self, count: usize) -> Self {
        Self { places: Some(Semaphore::new(count)), ..self }
    }

    /// Whether calls are let through.
    pub(crate) fn is_open_for_calls(&self) -> bool {
        self.closed_until.load(Ordering::Relaxed) <= self.now()
    }

    /// Makes a call.
    pub(crate) async fn call<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if !self.is_open_for_calls() {
            self.is_away();
            let message = format!("{} has failed {FAILURES} times in a row and is left alone for a while", self.name);
            return Err(StoreError::Unavailable(message.into()));
        }
        let _place = match &self.places {
            Some(places) => {
                let place = timeout(self.deadline, places.acquire()).await.ok().and_then(Result::ok);
                Some(place.ok_or(StoreError::Busy)?)
            }
            None => None,
        };
        let _ = TRIPS.try_with(|trips| trips.fetch_add(1, Ordering::Relaxed));
        let done = timeout(self.deadline, work).await.unwrap_or(Err(StoreError::TooSlow(self.deadline)));
        match &done {
            Err(error @ (StoreError::Unavailable(_) | StoreError::TooSlow(_))) => {
                self.is_away();
                self.failed(error);
            }
            _ => self.worked(),
        }
        done
    }

    /// Says so on the span of whatever needed it.
    fn is_away(&self) {
        tracing::Span::current().record("pointsman.store.away", self.name);
    }

    fn worked(&self) {
        if self.failures.swap(0, Ordering::Relaxed) >= FAILURES {
            tracing::info!(store = self.name, "answers again");
        }
    }

    fn failed(&self, error: &StoreError) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES {
            let until = self.now() + u64::try_from(self.rest.as_millis()).unwrap_or(u64::MAX);
            self.closed_until.store(until, Ordering::Relaxed);
        }
        if failures == FAILURES {
            tracing::warn!(store = self.name, error = error as &dyn std::error::Error, "does not answer");
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Breaker, FAILURES, counting};
    use crate::store::StoreError;

    async fn fails() -> Result<(), StoreError> {
        Err(StoreError::Unavailable("gone".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_is_left_alone_and_asked_again() {
        let rest = Duration::from_secs(1);
        let breaker = Breaker::new("it", Duration::from_millis(10), rest);
        for _ in 0..FAILURES {
            let failed = breaker.call(fails()).await;
            assert!(matches!(failed, Err(StoreError::Unavailable(_))));
        }
        let (told, trips) = counting(breaker.call(async { Ok(()) })).await;
        assert!(told.unwrap_err().to_string().contains("cannot be reached"));
        assert_eq!(trips, 0);
        tokio::time::advance(rest).await;
        assert_eq!(counting(breaker.call(async { Ok(1) })).await.0.unwrap(), 1);
        breaker.call(async { Ok(()) }).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_deadline() {
        let breaker = Breaker::new("it", Duration::from_millis(10), Duration::from_secs(1));
        let slow = breaker.call(std::future::pending::<Result<(), StoreError>>()).await;
        assert!(matches!(slow, Err(StoreError::TooSlow(_))), "{slow:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_others_is_no_sign_of_a_failure() {
        let breaker = Breaker::new("it", Duration::from_millis(10), Duration::from_secs(1)).with_places(1);
        let slow = breaker.call(async {
            tokio::time::sleep(Duration::from_millis(9)).await;
            Ok(())
        });
        let others = futures::future::join_all((0..FAILURES * 2).map(|_| async {
            tokio::task::yield_now().await;
            breaker
                .call(async {
                    tokio::time::sleep(Duration::from_millis(9)).await;
                    Ok(())
                })
                .await
        }));
        let (first, others) = tokio::join!(slow, others);
        first.unwrap();
        assert!(others.iter().any(|other| matches!(other, Err(StoreError::Busy))), "{others:?}");
        assert!(breaker.is_open_for_calls());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_is_a_new_beginning() {
        let breaker = Breaker::new("it", Duration::from_millis(10), Duration::from_secs(1));
        for _ in 0..FAILURES * 3 {
            let _ = breaker.call(fails()).await;
            breaker.call(async { Ok(()) }).await.unwrap();
        }
    }
}
