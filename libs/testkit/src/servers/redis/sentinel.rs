//! Redis with a replica, and a Sentinel that puts it in the master's place.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::LIMIT;
use super::Redis;
use crate::eventually;

/// What the Sentinel calls the master.
const MASTER: &str = "pointsman";

/// A Sentinel asks every second, and first a second after it has connected: with less than that it takes everybody for
/// down whom it has just met.
const DOWN_AFTER: Duration = Duration::from_secs(2);

/// A Redis with one replica, watched by one Sentinel, which alone decides that the master is down: after two seconds.
pub struct RedisSentinel {
    sentinel: Redis,
    master: Redis,
    replica: Redis,
}

impl RedisSentinel {
    /// Starts the three, and returns when the Sentinel could put the replica in the master's place.
    pub async fn start() -> Result<Self> {
        // What a replica asks for it gets at once, and not after five seconds in which others might ask for the same.
        let master = Redis::start_with(&["--repl-diskless-sync-delay", "0"]).await?;
        let port = master.port().to_string();
        let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).await?;
        // The Sentinel asks the replica for this at once, and then every ten seconds.
        eventually!(LIMIT, replica.command(&["role"]).await.is_ok_and(|role| role.contains("\nconnected\n")))?;
        let down_after = DOWN_AFTER.as_millis();
        let config = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {MASTER} {down_after}\n\
             sentinel failover-timeout {MASTER} 5000\n"
        );
        let sentinel = Redis::start_as(&config, &["--sentinel"]).await?;
        let sentinel = Self { sentinel, master, replica };
        eventually!(LIMIT, sentinel.check_ready().await)?;
        Ok(sentinel)
    }

    /// Returns the Sentinel.
    pub fn sentinel(&self) -> &Redis {
        &self.sentinel
    }

    /// Returns the server that was the master at first.
    pub fn master(&self) -> &Redis {
        &self.master
    }

    /// Returns the server that was the replica at first.
    pub fn replica(&self) -> &Redis {
        &self.replica
    }

    /// Returns what the Sentinel calls the master.
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// Asks the Sentinel for the port of today's master.
    pub async fn master_port(&self) -> Result<u16> {
        let told = self.sentinel.command(&["sentinel", "get-master-addr-by-name", MASTER]).await?;
        told.lines().nth(1).and_then(|port| port.parse().ok()).with_context(|| format!("no port in {told}"))
    }

    async fn check_ready(&self) -> Result<()> {
        let told = self.sentinel.command(&["sentinel", "replicas", MASTER]).await?;
        let lines: Vec<&str> = told.lines().collect();
        let has = |name: &str, value: &str| lines.windows(2).any(|pair| pair == [name, value]);
        ensure!(has("flags", "slave") && has("master-link-status", "ok"), "the replica is not in touch: {told}");
        Ok(())
    }
}
