use std::time::Duration;

use pointsman_proto::sessions::v1::Turn;
use pointsman_testkit::eventually;

use super::leases::{lease, new_key};
use super::places::{DEADLINE, Leases, WINDOW_BYTES, reached, redis};
use super::samples::{turn, window};
use crate::store::redis::{MOST_TURNS, Reached, RedisLeases};
use crate::store::{Lease, LeaseStore, Memory, SessionKey, Taken, Window};

on_leases![memory, postgres, redis, cluster, sentinel => [
    turns_are_remembered_where_there_is_redis,
    a_turn_is_added_to_the_one_before_it,
    a_window_that_grows_too_large_is_dropped,
    who_lost_the_lease_leaves_nothing_behind,
    what_is_forgotten_is_not_brought_back,
]];

impl Leases {
    /// Takes the lease, gives it back at once, and returns what is remembered.
    async fn remembered(&self, key: &SessionKey) -> Option<Window> {
        let taken = self.store.take(key, &lease("reader"), false).await.unwrap();
        let Taken::Yes(window) = taken else { panic!("{taken:?}") };
        self.store.give_back(key, "reader", Memory::Unchanged).await.unwrap();
        window
    }

    /// Takes the lease and leaves this behind.
    async fn leave(&self, key: &SessionKey, memory: Memory<'_>) {
        assert!(self.takes(key, "writer").await);
        self.store.give_back(key, "writer", memory).await.unwrap();
    }

    /// What is remembered where this was left last.
    fn expected(&self, window: &Window) -> Option<Window> {
        self.remembers.then(|| window.clone())
    }
}

async fn turns_are_remembered_where_there_is_redis(leases: &Leases) {
    let key = new_key();
    assert_eq!(leases.remembered(&key).await, None);
    for window in [window("u", 1..=3), window("u", [2, 5, 6]), window("other:u", 1..=1), window("u", [])] {
        leases.leave(&key, Memory::Whole(&window)).await;
        for _ in 0..2 {
            assert_eq!(leases.remembered(&key).await, leases.expected(&window));
        }
    }
    // Who has it by force gets it, too.
    let left = window("u", 1..=2);
    leases.leave(&key, Memory::Whole(&left)).await;
    assert!(leases.takes(&key, "first").await);
    let taken = leases.store.take(&key, &lease("second"), true).await.unwrap();
    assert_eq!(taken, Taken::Yes(leases.expected(&left)));
    assert_eq!(leases.remembered(&new_key()).await, None);
}

async fn a_turn_is_added_to_the_one_before_it(leases: &Leases) {
    let key = new_key();
    let mut grown = window("u", [1]);
    leases.leave(&key, Memory::Added("u", &grown.turns[0])).await;
    assert_eq!(leases.remembered(&key).await, leases.expected(&grown));
    for revision in 2..=5 {
        let turn = turn(revision);
        leases.leave(&key, Memory::Added("u", &turn)).await;
        grown.turns.push(turn);
        grown.revision = revision;
        assert_eq!(leases.remembered(&key).await, leases.expected(&grown));
    }
    // Where one is missing, doubled, or another session's, nothing is remembered.
    for (uid, revision) in [("u", 7), ("u", 5), ("u", 4), ("other", 6), ("", 6), ("u:5", 6)] {
        leases.leave(&key, Memory::Whole(&grown)).await;
        leases.leave(&key, Memory::Added(uid, &turn(revision))).await;
        assert_eq!(leases.remembered(&key).await, None, "{uid} {revision}");
        leases.leave(&key, Memory::Added("u", &turn(6))).await;
        assert_eq!(leases.remembered(&key).await, None);
    }
    // A first turn is the whole window.
    leases.leave(&key, Memory::Whole(&grown)).await;
    let first = window("other", [1]);
    leases.leave(&key, Memory::Added("other", &first.turns[0])).await;
    assert_eq!(leases.remembered(&key).await, leases.expected(&first));
}

/// A turn of so many bytes, and a few.
fn turn_of(revision: u64, bytes: usize) -> Turn {
    Turn { revision, model: "m".repeat(bytes), ..Turn::default() }
}

async fn a_window_that_grows_too_large_is_dropped(leases: &Leases) {
    let key = new_key();
    let third = WINDOW_BYTES / 3 - 10;
    let mut grown = Window { uid: "u".into(), revision: 0, turns: Vec::new() };
    for revision in 1..=3 {
        let turn = turn_of(revision, third);
        leases.leave(&key, Memory::Added("u", &turn)).await;
        grown.turns.push(turn);
        grown.revision = revision;
        assert_eq!(leases.remembered(&key).await, leases.expected(&grown));
    }
    leases.leave(&key, Memory::Added("u", &turn_of(4, third))).await;
    assert_eq!(leases.remembered(&key).await, None);

    leases.leave(&key, Memory::Whole(&grown)).await;
    assert_eq!(leases.remembered(&key).await, leases.expected(&grown));
    leases.leave(&key, Memory::Added("u", &turn_of(4, third))).await;
    assert_eq!(leases.remembered(&key).await, None);

    leases.leave(&key, Memory::Whole(&grown)).await;
    grown.turns.push(turn_of(4, third));
    grown.revision = 4;
    leases.leave(&key, Memory::Whole(&grown)).await;
    assert_eq!(leases.remembered(&key).await, None);
    leases.leave(&key, Memory::Added("u", &turn_of(1, WINDOW_BYTES))).await;
    assert_eq!(leases.remembered(&key).await, None);
}

async fn who_lost_the_lease_leaves_nothing_behind(leases: &Leases) {
    let key = new_key();
    let before = window("u", 1..=2);
    leases.leave(&key, Memory::Whole(&before)).await;
    let late = window("u", 1..=3);
    let memories = [Memory::Whole(&late), Memory::Added("u", &late.turns[2]), Memory::Unchanged];

    // Another has it.
    for memory in memories {
        assert!(leases.takes(&key, "late").await);
        assert!(matches!(leases.store.take(&key, &lease("next"), true).await.unwrap(), Taken::Yes(_)));
        leases.store.give_back(&key, "late", memory).await.unwrap();
        assert!(!leases.takes(&key, "third").await);
        leases.store.give_back(&key, "next", Memory::Unchanged).await.unwrap();
        assert_eq!(leases.remembered(&key).await, leases.expected(&before));
    }
    // Nobody has it.
    for memory in memories {
        leases.store.give_back(&key, "late", memory).await.unwrap();
        assert_eq!(leases.remembered(&key).await, leases.expected(&before));
    }
}

async fn what_is_forgotten_is_not_brought_back(leases: &Leases) {
    let key = new_key();
    let before = window("u", 1..=2);
    let third = turn(3);
    leases.store.forget(&key).await.unwrap();
    for memory in [Memory::Whole(&before), Memory::Added("u", &third), Memory::Unchanged] {
        leases.leave(&key, Memory::Whole(&before)).await;
        // Somebody has read it, and turns it into something else, while it is forgotten.
        assert!(leases.takes(&key, "runs").await);
        leases.store.forget(&key).await.unwrap();
        leases.store.forget(&key).await.unwrap();
        assert!(leases.store.renew(&key, &lease("runs")).await.unwrap());
        leases.store.give_back(&key, "runs", memory).await.unwrap();
        assert_eq!(leases.remembered(&key).await, None);
    }
    leases.leave(&key, Memory::Whole(&before)).await;
    leases.store.forget(&key).await.unwrap();
    assert_eq!(leases.remembered(&key).await, None);
    // And whoever comes next begins anew, even by force.
    assert!(leases.takes(&key, "runs").await);
    leases.store.forget(&key).await.unwrap();
    assert!(matches!(leases.store.take(&key, &lease("next"), true).await.unwrap(), Taken::Yes(None)));
    leases.store.give_back(&key, "next", Memory::Whole(&before)).await.unwrap();
    assert_eq!(leases.remembered(&key).await, leases.expected(&before));
}

#[tokio::test]
async fn who_renews_a_lease_that_was_lost_leaves_nothing_behind() {
    let leases = Leases::redis().await;
    let (key, left) = (new_key(), window("u", 1..=2));
    leases.leave(&key, Memory::Whole(&left)).await;
    assert!(leases.takes(&key, "a").await);
    redis().await.command(&["del", &format!("pm:{{{}/{}}}:lease", key.tenant, key.id)]).await.unwrap();
    assert!(leases.store.renew(&key, &lease("a")).await.unwrap());
    assert!(!leases.takes(&key, "b").await);
    leases.store.give_back(&key, "a", Memory::Whole(&window("u", 1..=3))).await.unwrap();
    assert_eq!(leases.remembered(&key).await, Some(left));
}

#[tokio::test]
async fn a_window_of_too_many_turns_is_dropped() {
    let url = redis().await.url();
    let urls = [&*url];
    let store = RedisLeases::new(&Reached { window_bytes: usize::MAX, ..reached(&urls) }).unwrap();
    let leases = Leases::redis().await;
    let last = MOST_TURNS as u64;
    let turns = (1..=last).map(|revision| Turn { revision, ..Turn::default() }).collect();
    let whole = Window { uid: "u".into(), revision: last, turns };
    let next = Turn { revision: last + 1, ..Turn::default() };
    let key = new_key();
    for (memory, is_kept) in [(Memory::Whole(&whole), true), (Memory::Added("u", &next), false)] {
        store.take(&key, &lease("a"), false).await.unwrap();
        store.give_back(&key, "a", memory).await.unwrap();
        assert_eq!(leases.remembered(&key).await.is_some_and(|window| window == whole), is_kept);
    }
}

#[tokio::test]
async fn what_nobody_uses_is_forgotten() {
    let url = redis().await.url();
    let urls = [&*url];
    let reached = Reached { window_ttl: Duration::from_millis(1), ..reached(&urls) };
    let store = RedisLeases::new(&reached).unwrap();
    let (key, left) = (new_key(), window("u", 1..=2));
    let long = lease("a");
    store.take(&key, &long, false).await.unwrap();
    store.give_back(&key, "a", Memory::Whole(&left)).await.unwrap();
    let forgotten = async || store.take(&key, &Lease { holder: "a", ..long }, false).await;
    eventually!(DEADLINE, matches!(forgotten().await, Ok(Taken::Yes(None)))).unwrap();
    let name = format!("pm:{{t/{}}}:window", key.id);
    assert_eq!(redis().await.command(&["exists", &name]).await.unwrap(), "0");
}

#[tokio::test]
async fn what_cannot_be_read_is_no_window_and_goes() {
    let leases = Leases::redis().await;
    let server = redis().await;
    for broken in [
        &["set", "WINDOW", "a string"][..],
        &["hset", "WINDOW", "a", "hash"],
        &["rpush", "WINDOW", "no header"],
        &["rpush", "WINDOW", "u:2:1", "no turn"],
        &["rpush", "WINDOW", "u:x:1"],
    ] {
        let (key, whole) = (new_key(), window("u", 1..=2));
        let name = format!("pm:{{t/{}}}:window", key.id);
        let broken: Vec<_> = broken.iter().map(|word| if *word == "WINDOW" { &name } else { *word }).collect();
        // Read,
        server.command(&broken).await.unwrap();
        assert_eq!(leases.remembered(&key).await, None, "{broken:?}");
        assert_eq!(server.command(&["exists", &name]).await.unwrap(), "0", "{broken:?}");
        // added to,
        assert!(leases.takes(&key, "a").await);
        server.command(&broken).await.unwrap();
        leases.store.give_back(&key, "a", Memory::Added("u", &turn(3))).await.unwrap();
        assert_eq!(leases.remembered(&key).await, None, "{broken:?}");
        // and replaced.
        assert!(leases.takes(&key, "a").await);
        server.command(&broken).await.unwrap();
        leases.store.give_back(&key, "a", Memory::Whole(&whole)).await.unwrap();
        assert_eq!(leases.remembered(&key).await, Some(whole), "{broken:?}");
    }
}
