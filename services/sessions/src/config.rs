use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman_types::ByteSize;
use serde::{Deserialize, Serialize};

use crate::store::sql::Kind;

/// The section `sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The database: the truth.
    pub database: DatabaseConfig,
    /// Redis, for leases and the turns that were read last. Default: none, and the database does all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisConfig>,
    /// How long a turn's right to its session lives if its process dies; it is renewed while it runs. 1 s to 5 min.
    /// Default 10 s.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How many turns may wait for others of their session, in one process. One more is refused with
    /// `TURN_IN_PROGRESS`. Default 16.
    pub queue: usize,
    /// How many turns are read for a request, the youngest and those that are pinned. 1 to 10,000. Default 1,000.
    pub history: u64,
    /// How long a session is kept after its last change, where it does not say. At least 1 min. Default 30 days.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How long a run, and what it was answered, is kept after its end. At least 1 min. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub run_retention: Duration,
    /// How many turns a session may have, where it does not say. Default 10,000.
    pub max_turns: u64,
    /// How many bytes the turns of a session may take, where it does not say. Default 16 MiB.
    pub max_size: ByteSize,
    /// How long a commit is tried for when the database does not answer. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub commit_patience: Duration,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/NAME` or `sqlite://PATH?mode=rwc`. Required, here or in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretUrl>,
    /// A file with the URL, where it holds a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// The most connections. Default 16.
    pub connections: u32,
    /// How long one question may take. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Whether the schema is brought up to date at the start. Default: true for SQLite; false for PostgreSQL, where
    /// `pointsman sessions migrate` does it once for all processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate: Option<bool>,
}

/// Redis: one server, a cluster, or servers behind sentinels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://USER:PASSWORD@HOST:PORT/NUMBER`, or `rediss://` with TLS. Several are nodes of one cluster, or its
    /// sentinels where `sentinel_master` is there. Required.
    pub urls: Vec<SecretUrl>,
    /// What the sentinels call the master. Default: the URLs are no sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_master: Option<String>,
    /// The certificates, as PEM, of the authority to trust with `rediss://`. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// How long one question may take. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How long the turns of a session that nobody uses are remembered. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub window_ttl: Duration,
    /// How much of one session is remembered. Default 256 KiB.
    pub window_size: ByteSize,
}

/// A URL that may hold a password: it is shown without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Makes the URL of an SQLite database in a file, which is made if it is not there.
    pub fn of_file(file: &Path) -> Self {
        let path = file.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        Self(format!("sqlite://{path}?mode=rwc"))
    }

    /// Returns the URL with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns where that is: a file, or the URL without its password.
    pub fn place(&self) -> String {
        let file = self.0.strip_prefix("sqlite://").and_then(|rest| rest.split('?').next());
        file.map_or_else(|| self.shown(), str::to_owned)
    }

    fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return self.0.clone() };
        let Some((who, place)) = rest.rsplit_once('@') else { return self.0.clone() };
        match who.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{place}"),
            None => self.0.clone(),
        }
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: DatabaseConfig::default(),
            redis: None,
            lease: Duration::from_secs(10),
            queue: 16,
            history: 1000,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            run_retention: Duration::from_secs(24 * 60 * 60),
            max_turns: 10_000,
            max_size: ByteSize::mebibytes(16),
            commit_patience: Duration::from_secs(10),
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, connections: 16, deadline: Duration::from_secs(1), migrate: None }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            sentinel_master: None,
            ca: None,
            deadline: Duration::from_millis(100),
            window_ttl: Duration::from_secs(10 * 60),
            window_size: ByteSize::kibibytes(256),
        }
    }
}

impl Config {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |kept: bool, problem: &str| {
            if !kept {
                problems.push(format!("sessions.{problem}"));
            }
        };
        let second = Duration::from_secs(1);
        require((second..=300 * second).contains(&self.lease), "lease: must be 1 s to 5 min");
        require((1..=10_000).contains(&self.history), "history: must be 1 to 10,000");
        require(self.retention >= 60 * second, "retention: must be at least 1 min");
        require(self.run_retention >= 60 * second, "run_retention: must be at least 1 min");
        require(self.max_turns > 0, "max_turns: must be at least 1");
        require(self.max_size.bytes() > 0, "max_size: must be above 0");
        require(self.database.connections > 0, "database.connections: must be at least 1");
        require(!self.database.deadline.is_zero(), "database.deadline: must be above 0");
        if let Some(redis) = &self.redis {
            require(!redis.urls.is_empty(), "redis.urls: name at least one server, `redis://HOST:PORT`");
            let known = |url: &SecretUrl| ["redis://", "rediss://"].iter().any(|it| url.expose().starts_with(it));
            require(redis.urls.iter().all(known), "redis.urls: must begin with `redis://` or `rediss://`");
            require(!redis.deadline.is_zero(), "redis.deadline: must be above 0");
            if let Err(error) = redis.ca.as_ref().map(std::fs::read).transpose() {
                require(false, &format!("redis.ca: cannot be read: {error}"));
            }
        }
        if let Err(problem) = self.database.url() {
            problems.push(format!("sessions.database.{problem}"));
        }
        problems
    }
}

impl DatabaseConfig {
    /// Returns the URL, from wherever it stands.
    pub(crate) fn url(&self) -> Result<SecretUrl, String> {
        let url = match (&self.url, &self.url_file) {
            (Some(url), None) => url.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map(|text| SecretUrl(text.trim().to_owned()))
                .map_err(|error| format!("url_file: {} cannot be read: {error}", file.display()))?,
            (None, None) => return Err("url: say where sessions are kept: `postgres://…` or `sqlite://…`".to_owned()),
            (Some(_), Some(_)) => return Err("url_file: leave it out, or `url`".to_owned()),
        };
        match Kind::of(url.expose()) {
            Some(_) => Ok(url),
            None => Err("url: must begin with `postgres://` or `sqlite://`".to_owned()),
        }
    }

    /// Whether the schema is brought up to date at the start.
    pub(crate) fn migrates(&self, kind: Kind) -> bool {
        self.migrate.unwrap_or(kind == Kind::Sqlite)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Config, DatabaseConfig, RedisConfig, SecretUrl};

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://me:secret@db:5432/pm", "postgres://me:***@db:5432/pm"),
            ("postgres://me:p@ss@db/pm", "postgres://me:***@db/pm"),
            ("redis://:secret@cache", "redis://:***@cache"),
            ("postgres://me@db/pm", "postgres://me@db/pm"),
            ("sqlite:///var/lib/pm.db", "sqlite:///var/lib/pm.db"),
        ] {
            assert_eq!(format!("{:?}", SecretUrl(url.to_owned())), shown);
        }
    }

    #[test]
    fn every_problem_is_named() {
        let url = |url: &str| Some(SecretUrl(url.to_owned()));
        let good = Config {
            database: DatabaseConfig { url: url("sqlite::memory:"), ..DatabaseConfig::default() },
            ..Config::default()
        };
        assert_eq!(good.problems(), Vec::<String>::new());
        let bad = Config {
            database: DatabaseConfig { url: url("mysql://x"), connections: 0, ..DatabaseConfig::default() },
            redis: Some(RedisConfig { urls: vec![SecretUrl("http://x".into())], ..RedisConfig::default() }),
            lease: Duration::ZERO,
            history: 0,
            ..good
        };
        let fields: Vec<_> =
            bad.problems().iter().map(|problem| problem.split(':').next().unwrap().to_owned()).collect();
        let want = ["lease", "history", "database.connections", "redis.urls", "database.url"];
        assert_eq!(fields, want.map(|field| format!("sessions.{field}")));
    }
}
