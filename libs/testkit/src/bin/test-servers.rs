//! Starts PostgreSQL and Redis for whoever wants to look at something by hand, tells their addresses, and ends with
//! an interrupt; what was in them goes with it.

use std::io::Write;

use anyhow::Result;
use pointsman_testkit::servers::{Postgres, Redis};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (postgres, redis) = (Postgres::start().await?, Redis::start().await?);
    let mut out = std::io::stdout();
    writeln!(out, "{} (process {})", postgres.url(), postgres.id()?)?;
    writeln!(out, "{} (process {})", redis.url(), redis.id()?)?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}
