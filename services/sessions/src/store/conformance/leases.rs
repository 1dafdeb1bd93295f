use std::time::Duration;

use futures::future::join_all;
use pointsman_testkit::eventually;

use super::places::{DEADLINE, Leases};
use super::samples::{key, window};
use crate::store::{Lease, Memory, SessionKey, Taken};

on_leases![memory, postgres, redis, cluster, sentinel => [
    one_has_it_until_it_is_given_back,
    of_many_who_take_it_one_does,
    it_is_taken_by_force,
    nobody_keeps_or_gives_back_what_another_has,
    it_ends_by_itself,
    it_lives_longer_if_it_is_renewed,
    who_takes_it_again_has_it_for_the_new_time,
    each_session_has_one_of_its_own,
]];

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(1);

pub(super) fn lease(holder: &str) -> Lease<'_> {
    Lease { holder, time: LONG }
}

/// A session that no other test has.
pub(super) fn new_key() -> SessionKey {
    key("t", &uuid::Uuid::new_v4().to_string())
}

impl Leases {
    /// Whether it is ours now.
    pub(super) async fn takes(&self, key: &SessionKey, holder: &str) -> bool {
        matches!(self.store.take(key, &lease(holder), false).await.unwrap(), Taken::Yes(_))
    }
}

async fn one_has_it_until_it_is_given_back(leases: &Leases) {
    let key = new_key();
    for holder in ["a", "b", "a"] {
        assert_eq!(leases.store.take(&key, &lease(holder), false).await.unwrap(), Taken::Yes(None));
        let held = leases.store.take(&key, &lease("other"), false).await.unwrap();
        assert!(matches!(held, Taken::Held(left) if Duration::ZERO < left && left <= LONG), "{held:?}");
        // The answer to the first may have been lost.
        assert!(leases.takes(&key, holder).await);
        assert!(leases.store.renew(&key, &lease(holder)).await.unwrap());
        leases.store.give_back(&key, holder, Memory::Unchanged).await.unwrap();
        // And to this.
        leases.store.give_back(&key, holder, Memory::Unchanged).await.unwrap();
    }
}

async fn of_many_who_take_it_one_does(leases: &Leases) {
    let key = new_key();
    for _ in 0..4 {
        let holders: Vec<_> = (0..16).map(|number| number.to_string()).collect();
        let taken = join_all(holders.iter().map(|holder| leases.takes(&key, holder))).await;
        let who: Vec<_> = holders.iter().zip(taken).filter(|(_, is_theirs)| *is_theirs).collect();
        assert_eq!(who.len(), 1, "{who:?}");
        leases.store.give_back(&key, who[0].0, Memory::Unchanged).await.unwrap();
    }
}

async fn it_is_taken_by_force(leases: &Leases) {
    let key = new_key();
    assert!(matches!(leases.store.take(&key, &lease("a"), true).await.unwrap(), Taken::Yes(None)));
    assert!(matches!(leases.store.take(&key, &lease("b"), true).await.unwrap(), Taken::Yes(None)));
    assert!(!leases.takes(&key, "a").await);
    assert!(!leases.store.renew(&key, &lease("a")).await.unwrap());
    leases.store.give_back(&key, "a", Memory::Unchanged).await.unwrap();
    assert!(!leases.takes(&key, "c").await);
    assert!(leases.store.renew(&key, &lease("b")).await.unwrap());
    leases.store.give_back(&key, "b", Memory::Unchanged).await.unwrap();
    assert!(leases.takes(&key, "c").await);
}

async fn nobody_keeps_or_gives_back_what_another_has(leases: &Leases) {
    let key = new_key();
    assert!(leases.takes(&key, "a").await);
    assert!(!leases.store.renew(&key, &lease("b")).await.unwrap());
    for holder in ["b", "", "A", "-a", "a-"] {
        leases.store.give_back(&key, holder, Memory::Whole(&window("u", 1..=2))).await.unwrap();
        assert!(!leases.takes(&key, "c").await, "{holder:?} has given it back");
    }
    assert!(leases.store.renew(&key, &lease("a")).await.unwrap());
    leases.store.forget(&key).await.unwrap();
    assert!(!leases.takes(&key, "c").await);
    assert!(leases.store.renew(&key, &lease("a")).await.unwrap());
    leases.store.give_back(&key, "a", Memory::Unchanged).await.unwrap();
    assert!(leases.takes(&key, "c").await);
}

async fn it_ends_by_itself(leases: &Leases) {
    let key = new_key();
    let short = Lease { holder: "a", time: SHORT };
    assert!(matches!(leases.store.take(&key, &short, false).await.unwrap(), Taken::Yes(_)));
    eventually!(DEADLINE, leases.takes(&key, "b").await).unwrap();
    // What was its holder has no more say in it.
    assert!(!leases.store.renew(&key, &short).await.unwrap());
    leases.store.give_back(&key, "a", Memory::Unchanged).await.unwrap();
    assert!(!leases.takes(&key, "c").await);
}

async fn it_lives_longer_if_it_is_renewed(leases: &Leases) {
    let key = new_key();
    let short = Lease { holder: "a", time: SHORT };
    assert!(matches!(leases.store.take(&key, &short, false).await.unwrap(), Taken::Yes(_)));
    // Even where it has ended meanwhile, since nobody else took it.
    assert!(leases.store.renew(&key, &lease("a")).await.unwrap());
    let held = leases.store.take(&key, &lease("b"), false).await.unwrap();
    assert!(matches!(held, Taken::Held(left) if LONG / 2 < left && left <= LONG), "{held:?}");
    // And shorter.
    assert!(leases.store.renew(&key, &short).await.unwrap());
    eventually!(DEADLINE, leases.takes(&key, "b").await).unwrap();
}

async fn who_takes_it_again_has_it_for_the_new_time(leases: &Leases) {
    let key = new_key();
    for by_force in [false, true] {
        let tenth = Lease { holder: "a", time: LONG / 10 };
        assert!(matches!(leases.store.take(&key, &tenth, by_force).await.unwrap(), Taken::Yes(_)));
        assert!(matches!(leases.store.take(&key, &lease("a"), by_force).await.unwrap(), Taken::Yes(_)));
        let held = leases.store.take(&key, &lease("b"), false).await.unwrap();
        assert!(matches!(held, Taken::Held(left) if LONG / 2 < left && left <= LONG), "{held:?}");
    }
}

async fn each_session_has_one_of_its_own(leases: &Leases) {
    let id = uuid::Uuid::new_v4().to_string();
    let keys = [key("t", &id), key("other", &id), key("t", &format!("{id}.")), key("T", &id)];
    for key in &keys {
        assert!(leases.takes(key, "a").await, "{key:?}");
    }
    leases.store.give_back(&keys[0], "a", Memory::Unchanged).await.unwrap();
    assert!(leases.takes(&keys[0], "b").await);
    for key in &keys[1..] {
        assert!(!leases.takes(key, "b").await, "{key:?}");
        leases.store.give_back(key, "a", Memory::Unchanged).await.unwrap();
    }
}
