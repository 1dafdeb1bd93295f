use futures::future::join_all;
use pointsman_proto::sessions::v1::{Erasure, Session};

use super::places::Database;
use super::samples::{self, BEGIN, END, commit, erasure, everything, fence, key, time, turn};
use crate::store::sql::micros_of;
use crate::store::{Commit, Committed, Created, SessionKey, Who};

on_databases![
    nothing_is_left_of_what_is_erased,
    what_has_the_name_afterwards_is_new,
    of_many_who_erase_one_does,
    nobody_commits_to_what_is_erased,
    only_what_has_expired_is_erased_by_its_time,
    what_expired_first_is_told_first,
    notes_are_listed_the_latest_first,
];

/// A session with all that may belong to one.
async fn with_everything(database: &Database, key: &SessionKey) -> Session {
    let labels = [("a".to_owned(), "b".to_owned())].into();
    let session = Session { labels, ..samples::session(key) };
    assert_eq!(database.sessions().create(key, &session).await.unwrap(), Created::Yes);
    let mut place = fence(&session);
    for revision in 1..=3 {
        let pinned = pointsman_proto::sessions::v1::Turn { pinned: revision == 1, ..turn(revision) };
        database.turns().commit(&commit(key, &place, &pinned)).await.unwrap();
        place.revision += 1;
    }
    database.bindings().bind(&who(&key.tenant), key).await.unwrap().unwrap();
    database.session(key).await
}

fn who(tenant: &str) -> Who<'_> {
    Who { tenant, channel: "web", external_user: "ada", time: BEGIN }
}

async fn nothing_is_left_of_what_is_erased(database: &Database) {
    let (key, other) = (key("t", "s"), key("other", "s"));
    let made = with_everything(database, &key).await;
    let theirs = with_everything(database, &other).await;
    let note = database.erasures().erase(&key, &erasure(&key, BEGIN + 9), None).await.unwrap().unwrap();
    assert_eq!(note, Erasure { uid: made.uid, turn_count: 3, ..erasure(&key, BEGIN + 9) });
    assert_eq!(database.erasures().erase(&key, &erasure(&key, BEGIN + 10), None).await.unwrap(), None);

    assert_eq!(database.sessions().get(&key).await.unwrap(), None);
    assert!(database.all_turns(&key).await.is_empty());
    assert!(database.ids(&everything("t")).await.is_empty());
    assert!(database.labelled("t", &[("a", "b")]).await.is_empty());
    assert_eq!(database.bindings().list(&key, 10).await.unwrap(), []);
    let opened = database.opened(&key, "request-1").await;
    assert!(opened.session.is_none() && opened.committed.is_none() && opened.turns.is_empty());
    assert_eq!(database.erasures().list("t", None, 10).await.unwrap(), [note]);

    assert_eq!(database.session(&other).await, theirs);
    assert_eq!(database.all_turns(&other).await.len(), 3);
    assert_eq!(database.bindings().list(&other, 10).await.unwrap().len(), 1);
    assert_eq!(database.erasures().list("other", None, 10).await.unwrap(), []);
}

async fn what_has_the_name_afterwards_is_new(database: &Database) {
    let key = key("t", "s");
    let old = with_everything(database, &key).await;
    database.erasures().erase(&key, &erasure(&key, 1), None).await.unwrap().unwrap();
    let new = database.made(&key).await;
    assert_eq!(database.session(&key).await, new);
    assert!(database.all_turns(&key).await.is_empty());
    assert_eq!(database.opened(&key, "request-1").await.bytes, 0);
    assert!(database.labelled("t", &[("a", "b")]).await.is_empty());
    let again = turn(1);
    let late = database.turns().commit(&commit(&key, &fence(&old), &turn(4))).await.unwrap();
    assert!(matches!(late, Committed::Conflict), "{late:?}");
    let done = database.turns().commit(&commit(&key, &fence(&new), &again)).await.unwrap();
    assert!(matches!(done, Committed::Now), "{done:?}");
    assert_eq!(database.all_turns(&key).await, [again]);
    database.erasures().erase(&key, &erasure(&key, 2), None).await.unwrap().unwrap();
    let notes = database.erasures().list("t", None, 10).await.unwrap();
    assert_eq!(notes.iter().map(|note| &*note.uid).collect::<Vec<_>>(), [&*new.uid, &*old.uid]);
    assert_eq!(notes.iter().map(|note| note.turn_count).collect::<Vec<_>>(), [1, 3]);
}

async fn of_many_who_erase_one_does(database: &Database) {
    let key = key("t", "s");
    with_everything(database, &key).await;
    let note = erasure(&key, 1);
    let erased = join_all((0..8).map(|_| database.erasures().erase(&key, &note, None))).await;
    let notes: Vec<_> = erased.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(database.erasures().list("t", None, 10).await.unwrap(), notes);
    assert_eq!(notes.len(), 1);
}

async fn nobody_commits_to_what_is_erased(database: &Database) {
    for round in 0..8 {
        let key = key("t", &format!("s-{round}"));
        let place = fence(&database.made(&key).await);
        let first = turn(1);
        let (first, note) = (commit(&key, &place, &first), erasure(&key, 1));
        let (committed, erased) =
            tokio::join!(database.turns().commit(&first), database.erasures().erase(&key, &note, None));
        let turns = match committed.unwrap() {
            Committed::Now => 1,
            Committed::Conflict => 0,
            before @ Committed::Before(..) => panic!("{before:?}"),
        };
        // A commit that was first is counted by the erasure.
        assert_eq!(erased.unwrap().unwrap().turn_count, turns);
        assert!(database.all_turns(&key).await.is_empty());
        assert_eq!(database.sessions().get(&key).await.unwrap(), None);
    }
}

async fn only_what_has_expired_is_erased_by_its_time(database: &Database) {
    let key = key("t", "s");
    let made = database.made(&key).await;
    let place = fence(&made);
    let first = turn(1);
    let until = END + 10 - micros_of(first.create_time.as_ref());
    let later = Commit { retention: until, ..commit(&key, &place, &first) };
    let note = erasure(&key, 1);
    assert_eq!(database.erasures().erase(&key, &note, Some(END - 1)).await.unwrap(), None);
    database.turns().commit(&later).await.unwrap();
    // Somebody has used it between the look and the erasure.
    assert_eq!(database.erasures().erase(&key, &note, Some(END + 9)).await.unwrap(), None);
    assert_eq!(database.all_turns(&key).await.len(), 1);
    let note = database.erasures().erase(&key, &note, Some(END + 10)).await.unwrap().unwrap();
    assert_eq!((note.uid, note.turn_count), (made.uid, 1));
}

async fn what_expired_first_is_told_first(database: &Database) {
    for (tenant, id, expires) in [("a", "late", 30), ("b", "early", 10), ("a", "middle", 20), ("a", "never", 90)] {
        let key = key(tenant, id);
        let session = Session { expire_time: Some(time(BEGIN + expires)), ..samples::session(&key) };
        database.sessions().create(&key, &session).await.unwrap();
    }
    let expired = async |now: i64, limit| database.erasures().expired(BEGIN + now, limit).await.unwrap();
    assert!(expired(9, 10).await.is_empty());
    let all = [key("b", "early"), key("a", "middle"), key("a", "late")];
    assert_eq!(expired(30, 10).await, all);
    assert_eq!(expired(30, 2).await, all[..2]);
    assert_eq!(expired(10, 10).await, all[..1]);
    let place = fence(&database.session(&all[0]).await);
    let first = turn(1);
    database.turns().commit(&commit(&all[0], &place, &first)).await.unwrap();
    assert_eq!(expired(30, 10).await, all[1..]);
}

async fn notes_are_listed_the_latest_first(database: &Database) {
    for (id, erased) in [("a", 2), ("b", 1), ("c", 2), ("d", 3), ("e", 2)] {
        let key = key("t", id);
        database.made(&key).await;
        database.erasures().erase(&key, &erasure(&key, BEGIN + erased), None).await.unwrap().unwrap();
    }
    let all = database.erasures().list("t", None, 10).await.unwrap();
    let place = |note: &Erasure| (-note.erase_time.unwrap().nanos, note.uid.clone());
    assert!(all.len() == 5 && all.is_sorted_by_key(place), "{all:?}");
    for limit in 1..=6 {
        let (mut notes, mut before) = (Vec::new(), None);
        loop {
            let page = database.erasures().list("t", before, limit).await.unwrap();
            let Some(last) = page.last() else { break };
            let erased = last.erase_time.unwrap();
            before = Some((erased.seconds * 1_000_000 + i64::from(erased.nanos) / 1000, last.uid.clone()));
            notes.extend(page);
        }
        assert_eq!(notes, all, "pages of {limit}");
    }
    assert_eq!(database.erasures().list("other", None, 10).await.unwrap(), []);
}
