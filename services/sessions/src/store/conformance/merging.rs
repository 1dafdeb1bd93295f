use pointsman_proto::sessions::v1::{Fence, MergedRequest, Session, Turn};

use super::places::Database;
use super::samples::{self, END, commit, erasure, fence, key, turn};
use crate::merge;
use crate::store::{Commit, Committed, Created, Merged, SessionKey};

on_databases![
    requests_that_were_merged_are_told_their_turn,
    a_commit_that_is_not_done_merges_nothing,
    a_merged_request_is_no_turn_of_its_own,
    a_fork_knows_what_was_merged_up_to_its_revision,
    what_was_merged_is_erased_with_its_session,
];

fn requests(ids: &[&str]) -> Vec<MergedRequest> {
    let request = |(number, id): (usize, &&str)| MergedRequest {
        request_id: (*id).to_owned(),
        // Above what a database's integers hold, too.
        request_digest: u64::MAX - number as u64,
    };
    ids.iter().enumerate().map(request).collect()
}

/// Commits the turn after a revision, with other requests.
async fn merge(database: &Database, key: &SessionKey, place: &Fence, ids: &[&str]) -> (Turn, Committed) {
    let merged = requests(ids);
    let turn = Turn { merged_request_ids: merge::names(&merged), ..turn(place.revision + 1) };
    let committed = database.turns().commit(&Commit { merged: &merged, ..commit(key, place, &turn) }).await.unwrap();
    (turn, committed)
}

async fn merged(database: &Database, key: &SessionKey, id: &str) -> Option<Merged> {
    database.opened(key, id).await.merged
}

fn told(revision: u64, digest: u64) -> Option<Merged> {
    Some(Merged { digest, turn: format!("request-{revision}"), revision })
}

async fn requests_that_were_merged_are_told_their_turn(database: &Database) {
    let key = key("t", "s");
    let (made, turns) = database.made_with(&key, 1).await;
    let (second, done) = merge(database, &key, &fence(&made), &["a", "b,\"~\\{}"]).await;
    assert!(matches!(done, Committed::Now), "{done:?}");
    let (third, _) = merge(database, &key, &Fence { revision: 2, ..fence(&made) }, &["c"]).await;
    assert_eq!(merged(database, &key, "a").await, told(2, u64::MAX));
    assert_eq!(merged(database, &key, "b,\"~\\{}").await, told(2, u64::MAX - 1));
    assert_eq!(merged(database, &key, "c").await, told(3, u64::MAX));
    assert_eq!(merged(database, &key, "d").await, None);
    // The turns' own requests are no merged ones, and the others no turns.
    assert_eq!(merged(database, &key, "request-2").await, None);
    assert!(database.opened(&key, "a").await.committed.is_none());
    assert!(merged(database, &samples::key("other", "s"), "a").await.is_none());
    assert_eq!(database.all_turns(&key).await, [turns[0].clone(), second, third]);
    assert_eq!(database.session(&key).await.revision, 3);
}

async fn a_commit_that_is_not_done_merges_nothing(database: &Database) {
    let key = key("t", "s");
    let (made, _) = database.made_with(&key, 1).await;
    let elsewhere = Fence { epoch: 1, ..fence(&made) };
    let (_, done) = merge(database, &key, &elsewhere, &["a"]).await;
    assert!(matches!(done, Committed::Conflict), "{done:?}");
    assert_eq!(merged(database, &key, "a").await, None);
    let (second, _) = merge(database, &key, &fence(&made), &["b"]).await;
    // Sent again, it is done once, with whom it was done.
    let (_, again) = merge(database, &key, &fence(&made), &["b"]).await;
    assert!(matches!(&again, Committed::Before(turn, 7) if *turn == second), "{again:?}");
    let (_, others) = merge(database, &key, &fence(&made), &["c"]).await;
    assert!(matches!(&others, Committed::Before(turn, 7) if *turn == second), "{others:?}");
    assert_eq!(merged(database, &key, "b").await, told(2, u64::MAX));
    assert_eq!(merged(database, &key, "c").await, None);
}

async fn a_merged_request_is_no_turn_of_its_own(database: &Database) {
    let key = key("t", "s");
    let (made, _) = database.made_with(&key, 1).await;
    merge(database, &key, &fence(&made), &["a"]).await;
    let now = database.session(&key).await;
    // Whoever would merge it once more does nothing.
    let (_, twice) = merge(database, &key, &fence(&now), &["b", "a"]).await;
    assert!(matches!(twice, Committed::Conflict), "{twice:?}");
    assert_eq!(database.session(&key).await, now);
    assert_eq!(merged(database, &key, "a").await, told(2, u64::MAX));
    assert_eq!(merged(database, &key, "b").await, None);
}

async fn a_fork_knows_what_was_merged_up_to_its_revision(database: &Database) {
    let (from, to) = (key("t", "first"), key("t", "fork"));
    let (made, _) = database.made_with(&from, 1).await;
    merge(database, &from, &fence(&made), &["a"]).await;
    merge(database, &from, &Fence { revision: 2, ..fence(&made) }, &["b"]).await;
    let session = Session { revision: 2, ..samples::session(&to) };
    let forked = database.sessions().fork(&Fence { revision: 2, ..fence(&made) }, &to, &session).await.unwrap();
    assert_eq!(forked, Some(Created::Yes));
    assert_eq!(merged(database, &to, "a").await, told(2, u64::MAX));
    assert_eq!(merged(database, &to, "b").await, None);
    let (_, own) = merge(database, &to, &fence(&session), &["b"]).await;
    assert!(matches!(own, Committed::Now), "{own:?}");
    database.erasures().erase(&from, &erasure(&from, END), None).await.unwrap().unwrap();
    assert_eq!(merged(database, &to, "a").await, told(2, u64::MAX));
    assert_eq!(merged(database, &to, "b").await, told(3, u64::MAX));
}

async fn what_was_merged_is_erased_with_its_session(database: &Database) {
    let key = key("t", "s");
    let (made, _) = database.made_with(&key, 1).await;
    merge(database, &key, &fence(&made), &["a"]).await;
    database.erasures().erase(&key, &erasure(&key, END), None).await.unwrap().unwrap();
    // Even one with the same uid would have nothing of it.
    let again = Session { uid: made.uid, ..samples::session(&key) };
    assert_eq!(database.sessions().create(&key, &again).await.unwrap(), Created::Yes);
    for revision in 0..2 {
        merge(database, &key, &Fence { revision, ..fence(&again) }, &[]).await;
    }
    assert_eq!(database.session(&key).await.revision, 2);
    assert_eq!(merged(database, &key, "a").await, None);
}
