//! Many long sessions: what it takes to read one of them, and what all of them take.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::places::store;
use super::servers::{Postgres, Redis};
use super::turns::load;
use super::{Extent, LONG};
use crate::bench::Binaries;
use crate::bench::mesh::Service;
use crate::shell;

const DATABASE: &str = "many";
/// Reads a second.
const RATE: &str = "200";
/// Sessions that Redis is made to remember.
const REMEMBERED: u64 = 1_000;

/// What makes filling fast. Nobody measures it, and it is over before anything is.
const FILLING: [&str; 6] = [
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "shared_buffers=1GB",
    "autovacuum=off",
];

pub(super) fn measure(
    binaries: &Binaries,
    (postgres, redis): (&mut Postgres, &Redis),
    extent: Extent,
) -> Result<Value> {
    println!("{} sessions of {LONG} turns", extent.sessions);
    let url = postgres.database(DATABASE)?;
    drop(store(binaries, &url, None)?);
    postgres.restart(&FILLING)?;
    filled(binaries, postgres, extent.sessions)?;
    postgres.restart(&[])?;
    let service = store(binaries, &url, Some(redis))?;
    let idle = service.resident_megabytes()?;
    let [sessions, warm, seconds] = [extent.sessions, extent.warm, extent.seconds].map(|number| number.to_string());
    let time = ["--warm", &warm, "--seconds", &seconds, "--prefix", "many", "--sessions"];
    let cold = load(binaries, &service, "reads", &[&time[..], &[&sessions, "--rate", RATE]].concat())?;
    let told = cold["history"].as_f64().context("no history")?;
    ensure!((told - LONG as f64).abs() < 0.01, "the sessions have {told} turns");
    let memory = redis.memory()?;
    let remembered = REMEMBERED.min(extent.sessions);
    remember(binaries, &service, remembered)?;
    let memory = (redis.memory()? - memory) / remembered as f64;
    let warm = load(binaries, &service, "reads", &[&time[..], &[&remembered.to_string(), "--rate", RATE]].concat())?;
    let resident = service.resident_megabytes()?;
    Ok(json!({
        "sessions": extent.sessions,
        "turns": LONG,
        "rate": RATE,
        "database_read": cold,
        "redis_read": warm,
        "redis_bytes_each": memory,
        "turns_bytes": bytes(postgres, "turns")?,
        "sessions_bytes": bytes(postgres, "sessions")?,
        "idle_mb": idle,
        "resident_mb": resident,
    }))
}

/// Stores the sessions and the rows that `session-load rows` writes. The tables are emptied in the same transaction, so that the
/// rows can be stored as if they had been there for long, and nothing is written twice.
fn filled(binaries: &Binaries, postgres: &Postgres, sessions: u64) -> Result<()> {
    let own = format!(
        "INSERT INTO sessions SELECT 'bench', 'many-' || n, '00000000-0000-7000-8000-' || lpad(n::text, 12, '0'), 0, {LONG}, \
         {LONG} * 1700, '', 0, '', md5(n::text), '', 0, t.now, t.now, t.now + 30 * 86400000000, 0 \
         FROM generate_series(1, {sessions}) n, (SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now) t"
    );
    let rows = ["rows", "--sessions", &sessions.to_string(), "--turns", &LONG.to_string()];
    let mut rows = Command::new(&binaries.session_load).args(rows).stdout(Stdio::piped()).spawn()?;
    let columns = "session, revision, request_id, digest, pinned, created, content";
    let copy = format!("\\copy turns ({columns}) FROM pstdin WITH (FORMAT binary, FREEZE)");
    let steps = ["SET session_replication_role = replica", "BEGIN", "TRUNCATE sessions CASCADE", &own, &copy, "COMMIT"];
    let mut psql = postgres.psql(DATABASE);
    psql.args(steps.iter().flat_map(|step| ["-c", step])).args(["-c", "ANALYZE"]);
    shell::output(psql.stdin(rows.stdout.take().context("no rows")?))?;
    ensure!(rows.wait()?.success(), "session-load could not write all rows");
    // What was not waited for then would be written while reads are measured.
    shell::run(&mut Command::new("sync"))
}

/// Commits one turn more in the first of the sessions: then Redis has their turns.
fn remember(binaries: &Binaries, service: &Service, sessions: u64) -> Result<()> {
    let count = sessions.to_string();
    let what = ["--prefix", "many", "--sessions", &count, "--callers", "2", "--count", &count];
    let told = load(binaries, service, "turns", &[&what[..], &["--warm", "0", "--seconds", "60"]].concat())?;
    ensure!(told["done"] == sessions, "some of {sessions} turns were not committed: {}", told["errors"]);
    Ok(())
}

/// Bytes on the disk of a table and its indexes.
fn bytes(postgres: &Postgres, table: &str) -> Result<f64> {
    Ok(postgres.sql(DATABASE, &format!("SELECT pg_total_relation_size('{table}')"))?.parse()?)
}
