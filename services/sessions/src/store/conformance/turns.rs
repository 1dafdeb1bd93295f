use futures::future::join_all;
use pointsman_proto::sessions::v1::{Fence, Session, SessionState, Turn};

use super::places::Database;
use super::samples::{self, END, RETENTION, commit, erasure, fence, key, revisions, session, time, turn};
use crate::store::sql::micros_of;
use crate::store::{Awaited, Commit, Committed, Created, SessionKey};

on_databases![
    a_commit_moves_the_session,
    a_session_is_kept_as_long_as_it_says_when_it_is_committed_to,
    a_commit_leaves_calls_open_until_the_next,
    whoever_stands_elsewhere_commits_nothing,
    a_commit_repeated_is_done_once,
    of_many_commits_at_one_place_one_is_done,
    of_one_commit_sent_often_one_is_done,
    what_is_superseded_commits_nothing,
    the_last_turn_is_replaced,
    turns_are_listed_in_pages,
    a_turn_is_pinned_and_let_go,
    tenants_do_not_reach_each_others_turns,
];

const NOTHING: Awaited<'static> = Awaited { calls: &[], until: 0 };

async fn a_commit_moves_the_session(database: &Database) {
    let key = key("t", "s");
    let made = database.made(&key).await;
    let first = turn(1);
    let place = fence(&made);
    let commit = Commit { retention: 5, ..commit(&key, &place, &first) };
    assert!(matches!(database.turns().commit(&commit).await.unwrap(), Committed::Now));
    let expire_time = first.create_time.map(|committed| time(micros_of(Some(&committed)) + 5));
    let moved = Session { revision: 1, update_time: first.create_time, expire_time, ..made };
    assert_eq!(database.session(&key).await, moved);
    assert_eq!(database.all_turns(&key).await, [first]);
}

async fn a_session_is_kept_as_long_as_it_says_when_it_is_committed_to(database: &Database) {
    let key = key("t", "s");
    let made = database.made(&key).await;
    // Both begin before it changes.
    let mut place = fence(&made);
    for (revision, said, kept) in [(1, Some(60), 60_000_000), (2, Some(3600), 3_600_000_000), (3, None, RETENTION)] {
        let found = database.session(&key).await;
        let retention = said.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let changed = Session { retention, ..found.clone() };
        let changed = database.sessions().update(&key, &found.etag, &changed).await.unwrap().unwrap();
        // That is for whoever changes it.
        assert_eq!(changed.expire_time, found.expire_time);
        let next = turn(revision);
        assert!(matches!(database.turns().commit(&commit(&key, &place, &next)).await.unwrap(), Committed::Now));
        let now = database.session(&key).await;
        assert_eq!(micros_of(now.expire_time.as_ref()), micros_of(next.create_time.as_ref()) + kept);
        place.revision = revision;
    }
    // One that is forked says the same.
    let forked = Session { retention: Some(prost_types::Duration { seconds: 90, nanos: 0 }), ..session(&key) };
    let to = samples::key("t", "fork");
    assert_eq!(database.sessions().fork(&fence(&made), &to, &forked).await.unwrap(), Some(Created::Yes));
    let first = turn(1);
    database.turns().commit(&commit(&to, &fence(&forked), &first)).await.unwrap();
    let now = database.session(&to).await;
    assert_eq!(micros_of(now.expire_time.as_ref()), micros_of(first.create_time.as_ref()) + 90_000_000);
}

async fn a_commit_leaves_calls_open_until_the_next(database: &Database) {
    let key = key("t", "s");
    let made = database.made(&key).await;
    let awaited = ["call_1".to_owned(), "Ruf 2/🚂".to_owned()];
    let (first, place) = (turn(1), fence(&made));
    let commit_calls = Commit { awaited: Awaited { calls: &awaited, until: END + 7 }, ..commit(&key, &place, &first) };
    database.turns().commit(&commit_calls).await.unwrap();
    let now = database.session(&key).await;
    assert_eq!(now.state(), SessionState::AwaitingTools);
    assert_eq!((&*now.awaited_tool_call_ids, now.tool_expire_time), (&awaited[..], Some(time(END + 7))));
    let (second, place) = (turn(2), fence(&now));
    database.turns().commit(&commit(&key, &place, &second)).await.unwrap();
    let now = database.session(&key).await;
    assert_eq!((now.state(), now.awaited_tool_call_ids.len()), (SessionState::Idle, 0));
    assert_eq!(now.tool_expire_time, None);
}

/// Tries a commit that must be refused.
async fn refused(database: &Database, key: &SessionKey, fence: Fence, turn: &Turn) {
    let done = database.turns().commit(&commit(key, &fence, turn)).await.unwrap();
    assert!(matches!(done, Committed::Conflict), "{fence:?}: {done:?}");
}

async fn whoever_stands_elsewhere_commits_nothing(database: &Database) {
    let key = key("t", "s");
    let (made, turns) = database.made_with(&key, 2).await;
    let place = fence(&made);
    let next = turn(3);
    refused(database, &key, Fence { revision: 1, ..place.clone() }, &Turn { revision: 2, ..next.clone() }).await;
    refused(database, &key, Fence { revision: 3, ..place.clone() }, &Turn { revision: 4, ..next.clone() }).await;
    refused(database, &key, Fence { epoch: 1, ..place.clone() }, &next).await;
    refused(database, &key, Fence { uid: session(&key).uid, ..place.clone() }, &next).await;
    refused(database, &key, Fence { uid: String::new(), ..place.clone() }, &next).await;
    refused(database, &super::samples::key("t", "none"), place.clone(), &next).await;
    // Committed there, and of another session that has the name now.
    let elsewhere = Fence { uid: session(&key).uid, revision: 1, ..place };
    refused(database, &key, elsewhere, &turns[1]).await;
    assert_eq!(database.session(&key).await, made);
    assert_eq!(database.all_turns(&key).await, turns);
}

async fn a_commit_repeated_is_done_once(database: &Database) {
    let key = key("t", "s");
    let (made, turns) = database.made_with(&key, 1).await;
    let second = turn(2);
    let place = fence(&made);
    let first_time = Commit { digest: u64::MAX - 3, ..commit(&key, &place, &second) };
    assert!(matches!(database.turns().commit(&first_time).await.unwrap(), Committed::Now));
    let after = database.session(&key).await;
    // With another answer, another digest, or where the session stands now: the first one holds.
    let other = Turn { output: None, create_time: Some(time(END)), ..second.clone() };
    let place_now = fence(&after);
    let there_now = Turn { revision: 3, ..other.clone() };
    for again in [
        commit(&key, &place, &second),
        Commit { digest: 1, ..commit(&key, &place, &other) },
        commit(&key, &place_now, &there_now),
    ] {
        let done = database.turns().commit(&again).await.unwrap();
        let Committed::Before(told, digest) = done else { panic!("{done:?}") };
        assert_eq!((told, digest), (second.clone(), u64::MAX - 3));
    }
    assert_eq!(database.session(&key).await, after);
    assert_eq!(database.all_turns(&key).await, [turns[0].clone(), second.clone()]);
    let third = turn(3);
    assert!(matches!(database.turns().commit(&commit(&key, &place_now, &third)).await.unwrap(), Committed::Now));
    let done = database.turns().commit(&first_time).await.unwrap();
    assert!(matches!(&done, Committed::Before(told, _) if *told == second), "{done:?}");
}

async fn of_many_commits_at_one_place_one_is_done(database: &Database) {
    let key = key("t", "s");
    let mut place = fence(&database.made(&key).await);
    for revision in 1..=4 {
        let turns: Vec<_> =
            (0..16).map(|number| Turn { request_id: format!("{revision} of {number}"), ..turn(revision) }).collect();
        let commits: Vec<_> = turns.iter().map(|turn| commit(&key, &place, turn)).collect();
        let done = join_all(commits.iter().map(|commit| database.turns().commit(commit))).await;
        let won: Vec<_> = (0..16).filter(|number| matches!(done[*number], Ok(Committed::Now))).collect();
        let lost = done.iter().filter(|done| matches!(done, Ok(Committed::Conflict))).count();
        assert_eq!((won.len(), lost), (1, 15), "{done:?}");
        assert_eq!(database.all_turns(&key).await.last(), Some(&turns[won[0]]));
        place.revision += 1;
    }
    assert_eq!(revisions(&database.all_turns(&key).await), [1, 2, 3, 4]);
    assert_eq!(database.session(&key).await.revision, 4);
}

async fn of_one_commit_sent_often_one_is_done(database: &Database) {
    let key = key("t", "s");
    let place = fence(&database.made(&key).await);
    let first = turn(1);
    let commit = commit(&key, &place, &first);
    let done = join_all((0..16).map(|_| database.turns().commit(&commit))).await;
    let now = done.iter().filter(|done| matches!(done, Ok(Committed::Now))).count();
    let before = done.iter().filter(|done| matches!(done, Ok(Committed::Before(told, 7)) if *told == first)).count();
    assert_eq!((now, before), (1, 15), "{done:?}");
    assert_eq!(database.all_turns(&key).await, [first]);
}

async fn what_is_superseded_commits_nothing(database: &Database) {
    let key = key("t", "s");
    let (made, turns) = database.made_with(&key, 1).await;
    let second = turn(2);
    database.turns().supersede(&key).await.unwrap();
    database.turns().supersede(&super::samples::key("t", "none")).await.unwrap();
    refused(database, &key, fence(&made), &second).await;
    let now = database.session(&key).await;
    assert_eq!(now, Session { epoch: 1, ..made });
    let place = fence(&now);
    assert!(matches!(database.turns().commit(&commit(&key, &place, &second)).await.unwrap(), Committed::Now));
    // What was committed before it was superseded, was.
    let done = database.turns().commit(&commit(&key, &fence(&session(&key)), &turns[0])).await.unwrap();
    assert!(matches!(done, Committed::Conflict), "{done:?}");
    let begin = Fence { revision: 0, epoch: 0, ..place };
    let done = database.turns().commit(&commit(&key, &begin, &turns[0])).await.unwrap();
    assert!(matches!(done, Committed::Before(..)), "{done:?}");
    assert_eq!(database.all_turns(&key).await, [turns[0].clone(), second]);
}

async fn the_last_turn_is_replaced(database: &Database) {
    let key = key("t", "s");
    let (made, turns) = database.made_with(&key, 1).await;
    let awaited = ["call".to_owned()];
    let (second, place) = (Turn { pinned: true, ..turn(2) }, fence(&made));
    let calls = Commit { awaited: Awaited { calls: &awaited, until: END }, ..commit(&key, &place, &second) };
    database.turns().commit(&calls).await.unwrap();
    let now = database.session(&key).await;
    let bytes = database.opened(&key, "none").await.bytes;
    // Its time and its pin are kept, whatever the other one says.
    let short = Turn { output: None, model: "m".repeat(1000), ..second.clone() };
    let other = Turn { pinned: false, create_time: None, revision: 9, ..short.clone() };
    let own = fence(&now);
    let theirs = super::samples::key("other", "s");
    for (key, fence) in [
        (&key, Fence { revision: 1, ..own.clone() }),
        (&key, Fence { revision: 3, ..own.clone() }),
        (&key, Fence { epoch: 1, ..own.clone() }),
        (&key, Fence { uid: session(&key).uid, ..own.clone() }),
        (&theirs, own.clone()),
    ] {
        assert!(!database.turns().replace_last(key, &fence, &other, NOTHING).await.unwrap(), "{fence:?}");
    }
    assert_eq!(database.all_turns(&key).await, [turns[0].clone(), second.clone()]);
    assert!(database.turns().replace_last(&key, &own, &other, NOTHING).await.unwrap());
    assert_eq!(database.all_turns(&key).await, [turns[0].clone(), short.clone()]);
    let opened = database.opened(&key, &second.request_id).await;
    assert_eq!(opened.committed, Some((short.clone(), 7)));
    assert!((bytes + 900..bytes + 1100).contains(&opened.bytes), "{} after {bytes}", opened.bytes);
    let replaced = opened.session.unwrap();
    assert_eq!((replaced.epoch, replaced.revision, replaced.state()), (now.epoch + 1, 2, SessionState::Idle));
    // Once, and whoever began before it commits nothing.
    assert!(!database.turns().replace_last(&key, &own, &second, NOTHING).await.unwrap());
    refused(database, &key, own, &turn(3)).await;
    let again = database.turns().commit(&calls).await.unwrap();
    assert!(matches!(&again, Committed::Before(turn, 7) if *turn == short), "{again:?}");
    // One that ends in calls is waited for.
    let (place, awaits) = (fence(&replaced), Awaited { calls: &awaited, until: END });
    assert!(database.turns().replace_last(&key, &place, &short, awaits).await.unwrap());
    let now = database.session(&key).await;
    assert_eq!((now.state(), &now.awaited_tool_call_ids[..]), (SessionState::AwaitingTools, &awaited[..]));
    let empty = super::samples::key("t", "empty");
    let none = fence(&database.made(&empty).await);
    assert!(!database.turns().replace_last(&empty, &none, &second, NOTHING).await.unwrap());
}

async fn turns_are_listed_in_pages(database: &Database) {
    let key = key("t", "s");
    let (_, turns) = database.made_with(&key, 5).await;
    let bytes = database.opened(&key, "none").await.bytes;
    for (after, limit, most_bytes, wanted) in [
        (0, 100, u64::MAX, vec![1, 2, 3, 4, 5]),
        (0, 2, u64::MAX, vec![1, 2]),
        (2, 2, u64::MAX, vec![3, 4]),
        (4, 2, u64::MAX, vec![5]),
        (5, 2, u64::MAX, vec![]),
        (u64::MAX, 2, u64::MAX, vec![]),
        // There is always one, if there is one at all.
        (0, 100, 1, vec![1]),
        (3, 100, 1, vec![4]),
        (0, 100, bytes * 2 / 5, vec![1, 2]),
        (0, 100, bytes * 2 / 5 + 1, vec![1, 2, 3]),
        (0, 2, bytes, vec![1, 2]),
        (0, 0, bytes, vec![]),
    ] {
        let page = database.turns().list(&key, after, limit, most_bytes).await.unwrap();
        assert_eq!(revisions(&page), wanted, "after {after}, {limit} turns, {most_bytes} of {bytes} bytes");
        assert!(page.iter().all(|turn| turns.contains(turn)));
    }
    let none = database.turns().list(&super::samples::key("t", "none"), 0, 100, u64::MAX).await.unwrap();
    assert_eq!(none, []);
}

async fn a_turn_is_pinned_and_let_go(database: &Database) {
    let key = key("t", "s");
    let (made, turns) = database.made_with(&key, 3).await;
    let pinned = Turn { pinned: true, ..turns[1].clone() };
    for (is_pinned, wanted) in [(true, &pinned), (true, &pinned), (false, &turns[1])] {
        assert_eq!(database.turns().pin(&key, 2, is_pinned).await.unwrap().as_ref(), Some(wanted));
        assert_eq!(database.all_turns(&key).await, [turns[0].clone(), wanted.clone(), turns[2].clone()]);
    }
    for (id, revision) in [("s", 0), ("s", 4), ("s", u64::MAX), ("none", 1)] {
        let none = super::samples::key("t", id);
        assert_eq!(database.turns().pin(&none, revision, true).await.unwrap(), None);
    }
    assert_eq!(database.session(&key).await, made);
    let (fourth, place) = (Turn { pinned: true, ..turn(4) }, fence(&made));
    database.turns().commit(&commit(&key, &place, &fourth)).await.unwrap();
    assert_eq!(database.all_turns(&key).await[3], fourth);
}

async fn tenants_do_not_reach_each_others_turns(database: &Database) {
    let (mine, yours) = (key("mine", "s"), key("yours", "s"));
    let (made, turns) = database.made_with(&mine, 2).await;
    let next = turn(3);
    refused(database, &yours, fence(&made), &next).await;
    refused(database, &yours, Fence { revision: 1, ..fence(&made) }, &turns[1]).await;
    database.turns().supersede(&yours).await.unwrap();
    assert_eq!(database.turns().pin(&yours, 1, true).await.unwrap(), None);
    assert!(database.all_turns(&yours).await.is_empty());
    let opened = database.opened(&yours, "request-1").await;
    assert!(opened.session.is_none() && opened.committed.is_none() && opened.turns.is_empty());
    assert_eq!(database.erasures().erase(&yours, &erasure(&yours, 1), None).await.unwrap(), None);
    // The same holds where they have a session of that name.
    database.made_with(&yours, 1).await;
    refused(database, &yours, fence(&made), &next).await;
    database.turns().supersede(&yours).await.unwrap();
    assert_eq!(database.session(&mine).await, made);
    assert_eq!(database.all_turns(&mine).await, turns);
}
