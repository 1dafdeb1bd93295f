//! Whole turns at fixed rates, and as many as it takes.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Extent;
use super::places::{Place, store};
use super::servers::{Postgres, Redis};
use crate::bench::Binaries;
use crate::bench::mesh::Service;

/// Measures one place of sessions, with a database of its own.
pub(super) fn measure(
    binaries: &Binaries,
    (postgres, redis): (&Postgres, &Redis),
    place: Place,
    extent: Extent,
) -> Result<Value> {
    let url = place.fresh(postgres)?;
    let service = store(binaries, &url, (place == Place::Both).then_some(redis))?;
    let around = Around { service: &service, postgres, redis, place };
    let [warm, seconds] = [extent.warm, extent.seconds].map(|time| time.to_string());
    let time = ["--warm", &warm, "--seconds", &seconds];
    let mut runs = Vec::new();
    let rates = extent.rates.iter().map(|rate| ("--rate", *rate));
    for (how, many) in rates.chain(extent.callers.iter().map(|callers| ("--callers", *callers))) {
        println!("{}: {how} {many}", place.name());
        let (prefix, number) = (format!("{}{many}", how.trim_start_matches('-')), many.to_string());
        let before = around.used()?;
        let mut figures =
            load(binaries, &service, "turns", &[&["--prefix", &prefix, how, &number], &time[..]].concat())?;
        figures["trips"] = around.trips(&figures)?;
        figures["cpu_us"] = around.cpu_of_a_turn(&before, &figures)?;
        figures["how"] = how.into();
        figures["many"] = many.into();
        runs.push(figures);
    }
    Ok(json!({ "name": place.name(), "runs": runs, "resident_mb": service.resident_megabytes()? }))
}

/// Runs the driver and returns what it measured.
pub(super) fn load(binaries: &Binaries, service: &Service, what: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(&binaries.session_load);
    command.arg(what).arg("--address").arg(service.address.to_string()).args(arguments);
    let output = command.stderr(Stdio::inherit()).output().context("starting session-load")?;
    if !output.status.success() {
        bail!("session-load ended with {}", output.status);
    }
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    println!("  {figures}");
    Ok(figures)
}

/// What works on a turn.
struct Around<'a> {
    service: &'a Service,
    postgres: &'a Postgres,
    redis: &'a Redis,
    place: Place,
}

impl Around<'_> {
    /// Processor time so far, in seconds: of the store, PostgreSQL and Redis. Begins to count what is asked of both.
    fn used(&self) -> Result<[f64; 3]> {
        self.postgres.sql("postgres", "SELECT pg_stat_statements_reset(); SELECT pg_stat_reset_shared('wal')")?;
        self.redis.ask(&["CONFIG", "RESETSTAT"])?;
        self.cpu_seconds()
    }

    fn cpu_seconds(&self) -> Result<[f64; 3]> {
        Ok([self.service.cpu_seconds()?, self.postgres.cpu_seconds()?, self.redis.cpu_seconds()?])
    }

    fn cpu_of_a_turn(&self, before: &[f64; 3], figures: &Value) -> Result<Value> {
        let (done, driver) = (figures["done"].as_f64(), figures["driver_cpu_seconds"].as_f64());
        let (done, after) = (done.context("no count")?, self.cpu_seconds()?);
        let each = |index: usize| 1e6 * (after[index] - before[index]) / done;
        let driver = 1e6 * driver.context("no processor time")? / done;
        Ok(json!({ "store": each(0), "postgres": each(1), "redis": each(2), "driver": driver }))
    }

    /// Statements and scripts of each turn, which are a round trip each: before the model, after it, and to make a session.
    fn trips(&self, figures: &Value) -> Result<Value> {
        if self.place == Place::Sqlite {
            return Ok(Value::Null);
        }
        let done = figures["done"].as_f64().context("no count")?;
        let told = self.postgres.sql(
            "postgres",
            &format!(
                "SELECT CASE WHEN query LIKE 'WITH running AS%' OR query LIKE 'DELETE FROM leases%' THEN 'commit' \
                 WHEN query LIKE 'INSERT INTO sessions%' THEN 'create' ELSE 'begin' END AS at, SUM(calls), \
                 SUM(total_exec_time) * 1000 FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
                 WHERE datname = '{}' GROUP BY at",
                self.place.database()
            ),
        )?;
        let of = |name: &str, column: usize| {
            let row = told.lines().map(|line| line.split('|').collect::<Vec<_>>()).find(|row| row[0] == name);
            row.and_then(|row| row.get(column)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let syncs: f64 = self.postgres.sql("postgres", "SELECT wal_sync FROM pg_stat_wal")?.parse().unwrap_or(f64::NAN);
        let (scripts, takes) = (self.redis.calls(&["evalsha", "eval"])?, self.redis.calls(&["lrange"])?);
        let of_redis = |calls: f64| (self.place == Place::Both).then_some(calls / done);
        Ok(json!({
            "postgres_begin": of("begin", 1) / done,
            "postgres_commit": of("commit", 1) / done,
            "postgres_create": of("create", 1) / done,
            "postgres_begin_us": of("begin", 2) / of("begin", 1),
            "postgres_commit_us": of("commit", 2) / of("commit", 1),
            "redis_begin": of_redis(takes),
            "redis_commit": of_redis(scripts - takes),
            "syncs": syncs / done,
        }))
    }
}
