use pointsman_proto::sessions::v1::{Fence, Session, Turn};

use super::places::Database;
use super::samples::{self, commit, erasure, fence, key, turn};
use crate::store::{Committed, Created, SessionKey};

on_databases![
    a_fork_has_the_turns_up_to_its_revision,
    a_fork_goes_on_by_itself,
    a_fork_outlives_what_it_was_forked_from,
    a_fork_takes_nobodys_name,
    nothing_is_forked_of_what_is_gone,
];

/// Forks a session at a revision.
async fn fork(database: &Database, from: &Session, to: &SessionKey, revision: u64) -> (Session, Created) {
    let session = Session {
        revision,
        forked_from: from.name.clone(),
        forked_at_revision: revision,
        labels: [("kind".into(), "fork".into())].into(),
        ..samples::session(to)
    };
    let from = Fence { revision, ..fence(from) };
    let made = database.sessions().fork(&from, to, &session).await.unwrap().unwrap();
    (session, made)
}

async fn a_fork_has_the_turns_up_to_its_revision(database: &Database) {
    let (first, turns) = database.made_with(&key("t", "first"), 5).await;
    let pinned = database.turns().pin(&key("t", "first"), 2, true).await.unwrap().unwrap();
    let turns: Vec<_> = turns.into_iter().map(|turn| if turn.revision == 2 { pinned.clone() } else { turn }).collect();
    let all = database.opened(&key("t", "first"), "none").await.bytes;
    let mut before = 0;
    for revision in 0..=5 {
        let to = key("t", &format!("fork-{revision}"));
        let (made, created) = fork(database, &first, &to, revision).await;
        assert_eq!(created, Created::Yes);
        assert_eq!(database.session(&to).await, made);
        assert_eq!(database.all_turns(&to).await, turns[..revision as usize]);
        let bytes = database.opened(&to, "none").await.bytes;
        assert_eq!((bytes > before, bytes == all), (revision > 0, revision == 5), "{bytes} of {all}");
        before = bytes;
    }
    assert_eq!(database.labelled("t", &[("kind", "fork")]).await.len(), 6);
    assert_eq!(database.all_turns(&key("t", "first")).await, turns);
}

async fn a_fork_goes_on_by_itself(database: &Database) {
    let (from, to) = (key("t", "first"), key("t", "fork"));
    let (first, turns) = database.made_with(&from, 3).await;
    let (made, _) = fork(database, &first, &to, 2).await;
    let third = Turn { request_id: "of the fork".into(), ..turn(3) };
    let own = fence(&made);
    assert!(matches!(database.turns().commit(&commit(&to, &own, &third)).await.unwrap(), Committed::Now));
    // What was committed before the fork was committed in the fork, too.
    let again = database.turns().commit(&commit(&to, &Fence { revision: 1, ..own }, &turns[1])).await.unwrap();
    assert!(matches!(&again, Committed::Before(turn, 7) if *turn == turns[1]), "{again:?}");
    assert_eq!(database.all_turns(&to).await, [turns[0].clone(), turns[1].clone(), third]);
    assert_eq!(database.all_turns(&from).await, turns);
    assert_eq!(database.session(&from).await, first);
}

async fn a_fork_outlives_what_it_was_forked_from(database: &Database) {
    let (from, to) = (key("t", "first"), key("t", "fork"));
    let (first, turns) = database.made_with(&from, 3).await;
    let (made, _) = fork(database, &first, &to, 3).await;
    database.erasures().erase(&from, &erasure(&from, 1), None).await.unwrap().unwrap();
    assert_eq!(database.sessions().get(&from).await.unwrap(), None);
    assert_eq!(database.session(&to).await, made);
    assert_eq!(database.all_turns(&to).await, turns);
    database.erasures().erase(&to, &erasure(&to, 2), None).await.unwrap().unwrap();
    assert!(database.all_turns(&to).await.is_empty());
}

async fn a_fork_takes_nobodys_name(database: &Database) {
    let (from, to) = (key("t", "first"), key("t", "taken"));
    let (first, _) = database.made_with(&from, 3).await;
    let (taken, turns) = database.made_with(&to, 1).await;
    assert_eq!(fork(database, &first, &to, 3).await.1, Created::Exists);
    assert_eq!(fork(database, &first, &from, 2).await.1, Created::Exists);
    assert_eq!(database.session(&to).await, taken);
    assert_eq!(database.all_turns(&to).await, turns);
    assert!(database.labelled("t", &[("kind", "fork")]).await.is_empty());
}

async fn nothing_is_forked_of_what_is_gone(database: &Database) {
    let (from, to) = (key("t", "first"), key("t", "fork"));
    let (first, _) = database.made_with(&from, 3).await;
    let session = Session { revision: 2, ..samples::session(&to) };
    // Its last turn may be another by now, and the calls that were read of it.
    database.turns().supersede(&from).await.unwrap();
    let place = Fence { revision: 2, ..fence(&first) };
    assert_eq!(database.sessions().fork(&place, &to, &session).await.unwrap(), None);
    database.erasures().erase(&from, &erasure(&from, 1), None).await.unwrap().unwrap();
    assert_eq!(database.sessions().fork(&place, &to, &session).await.unwrap(), None);
    assert_eq!(database.sessions().get(&to).await.unwrap(), None);
}
