//! PostgreSQL.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pointsman_testkit::eventually;
use pointsman_testkit::servers::Postgres;
use tokio::time::timeout;

use crate::{LIMIT, folder_of, processes_in};

#[tokio::test]
async fn a_database_is_empty_and_nobody_elses() -> Result<()> {
    let postgres = Postgres::shared().await?;
    let (one, other) = (postgres.database().await?, postgres.database().await?);
    postgres.sql(&one, "CREATE TABLE turn (id int); INSERT INTO turn VALUES (1), (2)").await?;
    assert_eq!(postgres.sql(&one, "SELECT count(*), max(id) FROM turn").await?, "2|2");
    let error = postgres.sql(&other, "SELECT * FROM turn").await.unwrap_err().to_string();
    assert!(error.contains("\"turn\" does not exist"), "{error}");
    Ok(())
}

#[tokio::test]
async fn there_is_one_shared_server() -> Result<()> {
    let (one, other) = tokio::join!(Postgres::shared(), Postgres::shared());
    assert_eq!(one?.id()?, other?.id()?);
    Ok(())
}

#[tokio::test]
async fn a_server_keeps_what_it_acknowledges_unless_asked_otherwise() -> Result<()> {
    let ask = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings \
               WHERE name IN ('fsync', 'max_connections', 'server_encoding', 'synchronous_commit', 'work_mem')";
    let usual = Postgres::start().await?;
    assert_eq!(usual.sql(&usual.url(), ask).await?, "on 200 UTF8 on 4096");
    let fast = Postgres::options().without_fsync().setting("work_mem", "8MB").start().await?;
    assert_eq!(fast.sql(&fast.url(), ask).await?, "off 200 UTF8 on 8192");
    assert!(usual.port() != fast.port() && usual.url() != fast.url());
    Ok(())
}

#[tokio::test]
async fn a_setting_that_is_none_is_told_with_the_log() -> Result<()> {
    let error = Postgres::options().setting("no_such_setting", "1").start().await.err().context("it started")?;
    assert!(error.to_string().contains("unrecognized configuration parameter \"no_such_setting\""), "{error}");
    Ok(())
}

#[tokio::test]
async fn data_outlive_a_kill_and_a_stop() -> Result<()> {
    let postgres = Postgres::start().await?;
    let (url, folder) = (postgres.database().await?, folder_of(postgres.id()?)?);
    postgres.sql(&url, "CREATE TABLE turn (id int)").await?;
    for round in 1..=2 {
        postgres.sql(&url, &format!("INSERT INTO turn VALUES ({round})")).await?;
        match round {
            1 => postgres.kill9().await?,
            _ => postgres.stop().await?,
        }
        assert_eq!(processes_in(&folder)?.len(), 1, "only what looks after it");
        assert!(postgres.sql(&url, "SELECT 1").await.is_err() && postgres.id().is_err());
        postgres.restart().await?;
    }
    assert_eq!(postgres.sql(&url, "SELECT sum(id) FROM turn").await?, "3");
    let error = postgres.restart().await.unwrap_err().to_string();
    assert!(error.contains("kill or stop it first"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_is_thawed() -> Result<()> {
    let postgres = Postgres::start().await?;
    let folder = folder_of(postgres.id()?)?;
    postgres.freeze().await?;
    let states: Vec<char> = processes_in(&folder)?.into_iter().map(|(_, state)| state).collect();
    let frozen = states.iter().filter(|state| **state == 'T').count();
    // The postmaster and those who write for it; what looks after it is not frozen.
    assert!(frozen > 3 && frozen == states.len() - 1, "{states:?}");
    let url = postgres.url();
    let mut answer = Box::pin(postgres.sql(&url, "SELECT 'here'"));
    assert!(timeout(Duration::from_millis(100), &mut answer).await.is_err());
    postgres.thaw()?;
    assert_eq!(timeout(LIMIT, answer).await??, "here");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_server() -> Result<()> {
    for end in ["dropped", "frozen", "killed"] {
        let postgres = Postgres::start().await?;
        let (url, id) = (postgres.url(), postgres.id()?);
        let folder = folder_of(id)?;
        assert!(shared_memory_of(id)?, "there is nothing to leave behind");
        let sleeping =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND wait_event = 'PgSleep'";
        let sleeps = async { eventually!(LIMIT, postgres.sql(&url, sleeping).await.is_ok_and(|count| count == "1")) };
        tokio::select! {
            answer = postgres.sql(&url, "SELECT pg_sleep(60)") => bail!("{answer:?}"),
            sleeps = sleeps => sleeps?,
        }
        match end {
            "frozen" => postgres.freeze().await?,
            "killed" => postgres.kill9().await?,
            _ => {}
        }
        drop(postgres);
        assert_eq!(processes_in(&folder)?, [], "{end}");
        assert!(!folder.exists() && !shared_memory_of(id)?, "{end}: {}", folder.display());
    }
    Ok(())
}

/// Tells whether a process made shared memory that is still there (proc_sysvipc(5): the fifth column is its maker).
fn shared_memory_of(process: u32) -> Result<bool> {
    let table = fs::read_to_string("/proc/sysvipc/shm")?;
    let mut makers = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(4));
    Ok(makers.any(|maker| maker == process.to_string()))
}
