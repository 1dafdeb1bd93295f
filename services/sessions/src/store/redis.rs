//! Leases, and the turns that were read last, in Redis.
//!
//! Nothing that it says decides anything: a lease that two have costs work, and a window is turns that were committed
//! once. Each call is one script, and so one round trip.

mod key;
mod link;
mod script;
mod window;

use std::time::Duration;

use redis::Value;
use tonic::async_trait;

use self::link::Link;
use self::script::SessionScript;
use self::window::Change;
#[cfg(test)]
pub(crate) use self::window::MOST_TURNS;
use super::breaker::Breaker;
use super::{Lease, LeaseStore, Memory, SessionKey, StoreError, Taken};

/// How long a server that does not answer is left alone.
const REST: Duration = Duration::from_secs(1);

/// How Redis is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached<'a> {
    /// `redis://USER:PASSWORD@HOST:PORT/NUMBER`, or `rediss://` with TLS: one server, some nodes of one cluster, which know
    /// the others, or sentinels.
    pub(crate) urls: &'a [&'a str],
    /// What the sentinels call the master: a name, or `redis://USER:PASSWORD@NAME/NUMBER` where its servers have other
    /// secrets than the sentinels. Default: the URLs are no sentinels.
    pub(crate) sentinel_master: Option<&'a str>,
    /// The authorities whose certificates are believed where TLS is spoken, in PEM. Default: those of the machine.
    pub(crate) roots: Option<&'a [u8]>,
    pub(crate) deadline: Duration,
    /// The most bytes of turns that are remembered of one session.
    pub(crate) window_bytes: usize,
    /// How long they are remembered after they were added to.
    pub(crate) window_ttl: Duration,
}

/// Leases and windows in Redis.
pub(crate) struct RedisLeases {
    link: Link,
    breaker: Breaker,
    take: SessionScript,
    renew: SessionScript,
    give_back: SessionScript,
    forget: SessionScript,
    window_bytes: usize,
    window_ttl: Duration,
}

impl RedisLeases {
    /// Names the servers, and begins to connect. A call that comes earlier waits for that.
    pub(crate) fn new(reached: &Reached<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            link: Link::new(reached)?,
            breaker: Breaker::new("Redis", reached.deadline, REST),
            take: SessionScript::new(include_str!("redis/take.lua")),
            renew: SessionScript::new(include_str!("redis/renew.lua")),
            give_back: SessionScript::new(include_str!("redis/give_back.lua")),
            forget: SessionScript::new(include_str!("redis/forget.lua")),
            window_bytes: reached.window_bytes,
            window_ttl: reached.window_ttl,
        })
    }

    async fn run(&self, script: &SessionScript, key: &SessionKey, arguments: &[&[u8]]) -> Result<Value, StoreError> {
        let work = async {
            let mut connection = self.link.connection().await?;
            let done = script.run(&mut connection, key, arguments).await.map_err(link::failure);
            if matches!(done, Err(StoreError::Unavailable(_))) {
                self.link.is_bad();
            }
            done
        };
        let done = self.breaker.call(work).await;
        if matches!(done, Err(StoreError::TooSlow(_))) {
            // Perhaps it was the master, and another is now.
            self.link.is_bad();
        }
        done
    }
}

#[async_trait]
impl LeaseStore for RedisLeases {
    async fn take(&self, key: &SessionKey, lease: &Lease<'_>, by_force: bool) -> Result<Taken, StoreError> {
        let (time, force) = (millis(lease.time), if by_force { "1" } else { "0" });
        let arguments = [lease.holder.as_bytes(), time.as_bytes(), force.as_bytes()];
        match self.run(&self.take, key, &arguments).await? {
            // Without a time, it is none of ours: below 0.
            Value::Int(left) => Ok(Taken::Held(Duration::from_millis(left.max(0).unsigned_abs()))),
            Value::Array(elements) if elements.is_empty() => Ok(Taken::Yes(None)),
            Value::Array(elements) => {
                let elements: Option<Vec<_>> = elements.into_iter().map(bytes).collect();
                let window = elements.and_then(|elements| window::decode(&elements));
                if window.is_none() {
                    // It is broken. If it stays, it is found again by who comes next.
                    let _ = self.forget(key).await;
                }
                Ok(Taken::Yes(window))
            }
            other => Err(StoreError::Unreadable(format!("{other:?}"))),
        }
    }

    async fn renew(&self, key: &SessionKey, lease: &Lease<'_>) -> Result<bool, StoreError> {
        let time = millis(lease.time);
        let arguments = [lease.holder.as_bytes(), time.as_bytes()];
        Ok(self.run(&self.renew, key, &arguments).await? == Value::Int(1))
    }

    async fn give_back(&self, key: &SessionKey, holder: &str, memory: Memory<'_>) -> Result<(), StoreError> {
        let change = Change::of(memory, self.window_bytes);
        let limits = [millis(self.window_ttl), self.window_bytes.to_string(), window::MOST_TURNS.to_string()];
        let [ttl, most_bytes, most_turns] = &limits;
        let settings = [holder, change.verb, ttl, &change.before, &change.after, most_bytes, most_turns];
        let arguments: Vec<_> =
            settings.into_iter().map(str::as_bytes).chain(change.turns.iter().map(Vec::as_slice)).collect();
        self.run(&self.give_back, key, &arguments).await.map(drop)
    }

    async fn forget(&self, key: &SessionKey) -> Result<(), StoreError> {
        self.run(&self.forget, key, &[]).await.map(drop)
    }
}

/// Redis knows no shorter time.
fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
