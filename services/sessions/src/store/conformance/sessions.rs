use std::time::Duration;

use pointsman_proto::inference::v1::DataClass;
use pointsman_proto::sessions::v1::{SecondTurn, Session, SessionLimits};

use super::places::Database;
use super::samples::{self, END, key, time};
use crate::store::Created;

on_databases![
    a_session_is_made_once,
    every_setting_comes_back,
    names_are_told_apart_to_the_letter,
    tenants_do_not_see_each_others_sessions,
    an_update_needs_the_etag_of_today,
    an_update_replaces_settings_and_nothing_else,
    of_many_updates_at_once_one_is_made,
];

async fn a_session_is_made_once(database: &Database) {
    let key = key("t", "s");
    assert_eq!(database.sessions().get(&key).await.unwrap(), None);
    let first = database.made(&key).await;
    let second = samples::session(&key);
    assert_eq!(database.sessions().create(&key, &second).await.unwrap(), Created::Exists);
    let labelled = Session { labels: [("a".into(), "b".into())].into(), ..second };
    assert_eq!(database.sessions().create(&key, &labelled).await.unwrap(), Created::Exists);
    assert_eq!(database.session(&key).await, first);
    assert!(database.labelled("t", &[("a", "b")]).await.is_empty());
}

/// A session that says all that can be said.
fn full(session: Session) -> Session {
    let time = |seconds| Some(Duration::from_secs(seconds).try_into().unwrap());
    Session {
        title: "Grüße 🚂 from the track".into(),
        system_prompt: "Be brief.\n\u{0}\u{1f}\u{10ffff}".into(),
        labels: [("team".into(), "rail".into()), ("empty".into(), String::new()), ("🚂".into(), "'; --".into())].into(),
        data_class: DataClass::Confidential.into(),
        home_zone: "eu-west".into(),
        retention: time(3600),
        second_turn: SecondTurn::Merge.into(),
        merge_window: Some(prost_types::Duration { seconds: 1, nanos: 500_000_001 }),
        tool_timeout: time(60),
        limits: Some(SessionLimits { max_turns: Some(u64::MAX), max_bytes: Some(0) }),
        keep_partial_output: true,
        ..session
    }
}

async fn every_setting_comes_back(database: &Database) {
    let key = key("t", "s");
    let session = full(samples::session(&key));
    assert_eq!(database.sessions().create(&key, &session).await.unwrap(), Created::Yes);
    assert_eq!(database.session(&key).await, session);
    assert_eq!(database.opened(&key, "r").await.session, Some(session.clone()));
    assert_eq!(database.sessions().list(&samples::everything("t")).await.unwrap(), [session]);
}

async fn names_are_told_apart_to_the_letter(database: &Database) {
    for id in ["a", "A", "a.b", "a_b", "a-b", "a~b", "a@b", "a+b", "a:b", "%", "a%", &"x".repeat(128)] {
        let key = key("t", id);
        let session = database.made(&key).await;
        assert_eq!(database.session(&key).await, session);
    }
    assert_eq!(database.ids(&samples::everything("t")).await.len(), 12);
}

async fn tenants_do_not_see_each_others_sessions(database: &Database) {
    let (mine, yours) = (key("mine", "s"), key("yours", "s"));
    let session = database.made(&mine).await;
    assert_eq!(database.sessions().get(&yours).await.unwrap(), None);
    assert!(database.ids(&samples::everything("yours")).await.is_empty());
    let changed = Session { title: "theirs".into(), ..session.clone() };
    assert_eq!(database.sessions().update(&yours, &session.etag, &changed).await.unwrap(), None);
    let other = database.made(&yours).await;
    assert_ne!(other.uid, session.uid);
    assert_eq!(database.session(&mine).await, session);
    assert_eq!(database.session(&yours).await, other);
}

async fn an_update_needs_the_etag_of_today(database: &Database) {
    let key = key("t", "s");
    let made = database.made(&key).await;
    let titled = |title: &str| Session { title: title.into(), etag: title.into(), ..made.clone() };
    assert_eq!(database.sessions().update(&key, "of nobody", &titled("x")).await.unwrap(), None);
    let changed = database.sessions().update(&key, &made.etag, &titled("first")).await.unwrap().unwrap();
    assert_eq!(changed, titled("first"));
    assert_eq!(database.sessions().update(&key, &made.etag, &titled("second")).await.unwrap(), None);
    assert_eq!(database.session(&key).await, changed);
    assert_eq!(database.sessions().update(&samples::key("t", "none"), "first", &titled("x")).await.unwrap(), None);
}

async fn an_update_replaces_settings_and_nothing_else(database: &Database) {
    let key = key("t", "s");
    let (made, _) = database.made_with(&key, 3).await;
    database.turns().supersede(&key).await.unwrap();
    let wanted = Session {
        // Whatever it says of these was true when it was read.
        revision: 1,
        epoch: 77,
        awaited_tool_call_ids: vec!["call".into()],
        etag: "next".into(),
        update_time: Some(time(END - 2)),
        expire_time: Some(time(END - 1)),
        ..full(made.clone())
    };
    let changed = database.sessions().update(&key, &made.etag, &wanted).await.unwrap().unwrap();
    let rest = Session { revision: 3, epoch: 1, awaited_tool_call_ids: Vec::new(), ..wanted };
    assert_eq!(changed, rest);
    assert_eq!(database.session(&key).await, rest);
    assert_eq!(database.labelled("t", &[("team", "rail")]).await, ["s"]);

    let relabelled = Session { labels: [("team".into(), "road".into())].into(), etag: "last".into(), ..rest };
    database.sessions().update(&key, "next", &relabelled).await.unwrap().unwrap();
    assert_eq!(database.session(&key).await, relabelled);
    assert!(database.labelled("t", &[("team", "rail")]).await.is_empty());
    assert!(database.labelled("t", &[("empty", "")]).await.is_empty());
    assert_eq!(database.labelled("t", &[("team", "road")]).await, ["s"]);
}

async fn of_many_updates_at_once_one_is_made(database: &Database) {
    let key = key("t", "s");
    let made = database.made(&key).await;
    let changes: Vec<_> = (0..16)
        .map(|number| {
            let labels = [("number".to_owned(), number.to_string())].into();
            Session { title: number.to_string(), labels, etag: format!("etag {number}"), ..made.clone() }
        })
        .collect();
    let updates = changes.iter().map(|change| database.sessions().update(&key, &made.etag, change));
    let done = futures::future::join_all(updates).await;
    let done: Vec<_> = done.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(database.session(&key).await, done[0]);
    assert_eq!(database.labelled("t", &[("number", &done[0].title)]).await, ["s"]);
}
