//! The session store: turns on PostgreSQL and Redis, on PostgreSQL alone and on SQLite; many long sessions; and what
//! LangGraph's checkpointer does on the same PostgreSQL.
//!
//! Everything shares the machine's cores: the store, the databases and the load driver. A turn says 500 bytes and answers
//! 1,000, and is committed as soon as it has begun; ten turns make a conversation.

mod langgraph;
mod many;
mod places;
mod servers;
mod turns;

use anyhow::Result;
use serde_json::{Value, json};

use super::Binaries;
use places::Place;
use servers::{Postgres, Redis};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Before it is measured, and while it is.
    warm: u64,
    seconds: u64,
    /// Turns a second.
    rates: &'static [u32],
    /// Callers without pauses.
    callers: &'static [u32],
    /// Sessions that are filled, each with `LONG` turns.
    sessions: u64,
}

/// The figures of the page: about ten minutes.
pub(super) const WHOLE: Extent =
    Extent { warm: 5, seconds: 12, rates: &[100, 1_000], callers: &[BESIDE, 64], sessions: 100_000 };
/// Only to see that it runs.
pub(super) const TRIAL: Extent = Extent { warm: 1, seconds: 2, rates: &[20, 100], callers: &[BESIDE], sessions: 1_000 };

/// How many turns the long sessions have.
const LONG: u64 = 50;
/// The callers of LangGraph, and of ours beside it.
const BESIDE: u32 = 16;

pub(super) fn measure(binaries: &Binaries, extent: Extent) -> Result<Value> {
    let (mut postgres, redis) = (Postgres::start()?, Redis::start()?);
    println!("fsync");
    let fsync = postgres.fsync()?;
    let mut table = Vec::new();
    for place in [Place::Both, Place::Postgres, Place::Sqlite] {
        table.push(turns::measure(binaries, (&postgres, &redis), place, extent)?);
    }
    let beside = langgraph::measure(&postgres, extent)?;
    let many = many::measure(binaries, (&mut postgres, &redis), extent)?;
    Ok(json!({
        "places": table,
        "langgraph": beside,
        "beside": BESIDE,
        "many": many,
        "fsync_us": fsync,
        "postgres": postgres.version()?,
        "redis": redis.version()?,
        "disk": servers::disk()?,
    }))
}
