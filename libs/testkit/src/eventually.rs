//! Waiting for something to become true, without a sleep that is too long or too short.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Time from one attempt to the next.
const INTERVAL: Duration = Duration::from_millis(10);

/// Tries a condition until it holds and returns what it gave, or fails when the limit is over.
///
/// The condition is an expression (it may use `.await`) that gives a `bool`, an `Option` or a `Result`, and holds
/// when that is `true`, `Some` or `Ok`. The macro gives an [`anyhow::Result`]; its error names the condition
/// and what stood in the way at the last attempt. An attempt that hangs is cut off at the limit.
///
/// ```
/// # use std::time::Duration;
/// # use pointsman_testkit::eventually;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let address = pointsman_testkit::ports::free_address()?;
/// let server = tokio::spawn(async move { tokio::net::TcpListener::bind(address).await?.accept().await });
/// let connection = eventually!(Duration::from_secs(5), tokio::net::TcpStream::connect(address).await)?;
/// assert_eq!(connection.peer_addr()?, address);
/// # server.await??;
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! eventually {
    ($limit:expr, $condition:expr $(,)?) => {{
        let mut attempts = $crate::eventually::Attempts::within($limit, stringify!($condition));
        loop {
            if let Some(outcome) = attempts.attempt(async { $condition }).await {
                break outcome;
            }
        }
    }};
}

/// The attempts at one condition; made by [`eventually!`](crate::eventually!).
pub struct Attempts {
    condition: &'static str,
    limit: Duration,
    end: Instant,
    obstacle: String,
}

impl Attempts {
    /// Begins now.
    pub fn within(limit: Duration, condition: &'static str) -> Self {
        Self { condition, limit, end: Instant::now() + limit, obstacle: "the first attempt did not end".to_owned() }
    }

    /// Makes one attempt: `None` asks for another, after a short wait that has passed already.
    pub async fn attempt<S: Settles>(&mut self, attempt: impl Future<Output = S>) -> Option<Result<S::Value>> {
        if let Ok(outcome) = timeout_at(self.end, attempt).await {
            match outcome.settle() {
                Ok(value) => return Some(Ok(value)),
                Err(obstacle) => self.obstacle = obstacle,
            }
        }
        let next = Instant::now() + INTERVAL;
        if next >= self.end {
            return Some(Err(anyhow!("not within {:?}: `{}`: {}", self.limit, self.condition, self.obstacle)));
        }
        sleep_until(next).await;
        None
    }
}

/// What a condition may give.
pub trait Settles {
    /// What is left when the condition holds.
    type Value;

    /// Returns the value, or what stands in the way.
    fn settle(self) -> Result<Self::Value, String>;
}

impl Settles for bool {
    type Value = ();

    fn settle(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("it was false".to_owned()) }
    }
}

impl<T> Settles for Option<T> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "it was None".to_owned())
    }
}

impl<T, E: std::fmt::Debug> Settles for Result<T, E> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_tries_until_the_condition_holds() {
        let mut count = 0;
        let mut next = || {
            count += 1;
            (count == 5).then_some("five")
        };
        assert_eq!(eventually!(Duration::from_secs(1), next()).unwrap(), "five");
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_tells_what_stood_in_the_way() {
        let refused: Result<(), &str> = Err("refused");
        let error = eventually!(Duration::from_secs(1), refused).unwrap_err().to_string();
        assert!(error.contains("`refused`") && error.contains("\"refused\""), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_cut_off() {
        let begun = Instant::now();
        eventually!(Duration::from_secs(1), std::future::pending::<bool>().await).unwrap_err();
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
