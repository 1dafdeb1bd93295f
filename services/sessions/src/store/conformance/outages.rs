//! Redis that is away, elsewhere, or another kind of Redis than one said.

use std::time::{Duration, Instant};

use pointsman_testkit::certificates::Authority;
use pointsman_testkit::servers::{Redis, RedisSentinel};
use pointsman_testkit::{eventually, ports};

use super::leases::{lease, new_key};
use super::places::{DEADLINE, cluster, reached, redis};
use super::samples::window;
use crate::store::redis::{Reached, RedisLeases};
use crate::store::{LeaseStore, Memory, StoreError, Taken};

/// Long enough for a busy machine, and short enough to wait for.
const SOON: Duration = Duration::from_millis(500);

fn store(url: &str) -> RedisLeases {
    RedisLeases::new(&Reached { deadline: SOON, ..reached(&[url]) }).unwrap()
}

/// Whether leases can be taken.
async fn works(store: &RedisLeases) -> Result<(), String> {
    match store.take(&new_key(), &lease("a"), false).await {
        Ok(Taken::Yes(None)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let server = Redis::start().await.unwrap();
    let store = store(&server.url());
    eventually!(DEADLINE, works(&store).await).unwrap();
    for _ in 0..2 {
        server.kill9().await.unwrap();
        for _ in 0..20 {
            let failed = store.take(&new_key(), &lease("a"), false).await;
            assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        }
        server.restart().await.unwrap();
        eventually!(DEADLINE, works(&store).await).unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stands_still_holds_nobody_up() {
    let server = Redis::start().await.unwrap();
    let store = store(&server.url());
    eventually!(DEADLINE, works(&store).await).unwrap();
    server.freeze().await.unwrap();
    let began = Instant::now();
    let slow = store.take(&new_key(), &lease("a"), false).await;
    assert!(matches!(slow, Err(StoreError::TooSlow(SOON))), "{slow:?}");
    // Soon it is not even asked.
    eventually!(DEADLINE, matches!(works(&store).await, Err(told) if told.contains("left alone"))).unwrap();
    assert!(began.elapsed() < DEADLINE);
    server.thaw().unwrap();
    eventually!(DEADLINE, works(&store).await).unwrap();
}

#[tokio::test]
async fn who_comes_before_the_server_finds_it_later() {
    let server = Redis::start().await.unwrap();
    server.stop().await.unwrap();
    let store = store(&server.url());
    let failed = store.take(&new_key(), &lease("a"), false).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    server.restart().await.unwrap();
    eventually!(DEADLINE, works(&store).await).unwrap();
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = Redis::start().await.unwrap();
    let store = store(&server.url());
    eventually!(DEADLINE, works(&store).await).unwrap();
    let (key, left) = (new_key(), window("u", 1..=2));
    for _ in 0..2 {
        store.take(&key, &lease("a"), false).await.unwrap();
        server.command(&["script", "flush"]).await.unwrap();
        assert!(store.renew(&key, &lease("a")).await.unwrap());
        server.command(&["script", "flush"]).await.unwrap();
        store.give_back(&key, "a", Memory::Whole(&left)).await.unwrap();
        server.command(&["script", "flush"]).await.unwrap();
        store.forget(&key).await.unwrap();
        server.command(&["script", "flush"]).await.unwrap();
    }
}

/// Leases behind a Sentinel, which is told this of the master.
async fn behind(servers: &RedisSentinel, master: &str) -> RedisLeases {
    let url = servers.sentinel().url();
    let urls = [&*url];
    let store = RedisLeases::new(&Reached { deadline: SOON, sentinel_master: Some(master), ..reached(&urls) }).unwrap();
    eventually!(DEADLINE, works(&store).await).unwrap();
    store
}

#[tokio::test]
async fn a_master_that_stands_still_is_left_for_another() {
    let servers = RedisSentinel::start().await.unwrap();
    let store = behind(&servers, servers.master_name()).await;
    servers.master().freeze().await.unwrap();
    eventually!(DEADLINE, works(&store).await).unwrap();
    assert_eq!(servers.master_port().await.unwrap(), servers.replica().port());
    // What was the master comes back, and believes for a while that it still is.
    servers.master().thaw().unwrap();
    let key = new_key();
    store.take(&key, &lease("a"), false).await.unwrap();
    let name = format!("pm:{{t/{}}}:lease", key.id);
    assert_eq!(servers.replica().command(&["get", &name]).await.unwrap(), "a");
}

#[tokio::test]
async fn a_master_that_dies_is_left_for_another() {
    let servers = RedisSentinel::start().await.unwrap();
    // A number and secrets of the servers' own stand in the master's URL.
    let store = behind(&servers, &format!("redis://{}/3", servers.master_name())).await;
    assert!(servers.master().command(&["info", "keyspace"]).await.unwrap().contains("db3:"));
    servers.master().kill9().await.unwrap();
    eventually!(DEADLINE, works(&store).await).unwrap();
    assert_eq!(servers.master_port().await.unwrap(), servers.replica().port());
    assert!(servers.replica().command(&["info", "keyspace"]).await.unwrap().contains("db3:"));
}

#[tokio::test]
async fn one_node_of_a_cluster_leads_to_all() {
    let store = store(&cluster().await.urls()[1]);
    eventually!(DEADLINE, works(&store).await).unwrap();
    for _ in 0..50 {
        works(&store).await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_was_away_is_found_again() {
    let servers = pointsman_testkit::servers::RedisCluster::start().await.unwrap();
    let urls = servers.urls();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let store = RedisLeases::new(&Reached { deadline: SOON, ..reached(&urls) }).unwrap();
    eventually!(DEADLINE, works(&store).await).unwrap();
    for master in servers.masters() {
        master.freeze().await.unwrap();
    }
    eventually!(DEADLINE, matches!(works(&store).await, Err(told) if told.contains("left alone"))).unwrap();
    for master in servers.masters() {
        master.thaw().unwrap();
    }
    for _ in 0..20 {
        eventually!(DEADLINE, works(&store).await).unwrap();
    }
}

#[tokio::test]
async fn secrets_are_said_and_wrong_ones_told() {
    let server = redis().await;
    let user = format!("u{}", uuid::Uuid::new_v4().simple());
    server.command(&["acl", "setuser", &user, "on", ">right", "~pm:*", "+@all"]).await.unwrap();
    let url = |password| format!("redis://{user}:{password}@127.0.0.1:{}", server.port());
    eventually!(DEADLINE, works(&store(&url("right"))).await).unwrap();
    let refused = store(&url("wrong")).take(&new_key(), &lease("a"), false).await;
    let Err(StoreError::Unavailable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.to_string().contains("authentication failed"), "{why}");
}

#[tokio::test]
async fn tls_is_spoken_and_strangers_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours").unwrap();
    let files = authority.issue(&["localhost"]).unwrap().write(folder.path(), "server").unwrap();
    let [certificate, key] = [&files.certificate, &files.key].map(|path| path.to_str().unwrap());
    let port = ports::free_port().unwrap();
    let arguments = ["--tls-port", &port.to_string(), "--tls-cert-file", certificate, "--tls-key-file", key];
    let _server = Redis::start_with(&[&arguments[..], &["--tls-auth-clients", "no"]].concat()).await.unwrap();
    let url = format!("rediss://localhost:{port}");
    let urls = [&*url];
    let with =
        |roots: &[u8]| RedisLeases::new(&Reached { deadline: SOON, roots: Some(roots), ..reached(&urls) }).unwrap();
    eventually!(DEADLINE, works(&with(authority.certificate().as_bytes())).await).unwrap();
    let stranger = Authority::new("stranger").unwrap().certificate();
    let refused = works(&with(stranger.as_bytes())).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[tokio::test]
async fn what_is_no_address_is_told_at_once() {
    for urls in [&[][..], &["http://localhost"], &["redis://localhost", "nonsense"]] {
        let refused = RedisLeases::new(&reached(urls)).map(drop);
        assert!(matches!(refused, Err(StoreError::Failed(_))), "{urls:?}: {refused:?}");
    }
    let sentinel = Reached { sentinel_master: Some("it"), ..reached(&[]) };
    assert!(matches!(RedisLeases::new(&sentinel).map(drop), Err(StoreError::Failed(_))));
}
