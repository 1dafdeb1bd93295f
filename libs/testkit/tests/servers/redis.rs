//! Redis, alone, as a cluster and behind a Sentinel.

use anyhow::{Context, Result};
use pointsman_testkit::eventually;
use pointsman_testkit::servers::{Redis, RedisCluster, RedisSentinel};

use crate::{LIMIT, folder_of, processes_in};

#[tokio::test]
async fn keys_are_gone_with_the_process_and_the_port_stays() -> Result<()> {
    let redis = Redis::start_with(&["--maxmemory", "2mb"]).await?;
    assert_eq!(redis.command(&["config", "get", "maxmemory"]).await?, "maxmemory\n2097152");
    let (port, url) = (redis.port(), redis.url());
    for round in 1..=2 {
        assert_eq!(redis.command(&["set", "key", "value"]).await?, "OK");
        match round {
            1 => redis.kill9().await?,
            _ => redis.stop().await?,
        }
        assert!(redis.ping().await.is_err() && redis.id().is_err());
        redis.restart().await?;
        assert_eq!(redis.command(&["exists", "key"]).await?, "0");
        assert_eq!((redis.port(), redis.url()), (port, url.clone()));
    }
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_is_thawed() -> Result<()> {
    let redis = Redis::start().await?;
    redis.freeze().await?;
    let error = redis.ping().await.unwrap_err().to_string();
    assert!(error.contains("no answer within a second"), "{error}");
    redis.thaw()?;
    eventually!(LIMIT, redis.ping().await)
}

#[tokio::test]
async fn a_mistake_in_the_arguments_is_told_with_the_log() -> Result<()> {
    let error = Redis::start_with(&["--no-such-thing", "1"]).await.err().context("it started")?;
    assert!(error.to_string().contains("no-such-thing"), "{error}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_server() -> Result<()> {
    for is_frozen in [false, true] {
        let redis = Redis::start().await?;
        let folder = folder_of(redis.id()?)?;
        assert_eq!(processes_in(&folder)?.len(), 2, "it, and what looks after it");
        if is_frozen {
            redis.freeze().await?;
        }
        drop(redis);
        assert_eq!(processes_in(&folder)?, []);
        assert!(!folder.exists(), "{} is left", folder.display());
    }
    Ok(())
}

#[tokio::test]
async fn each_server_of_a_cluster_has_keys_of_its_own() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    assert_eq!((cluster.masters().len(), cluster.urls().len()), (3, 3));
    let mut owners = 0;
    for redis in cluster.masters() {
        match redis.command(&["set", "key", "value"]).await {
            Ok(answer) => {
                assert_eq!(answer, "OK");
                owners += 1;
            }
            Err(error) => assert!(error.to_string().contains("MOVED 12539 127.0.0.1:"), "{error}"),
        }
    }
    assert_eq!(owners, 1);
    let slots = cluster.masters()[0].command(&["cluster", "info"]).await?;
    assert!(slots.contains("cluster_slots_ok:16384"), "{slots}");
    Ok(())
}

#[tokio::test]
async fn a_replica_takes_the_place_of_its_master() -> Result<()> {
    let redis = RedisSentinel::start().await?;
    assert_eq!(redis.master_port().await?, redis.master().port());
    redis.replica().command(&["set", "key", "value"]).await.unwrap_err();
    redis.master().kill9().await?;
    eventually!(LIMIT, redis.master_port().await.is_ok_and(|port| port == redis.replica().port()))?;
    eventually!(LIMIT, redis.replica().command(&["set", "key", "value"]).await)?;
    redis.master().restart().await?;
    let role = || async { redis.master().command(&["role"]).await };
    eventually!(LIMIT, role().await.is_ok_and(|role| role.starts_with("slave\n")))
}
