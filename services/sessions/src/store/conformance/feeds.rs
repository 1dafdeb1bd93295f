use std::collections::BTreeMap;

use futures::future::join_all;
use pointsman_proto::sessions::v1::Fence;
use pointsman_testkit::eventually;

use super::places::{DEADLINE, Database};
use super::samples::{BEGIN, commit, erasure, fence, key, turn};
use crate::store::{Claim, Claimed, Committed, Group, SessionKey, Who};

on_databases![
    a_group_is_told_turns_from_its_beginning_on,
    a_group_may_be_told_everything,
    what_is_claimed_is_nobody_elses_for_a_time,
    what_is_acknowledged_late_is_refused,
    who_leaves_leaves_all_to_others,
    a_group_of_a_channel_is_told_its_sessions,
    groups_and_tenants_are_apart,
    a_group_that_ends_is_gone,
    what_is_erased_is_told_to_nobody,
    everything_is_told_in_order_whoever_shares_it,
    a_group_made_while_turns_are_committed_is_told_all,
    whatever_consumers_do_turns_are_committed,
];

const GROUP: Group<'_> = Group { tenant: "t", name: "group" };
const CLAIM: Claim<'_> = Claim { consumer: "a", now: BEGIN, until: BEGIN + 10, limit: 10 };

/// Commits so many more turns to a session.
async fn go_on(database: &Database, key: &SessionKey, turns: u64) {
    let session = database.session(key).await;
    for revision in session.revision + 1..=session.revision + turns {
        let next = turn(revision);
        let place = Fence { revision: revision - 1, ..fence(&session) };
        let done = database.turns().commit(&commit(key, &place, &next)).await.unwrap();
        assert!(matches!(done, Committed::Now), "{done:?}");
    }
}

/// Claims, and says of each session what was acknowledged of it.
async fn claimed(database: &Database, group: Group<'_>, claim: Claim<'_>) -> BTreeMap<String, u64> {
    let claimed = database.feed().claim(&group, &claim).await.unwrap();
    claimed.into_iter().map(|claimed| (claimed.id, claimed.acknowledged)).collect()
}

fn sessions(sessions: &[(&str, u64)]) -> BTreeMap<String, u64> {
    sessions.iter().map(|(id, acknowledged)| ((*id).to_owned(), *acknowledged)).collect()
}

async fn a_group_is_told_turns_from_its_beginning_on(database: &Database) {
    let (old, new) = (key("t", "old"), key("t", "new"));
    let (session, _) = database.made_with(&old, 2).await;
    assert_eq!(database.feed().join(&GROUP, "", false).await.unwrap(), "");
    assert!(claimed(database, GROUP, CLAIM).await.is_empty());
    go_on(database, &old, 2).await;
    database.made_with(&new, 1).await;
    // Whoever joins later finds it as it is.
    assert_eq!(database.feed().join(&GROUP, "other", true).await.unwrap(), "");
    assert_eq!(claimed(database, GROUP, CLAIM).await, sessions(&[("old", 2), ("new", 0)]));
    assert!(database.feed().acknowledge(&GROUP, "a", &session.uid, 3).await.unwrap());
    assert_eq!(claimed(database, GROUP, CLAIM).await, sessions(&[("old", 3)]));
    assert!(database.feed().acknowledge(&GROUP, "a", &session.uid, 4).await.unwrap());
    assert!(claimed(database, GROUP, CLAIM).await.is_empty());
    go_on(database, &old, 1).await;
    assert_eq!(claimed(database, GROUP, CLAIM).await, sessions(&[("old", 4)]));
}

async fn a_group_may_be_told_everything(database: &Database) {
    database.made_with(&key("t", "old"), 2).await;
    database.made(&key("t", "empty")).await;
    database.feed().join(&GROUP, "", true).await.unwrap();
    let claims = database.feed().claim(&GROUP, &CLAIM).await.unwrap();
    let old = database.session(&key("t", "old")).await;
    assert_eq!(claims, [Claimed { id: "old".into(), uid: old.uid, acknowledged: 0 }]);
    go_on(database, &key("t", "empty"), 1).await;
    assert_eq!(claimed(database, GROUP, CLAIM).await, sessions(&[("empty", 0)]));
}

async fn what_is_claimed_is_nobody_elses_for_a_time(database: &Database) {
    database.feed().join(&GROUP, "", false).await.unwrap();
    for id in ["x", "y", "z"] {
        database.made_with(&key("t", id), 1).await;
    }
    let two = claimed(database, GROUP, Claim { limit: 2, ..CLAIM }).await;
    assert_eq!(two.len(), 2);
    let other = Claim { consumer: "b", ..CLAIM };
    let third = claimed(database, GROUP, other).await;
    assert_eq!(third.len(), 1);
    assert!(third.keys().all(|id| !two.contains_key(id)));
    // More turns of what is claimed are told with the next claim, even to whom it belongs.
    go_on(database, &key("t", two.keys().next().unwrap()), 1).await;
    for consumer in ["a", "b", "c"] {
        assert!(claimed(database, GROUP, Claim { consumer, now: BEGIN + 9, ..CLAIM }).await.is_empty());
    }
    let all = claimed(database, GROUP, Claim { consumer: "c", now: BEGIN + 10, until: BEGIN + 20, limit: 10 }).await;
    assert_eq!(all, sessions(&[("x", 0), ("y", 0), ("z", 0)]));
}

async fn what_is_acknowledged_late_is_refused(database: &Database) {
    database.feed().join(&GROUP, "", false).await.unwrap();
    let (made, _) = database.made_with(&key("t", "s"), 3).await;
    let acknowledge =
        async |consumer, revision| database.feed().acknowledge(&GROUP, consumer, &made.uid, revision).await.unwrap();
    assert!(!acknowledge("a", 1).await);
    claimed(database, GROUP, CLAIM).await;
    assert!(!acknowledge("b", 1).await);
    // Its time is over, and nobody else has it yet.
    assert!(acknowledge("a", 1).await);
    assert!(!acknowledge("a", 2).await, "it is not a's any more");
    claimed(database, GROUP, CLAIM).await;
    assert!(!acknowledge("a", 1).await, "it was before");
    claimed(database, GROUP, Claim { consumer: "b", now: BEGIN + 10, until: BEGIN + 20, ..CLAIM }).await;
    assert!(!acknowledge("a", 3).await);
    assert!(!acknowledge("b", 4).await, "there is none yet");
    assert!(acknowledge("b", 3).await);
    assert!(claimed(database, GROUP, Claim { now: BEGIN + 30, ..CLAIM }).await.is_empty());
}

async fn who_leaves_leaves_all_to_others(database: &Database) {
    database.feed().join(&GROUP, "", false).await.unwrap();
    for id in ["x", "y", "z"] {
        database.made_with(&key("t", id), 1).await;
    }
    let two = claimed(database, GROUP, Claim { limit: 2, ..CLAIM }).await;
    let third = claimed(database, GROUP, Claim { consumer: "b", ..CLAIM }).await;
    for consumer in ["a", "a", "nobody"] {
        database.feed().leave(&GROUP, consumer).await.unwrap();
    }
    assert_eq!(claimed(database, GROUP, Claim { consumer: "c", ..CLAIM }).await, two);
    let (id, _) = third.first_key_value().unwrap();
    let uid = database.session(&key("t", id)).await.uid;
    assert!(database.feed().acknowledge(&GROUP, "b", &uid, 1).await.unwrap());
}

async fn a_group_of_a_channel_is_told_its_sessions(database: &Database) {
    let bind = async |id: &str, channel: &str, external_user: &str| {
        let who = Who { tenant: "t", channel, external_user, time: BEGIN };
        database.bindings().bind(&who, &key("t", id)).await.unwrap().unwrap();
    };
    for id in ["web", "phone", "both", "none"] {
        database.made_with(&key("t", id), 1).await;
    }
    for (id, channel) in [("web", "web"), ("phone", "phone"), ("both", "web"), ("both", "phone")] {
        bind(id, channel, id).await;
    }
    // The same session, and one person more.
    bind("web", "web", "another").await;
    assert_eq!(database.feed().join(&GROUP, "web", true).await.unwrap(), "web");
    assert_eq!(database.feed().join(&GROUP, "", true).await.unwrap(), "web");
    assert_eq!(claimed(database, GROUP, CLAIM).await, sessions(&[("web", 0), ("both", 0)]));
    for id in ["web", "phone", "both", "none"] {
        go_on(database, &key("t", id), 1).await;
    }
    let later = Claim { now: BEGIN + 10, until: BEGIN + 20, ..CLAIM };
    assert_eq!(claimed(database, GROUP, later).await, sessions(&[("web", 0), ("both", 0)]));
    bind("none", "web", "late").await;
    go_on(database, &key("t", "none"), 1).await;
    assert_eq!(claimed(database, GROUP, later).await, sessions(&[("none", 0)]));
}

async fn groups_and_tenants_are_apart(database: &Database) {
    let groups = [GROUP, Group { name: "Group", ..GROUP }, Group { tenant: "other", ..GROUP }];
    for group in groups {
        database.feed().join(&group, "", false).await.unwrap();
    }
    let (made, _) = database.made_with(&key("t", "s"), 1).await;
    for group in &groups[..2] {
        assert_eq!(claimed(database, *group, CLAIM).await, sessions(&[("s", 0)]));
    }
    assert!(claimed(database, groups[2], CLAIM).await.is_empty());
    assert!(!database.feed().acknowledge(&groups[2], "a", &made.uid, 1).await.unwrap());
    database.feed().leave(&groups[2], "a").await.unwrap();
    assert!(database.feed().acknowledge(&groups[0], "a", &made.uid, 1).await.unwrap());
    assert!(claimed(database, groups[1], Claim { consumer: "b", ..CLAIM }).await.is_empty());
    assert!(database.feed().acknowledge(&groups[1], "a", &made.uid, 1).await.unwrap());
}

async fn a_group_that_ends_is_gone(database: &Database) {
    database.feed().join(&GROUP, "", false).await.unwrap();
    let (made, _) = database.made_with(&key("t", "s"), 1).await;
    claimed(database, GROUP, CLAIM).await;
    assert!(!database.feed().end(&Group { tenant: "other", ..GROUP }).await.unwrap());
    assert!(database.feed().end(&GROUP).await.unwrap());
    assert!(!database.feed().end(&GROUP).await.unwrap());
    assert!(!database.feed().acknowledge(&GROUP, "a", &made.uid, 1).await.unwrap());
    go_on(database, &key("t", "s"), 1).await;
    assert!(claimed(database, GROUP, Claim { now: BEGIN + 10, ..CLAIM }).await.is_empty());
    assert_eq!(database.feed().join(&GROUP, "web", false).await.unwrap(), "web");
    assert!(claimed(database, GROUP, CLAIM).await.is_empty());
}

async fn what_is_erased_is_told_to_nobody(database: &Database) {
    let key = key("t", "s");
    database.feed().join(&GROUP, "", false).await.unwrap();
    let (made, _) = database.made_with(&key, 2).await;
    claimed(database, GROUP, CLAIM).await;
    database.erasures().erase(&key, &erasure(&key, 1), None).await.unwrap().unwrap();
    let later = Claim { now: BEGIN + 10, ..CLAIM };
    assert!(claimed(database, GROUP, later).await.is_empty());
    assert!(!database.feed().acknowledge(&GROUP, "a", &made.uid, 1).await.unwrap());
    database.made_with(&key, 1).await;
    assert_eq!(claimed(database, GROUP, later).await, sessions(&[("s", 0)]));
}

const SESSIONS: usize = 4;
const TURNS: u64 = 8;

/// What a group acknowledged: of each session, from where to where.
async fn consume(database: &Database, group: Group<'_>, consumer: &str) -> Vec<(String, u64, u64)> {
    let mut done = Vec::new();
    for round in 0.. {
        // Sooner or later, what another has claimed is taken from them.
        let now = BEGIN + round * 3;
        let claim = Claim { consumer, now, until: now + 5, limit: 2 };
        let claims = database.feed().claim(&group, &claim).await.unwrap();
        for claim in claims {
            let turns = database.turns().list(&key(group.tenant, &claim.id), claim.acknowledged, 3, u64::MAX).await;
            let Some(last) = turns.unwrap().last().map(|turn| turn.revision) else { continue };
            if database.feed().acknowledge(&group, consumer, &claim.uid, last).await.unwrap() {
                done.push((claim.uid, claim.acknowledged, last));
            }
        }
        if round % 7 == 6 {
            database.feed().leave(&group, consumer).await.unwrap();
        }
        if round > 60 {
            break;
        }
    }
    done
}

async fn everything_is_told_in_order_whoever_shares_it(database: &Database) {
    let keys: Vec<_> = (0..SESSIONS).map(|number| key("t", &format!("s-{number}"))).collect();
    for key in &keys {
        database.made(key).await;
    }
    let groups = [GROUP, Group { name: "second", ..GROUP }];
    for group in &groups {
        database.feed().join(group, "", false).await.unwrap();
    }
    let writing = join_all(keys.iter().map(|key| go_on(database, key, TURNS)));
    let consuming = groups.iter().flat_map(|group| ["a", "b", "c"].map(|consumer| consume(database, *group, consumer)));
    let (_, mut done) = tokio::join!(writing, join_all(consuming));
    for (number, group) in groups.into_iter().enumerate() {
        let mut told: Vec<_> = done[number * 3..number * 3 + 3].iter_mut().flat_map(std::mem::take).collect();
        // Whatever is left, when all is written.
        eventually!(DEADLINE, {
            database.feed().leave(&group, "a").await.unwrap();
            for consumer in ["b", "c"] {
                database.feed().leave(&group, consumer).await.unwrap();
            }
            told.extend(consume(database, group, "last").await);
            let last = told.iter().filter(|(_, _, last)| *last == TURNS).count();
            last == SESSIONS
        })
        .unwrap();
        told.sort();
        for key in &keys {
            let uid = database.session(key).await.uid;
            let mut reached = 0;
            for (_, from, to) in told.iter().filter(|(of, ..)| *of == uid) {
                assert_eq!(*from, reached, "{told:?}");
                reached = *to;
            }
            assert_eq!(reached, TURNS, "{told:?}");
        }
    }
}

async fn a_group_made_while_turns_are_committed_is_told_all(database: &Database) {
    for round in 0..12 {
        let tenant = format!("t-{round}");
        let keys: Vec<_> = (0..SESSIONS).map(|number| key(&tenant, &format!("s-{number}"))).collect();
        for key in &keys {
            database.made(key).await;
        }
        let writing = join_all(keys.iter().map(|key| go_on(database, key, 1)));
        let names: Vec<_> = (0..8).map(|number| number.to_string()).collect();
        let groups: Vec<_> = names.iter().map(|name| Group { tenant: &tenant, name }).collect();
        let joining = async {
            for group in &groups {
                database.feed().join(group, "", true).await.unwrap();
            }
        };
        tokio::join!(writing, joining);
        for group in groups {
            // A commit that was under way is told at the latest when somebody joins again.
            database.feed().join(&group, "", true).await.unwrap();
            let mut left: BTreeMap<_, _> = keys.iter().map(|key| (key.id.to_string(), 0)).collect();
            for claim in database.feed().claim(&group, &CLAIM).await.unwrap() {
                left.remove(&claim.id);
            }
            assert!(left.is_empty(), "{left:?} was not told to {group:?}");
        }
    }
}

async fn whatever_consumers_do_turns_are_committed(database: &Database) {
    let keys: Vec<_> = (0..SESSIONS).map(|number| key("t", &format!("s-{number}"))).collect();
    for key in &keys {
        database.made(key).await;
    }
    let writing = join_all(keys.iter().map(|key| go_on(database, key, TURNS * 2)));
    let meddling = async {
        for round in 0.. {
            let names = ["x", "y", "z"];
            let groups = names.map(|name| Group { name, ..GROUP });
            join_all(groups.iter().map(|group| database.feed().join(group, "", round % 2 == 0))).await;
            let claim = Claim { now: BEGIN + round * 10, until: BEGIN + round * 10 + 5, ..CLAIM };
            let claims = |consumer| groups.map(|group| consume_some(database, group, Claim { consumer, ..claim }));
            join_all(["a", "b", "c"].into_iter().flat_map(claims)).await;
            join_all(groups.iter().map(|group| database.feed().end(group))).await;
        }
    };
    tokio::select! {
        _ = writing => {}
        () = meddling => {}
    }
    for key in &keys {
        assert_eq!(database.all_turns(key).await.len() as u64, TURNS * 2);
    }
}

/// Claims, and leaves: whether there is such a group, and what becomes of it, is no matter.
async fn consume_some(database: &Database, group: Group<'_>, claim: Claim<'_>) {
    let _ = database.feed().claim(&group, &claim).await;
    let _ = database.feed().leave(&group, claim.consumer).await;
}
