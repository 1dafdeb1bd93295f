use futures::future::join_all;

use super::places::Database;
use super::samples::{BEGIN, erasure, key};
use crate::store::{Signal, SignalKind};

on_databases![
    what_is_told_is_there_until_it_is_taken,
    what_is_told_again_is_told_once,
    of_many_who_take_it_one_has_it,
    nobody_is_told_of_what_is_not_there,
    what_was_heard_goes_with_its_session,
    who_was_erased_is_told_for_a_while,
    what_nobody_takes_is_swept,
];

const NAME: (&str, SignalKind) = ("r", SignalKind::Interrupted);

impl Database {
    /// Tells a session something.
    async fn told(&self, id: &str, request_id: &str, heard: &[u8]) -> Option<Signal> {
        let name = (request_id, SignalKind::Interrupted);
        self.signals().send(&key("t", id), name, heard, BEGIN).await.unwrap()
    }

    /// Everything that nobody has taken.
    async fn untaken(&self) -> Vec<Signal> {
        self.signals().read(i64::MAX).await.unwrap().signals
    }
}

async fn what_is_told_is_there_until_it_is_taken(database: &Database) {
    assert!(database.untaken().await.is_empty());
    let made = database.made(&key("t", "s")).await;
    for heard in ["", "Es war einmal", "a\0b 🚂", &"x".repeat(1 << 20)] {
        let sent = database.told("s", "r", heard.as_bytes()).await.unwrap();
        assert_eq!(sent, Signal { uid: made.uid.clone(), request_id: "r".into(), kind: SignalKind::Interrupted });
        for _ in 0..2 {
            assert_eq!(database.untaken().await, std::slice::from_ref(&sent));
        }
        assert_eq!(database.signals().take(&sent).await.unwrap().unwrap(), heard.as_bytes());
        assert_eq!(database.signals().take(&sent).await.unwrap(), None);
        assert!(database.untaken().await.is_empty());
    }
}

async fn what_is_told_again_is_told_once(database: &Database) {
    database.made(&key("t", "s")).await;
    database.made(&key("t", "other")).await;
    let first = database.told("s", "r", b"one").await.unwrap();
    assert_eq!(database.told("s", "r", b"two").await.unwrap(), first);
    let others =
        [database.told("s", "R", b"three").await.unwrap(), database.told("other", "r", b"four").await.unwrap()];
    assert_eq!(database.untaken().await.len(), 3);
    assert_eq!(database.signals().take(&first).await.unwrap().unwrap(), b"two");
    let mut left = database.untaken().await;
    left.sort_by_key(|signal| signal.request_id == "r");
    assert_eq!(left, others);
}

async fn of_many_who_take_it_one_has_it(database: &Database) {
    database.made(&key("t", "s")).await;
    for _ in 0..4 {
        let sent = database.told("s", "r", b"heard").await.unwrap();
        let taken = join_all((0..8).map(|_| database.signals().take(&sent))).await;
        assert_eq!(taken.into_iter().filter_map(Result::unwrap).count(), 1);
    }
}

async fn nobody_is_told_of_what_is_not_there(database: &Database) {
    database.made(&key("other", "s")).await;
    assert_eq!(database.told("s", "r", b"heard").await, None);
    assert!(database.untaken().await.is_empty());
}

async fn what_was_heard_goes_with_its_session(database: &Database) {
    for round in 0..8 {
        let id = format!("s-{round}");
        database.made(&key("t", &id)).await;
        let sent = database.told(&id, "r", b"heard").await.unwrap();
        let (key, note) = (key("t", &id), erasure(&key("t", &id), BEGIN));
        // One that comes at the same time finds it, and goes with it, or does not.
        let (erased, again) = tokio::join!(
            database.erasures().erase(&key, &note, None),
            database.signals().send(&key, NAME, b"x", BEGIN)
        );
        erased.unwrap().unwrap();
        assert!(again.unwrap().is_none_or(|again| again == sent));
        assert!(database.untaken().await.is_empty());
        assert_eq!(database.signals().take(&sent).await.unwrap(), None);
    }
}

async fn who_was_erased_is_told_for_a_while(database: &Database) {
    let mut uids = Vec::new();
    for (tenant, erased) in [("a", 1), ("b", 2), ("a", 3)] {
        let key = key(tenant, "s");
        uids.push(database.made(&key).await.uid);
        database.erasures().erase(&key, &erasure(&key, BEGIN + erased), None).await.unwrap().unwrap();
    }
    let live = database.made(&key("a", "s")).await;
    for since in 0..5 {
        let told = database.signals().read(BEGIN + since).await.unwrap();
        let wanted = &uids[usize::try_from(since - 1).unwrap_or(0).min(3)..];
        assert_eq!(told.erased.len(), wanted.len());
        assert!(wanted.iter().all(|uid| told.erased.contains(uid)) && !told.erased.contains(&live.uid));
        assert!(told.signals.is_empty());
    }
}

async fn what_nobody_takes_is_swept(database: &Database) {
    database.made(&key("t", "s")).await;
    let sent = database.told("s", "r", b"heard").await.unwrap();
    database.signals().sweep(BEGIN).await.unwrap();
    assert_eq!(database.untaken().await, [sent]);
    database.signals().sweep(BEGIN + 1).await.unwrap();
    assert!(database.untaken().await.is_empty());
}
