use pointsman_proto::sessions::v1::Turn;

use super::places::Database;
use super::samples::{commit, fence, key, revisions, turn, window};
use crate::store::{Opening, Window, stamp};

on_databases![
    where_there_is_no_session_nothing_is_opened,
    as_many_turns_are_read_as_are_wanted,
    what_is_known_is_not_read_again,
    pinned_turns_are_read_however_old,
    a_turn_of_that_name_is_told,
    the_bytes_of_turns_are_counted,
];

async fn where_there_is_no_session_nothing_is_opened(database: &Database) {
    let key = key("t", "s");
    let known = window("of another", 1..=3);
    for window in [None, Some(&known)] {
        let opening = Opening { key: &key, request_id: "request-1", window, turns: 10 };
        let opened = database.turns().open(&opening).await.unwrap();
        assert!(opened.session.is_none() && opened.committed.is_none() && opened.turns.is_empty(), "{opened:?}");
        assert_eq!(opened.bytes, 0);
    }
    let made = database.made(&key).await;
    let opened = database.opened(&key, "request-1").await;
    assert_eq!(opened.session, Some(made));
    assert!(opened.committed.is_none() && opened.turns.is_empty() && opened.bytes == 0, "{opened:?}");
}

async fn as_many_turns_are_read_as_are_wanted(database: &Database) {
    let key = key("t", "s");
    let (made, all) = database.made_with(&key, 5).await;
    for (wanted, from) in [(0, 5), (1, 4), (4, 1), (5, 0), (6, 0), (u64::MAX, 0)] {
        let opening = Opening { key: &key, request_id: "none", window: None, turns: wanted };
        let opened = database.turns().open(&opening).await.unwrap();
        assert_eq!(opened.turns, all[from..], "{wanted} turns");
        assert_eq!(opened.session, Some(made.clone()));
    }
}

/// The revisions that are read where a window is known.
async fn read(database: &Database, window: &Window, turns: u64) -> Vec<u64> {
    let opening = Opening { key: &key("t", "s"), request_id: "none", window: Some(window), turns };
    revisions(&database.turns().open(&opening).await.unwrap().turns)
}

async fn what_is_known_is_not_read_again(database: &Database) {
    let (made, _) = database.made_with(&key("t", "s"), 5).await;
    let ours = stamp(&made);
    for (uid, known, wanted, is_read) in [
        (&*ours, 1..=5, 10, vec![]),
        (&*ours, 1..=4, 10, vec![5]),
        (&*ours, 3..=3, 10, vec![4, 5]),
        (&*ours, 1..=2, 1, vec![5]),
        // It knows of a commit that we do not: the truth is here.
        (&*ours, 1..=7, 10, vec![]),
        (&*made.uid, 1..=4, 10, vec![1, 2, 3, 4, 5]),
        ("of another", 1..=4, 10, vec![1, 2, 3, 4, 5]),
        ("", 1..=4, 2, vec![4, 5]),
    ] {
        assert_eq!(read(database, &window(uid, known.clone()), wanted).await, is_read, "{uid} {known:?} {wanted}");
    }
    // Of another epoch.
    database.turns().supersede(&key("t", "s")).await.unwrap();
    assert_eq!(read(database, &window(&ours, 1..=4), 10).await, [1, 2, 3, 4, 5]);
}

async fn pinned_turns_are_read_however_old(database: &Database) {
    let key = key("t", "s");
    let (made, _) = database.made_with(&key, 6).await;
    for revision in [1, 3, 6] {
        database.turns().pin(&key, revision, true).await.unwrap().unwrap();
    }
    for (wanted, is_read) in [(0, vec![1, 3, 6]), (2, vec![1, 3, 5, 6]), (4, vec![1, 3, 4, 5, 6])] {
        let opening = Opening { key: &key, request_id: "none", window: None, turns: wanted };
        let opened = database.turns().open(&opening).await.unwrap();
        assert_eq!(revisions(&opened.turns), is_read);
        assert!(opened.turns.iter().all(|turn| turn.pinned == [1, 3, 6].contains(&turn.revision)));
        assert_eq!(read(database, &window("of another", 1..=6), wanted).await, is_read);
    }
    // Who knows the session's turns knows which of them are pinned.
    assert_eq!(read(database, &window(&stamp(&made), 1..=5), 2).await, [6]);
}

async fn a_turn_of_that_name_is_told(database: &Database) {
    let key = key("t", "s");
    let (_, all) = database.made_with(&key, 3).await;
    database.made_with(&super::samples::key("t", "other"), 5).await;
    for turns in [0, 1, 10] {
        let opening = Opening { key: &key, request_id: "request-2", window: None, turns };
        assert_eq!(database.turns().open(&opening).await.unwrap().committed, Some((all[1].clone(), 7)));
    }
    for request_id in ["request-4", "request-", "", "REQUEST-2"] {
        assert_eq!(database.opened(&key, request_id).await.committed, None, "{request_id}");
    }
}

async fn the_bytes_of_turns_are_counted(database: &Database) {
    let key = key("t", "s");
    let mut place = fence(&database.made(&key).await);
    let mut bytes = vec![0];
    for revision in 1..=3 {
        let next = Turn { model: "m".repeat(1000 * revision as usize), ..turn(revision) };
        database.turns().commit(&commit(&key, &place, &next)).await.unwrap();
        place.revision += 1;
        let now = database.opened(&key, "none").await.bytes;
        let grown = now - bytes.last().unwrap();
        assert!((1000 * revision..1000 * revision + 500).contains(&grown), "{grown} bytes more at {revision}");
        bytes.push(now);
    }
    // What is refused counts for nothing.
    let late = turn(3);
    place.revision -= 1;
    database.turns().commit(&commit(&key, &place, &late)).await.unwrap();
    assert_eq!(database.opened(&key, "none").await.bytes, bytes[3]);
}
