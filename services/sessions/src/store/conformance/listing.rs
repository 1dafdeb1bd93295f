use pointsman_proto::sessions::v1::Session;

use super::places::Database;
use super::samples::{self, BEGIN, everything, key, time};
use crate::store::{Created, Listing};

on_databases![
    the_one_that_changed_last_comes_first,
    pages_are_whole_where_times_are_equal,
    times_bound_a_list,
    all_labels_must_be_there,
    a_turn_moves_its_session_to_the_front,
];

/// Keeps a session that changed so many microseconds after the beginning.
async fn keep(database: &Database, id: &str, changed: i64, labels: &[(&str, &str)]) {
    let key = key("t", id);
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let session = Session { update_time: Some(time(BEGIN + changed)), labels, ..samples::session(&key) };
    assert_eq!(database.sessions().create(&key, &session).await.unwrap(), Created::Yes);
}

async fn the_one_that_changed_last_comes_first(database: &Database) {
    for (id, changed) in [("b", 2), ("c", 9), ("a", 5)] {
        keep(database, id, changed, &[]).await;
    }
    database.made(&key("other", "d")).await;
    assert_eq!(database.ids(&everything("t")).await, ["c", "a", "b"]);
    assert_eq!(database.ids(&Listing { limit: 2, ..everything("t") }).await, ["c", "a"]);
    assert!(database.ids(&everything("nobody")).await.is_empty());
}

async fn pages_are_whole_where_times_are_equal(database: &Database) {
    let mut wanted = Vec::new();
    for (id, changed) in [("e", 1), ("d", 2), ("c", 2), ("b", 2), ("a", 2), ("Z", 2), ("f", 3), ("g", 3)] {
        keep(database, id, changed, &[]).await;
        wanted.push((-changed, id.to_owned()));
    }
    wanted.sort();
    let wanted: Vec<_> = wanted.into_iter().map(|(_, id)| id).collect();
    for limit in 1..=9 {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let listing = Listing { after, limit, ..everything("t") };
            let page = database.sessions().list(&listing).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit as usize);
            let micros = last.update_time.unwrap();
            let id = last.name.trim_start_matches("sessions/").to_owned();
            after = Some((micros.seconds * 1_000_000 + i64::from(micros.nanos) / 1000, id));
            ids.extend(page.iter().map(|session| session.name.trim_start_matches("sessions/").to_owned()));
        }
        assert_eq!(ids, wanted, "pages of {limit}");
    }
}

async fn times_bound_a_list(database: &Database) {
    for (id, changed) in [("a", 1), ("b", 2), ("c", 3)] {
        keep(database, id, changed, &[]).await;
    }
    for (from, before, ids) in [
        (2, 3, vec!["b"]),
        (0, 1, vec![]),
        (1, 4, vec!["c", "b", "a"]),
        (2, i64::MAX - BEGIN, vec!["c", "b"]),
        (3, 2, vec![]),
    ] {
        let listing = Listing { updated_from: BEGIN + from, updated_before: BEGIN + before, ..everything("t") };
        assert_eq!(database.ids(&listing).await, ids, "{listing:?}");
    }
}

async fn all_labels_must_be_there(database: &Database) {
    keep(database, "a", 1, &[("team", "rail"), ("level", "1")]).await;
    keep(database, "b", 2, &[("team", "rail"), ("level", "2")]).await;
    keep(database, "c", 3, &[("team", "road"), ("level", "1"), ("rail", "team")]).await;
    keep(database, "d", 4, &[]).await;
    for (labels, ids) in [
        (vec![("team", "rail")], vec!["b", "a"]),
        (vec![("team", "rail"), ("level", "1")], vec!["a"]),
        (vec![("level", "1"), ("team", "rail")], vec!["a"]),
        (vec![("level", "1")], vec!["c", "a"]),
        (vec![("team", "rail"), ("team", "road")], vec![]),
        (vec![("team", "RAIL")], vec![]),
        (vec![("team", "rai_")], vec![]),
        (vec![], vec!["d", "c", "b", "a"]),
    ] {
        assert_eq!(database.labelled("t", &labels).await, ids, "{labels:?}");
    }
    assert!(database.labelled("other", &[("team", "rail")]).await.is_empty());
    let labels = [("team".to_owned(), "rail".to_owned())];
    let after = Some((BEGIN + 2, "b".to_owned()));
    assert_eq!(database.ids(&Listing { labels: &labels, after, ..everything("t") }).await, ["a"]);
}

async fn a_turn_moves_its_session_to_the_front(database: &Database) {
    for (id, changed) in [("a", -5), ("b", -4)] {
        keep(database, id, changed, &[]).await;
    }
    let (key, turn) = (key("t", "a"), samples::turn(1));
    let fence = samples::fence(&database.session(&key).await);
    database.turns().commit(&samples::commit(&key, &fence, &turn)).await.unwrap();
    assert_eq!(database.ids(&everything("t")).await, ["a", "b"]);
    assert_eq!(database.session(&key).await.update_time, turn.create_time);
}
