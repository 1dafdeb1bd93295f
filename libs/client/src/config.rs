use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a peer is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a connection may take to come up. Default 2s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Calls that run at the same time, 1 to 32,768; a further one fails at once with `QUEUE_FULL`. A stream counts
    /// until its end. They share one connection: keep it under the peer's `server.connection.max_streams`
    /// (1,024 by default), above which calls would wait unseen. Default 1,000.
    pub max_in_flight: usize,
    /// How often an HTTP/2 ping asks whether the peer is still there. Default 10s.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long its answer may take. Default 5s.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            max_in_flight: 1000,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

/// As many as have their windows within one of a connection (see `remote.rs`).
const MOST_IN_FLIGHT: usize = 32_768;

impl Config {
    /// Returns what is wrong with these values, each with its field in this section, such as `gateway.client`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=MOST_IN_FLIGHT).contains(&self.max_in_flight) {
            problems.push(format!("{section}.max_in_flight: must be 1 to {MOST_IN_FLIGHT}"));
        }
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ] {
            if value.is_zero() {
                problems.push(format!("{section}.{field}: must be longer than 0s"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Config;

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(Config::default().problems("s"), Vec::<String>::new());
        let zero = Duration::ZERO;
        let wrong =
            Config { connect_timeout: zero, max_in_flight: 0, keepalive_interval: zero, keepalive_timeout: zero };
        let problems = wrong.problems("gateway.client");
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.starts_with("gateway.client.")), "{problems:?}");
        assert_eq!(Config { max_in_flight: 32_769, ..Config::default() }.problems("s").len(), 1);
    }
}
