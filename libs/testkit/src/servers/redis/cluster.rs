//! A Redis Cluster.

use anyhow::{Context, Result, ensure};

use tokio::task::spawn_blocking;

use super::super::{LIMIT, output_of};
use super::Redis;
use crate::{eventually, ports, tools};

/// How many masters there are; a cluster has three at least.
const MASTERS: usize = 3;

/// A Redis Cluster of three masters, each with a third of the slots.
pub struct RedisCluster {
    masters: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the servers, makes a cluster of them, and returns when all of them say that it is whole.
    pub async fn start() -> Result<Self> {
        let mut masters = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..MASTERS {
            // The usual port for its peers, 10,000 above the other, may be taken or none.
            let bus = ports::free_port()?;
            let port = bus.to_string();
            let redis = Redis::start_with(&["--cluster-enabled", "yes", "--cluster-port", &port]).await?;
            addresses.push(format!("127.0.0.1:{}@{bus}", redis.port()));
            masters.push(redis);
        }
        create(&addresses).await?;
        for redis in &masters {
            eventually!(LIMIT, check_whole(redis).await)?;
        }
        Ok(Self { masters })
    }

    /// Returns the servers.
    pub fn masters(&self) -> &[Redis] {
        &self.masters
    }

    /// Returns the address of each server.
    pub fn urls(&self) -> Vec<String> {
        self.masters.iter().map(Redis::url).collect()
    }
}

async fn create(addresses: &[String]) -> Result<()> {
    let cli = tools::redis_server()?.with_file_name("redis-cli");
    let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect::<Vec<_>>();
    let arguments = [&*words(&["--cluster", "create"]), addresses, &*words(&["--cluster-yes"])].concat();
    spawn_blocking(move || output_of(&cli, arguments)).await.context("running redis-cli")??;
    Ok(())
}

async fn check_whole(redis: &Redis) -> Result<()> {
    let told = redis.command(&["cluster", "info"]).await?;
    for wanted in ["cluster_state:ok", &format!("cluster_known_nodes:{MASTERS}")] {
        ensure!(told.lines().any(|line| line.trim_end() == wanted), "no `{wanted}` in {told}");
    }
    Ok(())
}
