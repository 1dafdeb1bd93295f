use futures::future::join_all;
use pointsman_proto::sessions::v1::{ChannelBinding, Session};

use super::places::Database;
use super::samples::{self, BEGIN, erasure, everything, key, time};
use crate::store::{Created, Who};

on_databases![
    a_person_gets_a_session_once,
    of_many_who_ask_at_once_all_get_the_same,
    people_are_told_apart,
    a_person_is_bound_to_another_session,
    nobody_is_bound_to_what_is_not_there,
    a_binding_is_looked_up_and_taken_away,
    who_is_taken_their_session_while_they_ask_gets_one,
    bindings_are_listed_in_order,
    who_lost_their_session_gets_another,
];

fn who(external_user: &str) -> Who<'_> {
    Who { tenant: "t", channel: "web", external_user, time: BEGIN }
}

/// Resolves with a new session of this id.
async fn resolve(database: &Database, who: Who<'_>, id: &str) -> (Session, Created) {
    let key = key(who.tenant, id);
    let labels = [("made".to_owned(), "for".to_owned())].into();
    let session = Session { labels, ..samples::session(&key) };
    database.bindings().resolve(&who, (&key, &session)).await.unwrap()
}

async fn a_person_gets_a_session_once(database: &Database) {
    let (first, created) = resolve(database, who("ada"), "first").await;
    assert_eq!(created, Created::Yes);
    assert_eq!(database.session(&key("t", "first")).await, first);
    for id in ["second", "first"] {
        let (again, created) = resolve(database, who("ada"), id).await;
        assert_eq!((again, created), (first.clone(), Created::Exists));
    }
    // As it is today, with its turns.
    database.turns().supersede(&key("t", "first")).await.unwrap();
    assert_eq!(resolve(database, who("ada"), "third").await.0, Session { epoch: 1, ..first });
    assert_eq!(database.ids(&everything("t")).await, ["first"]);
    assert_eq!(database.labelled("t", &[("made", "for")]).await, ["first"]);
}

async fn of_many_who_ask_at_once_all_get_the_same(database: &Database) {
    for round in 0..4 {
        let user = format!("user {round}");
        let ids: Vec<_> = (0..16).map(|number| format!("{round}-{number}")).collect();
        let resolved = join_all(ids.iter().map(|id| resolve(database, who(&user), id))).await;
        let made: Vec<_> = resolved.iter().filter(|(_, created)| *created == Created::Yes).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(resolved.iter().all(|(session, _)| *session == made[0].0));
        let id = made[0].0.name.trim_start_matches("sessions/");
        assert_eq!(database.bindings().list(&key("t", id), 10).await.unwrap().len(), 1);
        assert_eq!(database.ids(&everything("t")).await.len(), round + 1);
        assert_eq!(database.labelled("t", &[("made", "for")]).await.len(), round + 1);
    }
}

async fn people_are_told_apart(database: &Database) {
    let people = [
        who("ada"),
        who("Ada"),
        who("ada "),
        who("🚂"),
        who(""),
        Who { channel: "WEB", ..who("ada") },
        Who { channel: "phone", ..who("ada") },
        Who { tenant: "other", ..who("ada") },
    ];
    let mut uids = Vec::new();
    for (number, person) in people.into_iter().enumerate() {
        let (session, created) = resolve(database, person, &number.to_string()).await;
        assert_eq!(created, Created::Yes, "{person:?}");
        uids.push(session.uid);
    }
    for (person, uid) in people.into_iter().zip(uids) {
        assert_eq!(resolve(database, person, "x").await.0.uid, uid, "{person:?}");
    }
}

async fn a_person_is_bound_to_another_session(database: &Database) {
    let (first, second) = (key("t", "first"), key("t", "second"));
    resolve(database, who("ada"), "first").await;
    let made = database.made(&second).await;
    let later = Who { time: BEGIN + 5, ..who("ada") };
    let bound = database.bindings().bind(&later, &second).await.unwrap().unwrap();
    let wanted = ChannelBinding {
        channel: "web".into(),
        external_user: "ada".into(),
        session: "sessions/second".into(),
        create_time: Some(time(BEGIN + 5)),
    };
    assert_eq!(bound, wanted);
    assert_eq!(database.bindings().list(&first, 10).await.unwrap(), []);
    assert_eq!(database.bindings().list(&second, 10).await.unwrap(), [wanted]);
    assert_eq!(resolve(database, who("ada"), "third").await, (made, Created::Exists));
    // Somebody who had none.
    database.bindings().bind(&who("bob"), &first).await.unwrap().unwrap();
    assert_eq!(resolve(database, who("bob"), "fourth").await.0.name, "sessions/first");
    assert_eq!(database.ids(&everything("t")).await.len(), 2);
}

async fn nobody_is_bound_to_what_is_not_there(database: &Database) {
    let (session, _) = resolve(database, who("ada"), "first").await;
    database.made(&key("other", "theirs")).await;
    for id in ["none", "theirs"] {
        assert_eq!(database.bindings().bind(&who("ada"), &key("t", id)).await.unwrap(), None);
    }
    assert_eq!(resolve(database, who("ada"), "second").await, (session, Created::Exists));
}

async fn a_binding_is_looked_up_and_taken_away(database: &Database) {
    let bindings = database.bindings();
    assert_eq!((bindings.get(&who("ada")).await.unwrap(), bindings.unbind(&who("ada")).await.unwrap()), (None, None));
    resolve(database, who("ada"), "first").await;
    let first = key("t", "first");
    let at_the_phone = Who { channel: "phone", ..who("ada") };
    let also = bindings.bind(&at_the_phone, &first).await.unwrap().unwrap();
    let wanted = ChannelBinding {
        channel: "web".into(),
        external_user: "ada".into(),
        session: "sessions/first".into(),
        create_time: Some(time(BEGIN)),
    };
    for _ in 0..2 {
        assert_eq!(bindings.get(&Who { time: BEGIN + 9, ..who("ada") }).await.unwrap(), Some(wanted.clone()));
    }
    for other in [who("Ada"), Who { tenant: "other", ..who("ada") }, Who { channel: "WEB", ..who("ada") }] {
        let found = (bindings.get(&other).await.unwrap(), bindings.unbind(&other).await.unwrap());
        assert_eq!(found, (None, None), "{other:?}");
    }
    assert_eq!(bindings.unbind(&who("ada")).await.unwrap(), Some(wanted));
    assert_eq!((bindings.get(&who("ada")).await.unwrap(), bindings.unbind(&who("ada")).await.unwrap()), (None, None));
    // Nothing else went with it.
    assert_eq!(bindings.list(&first, 10).await.unwrap(), [also]);
    assert_eq!(database.ids(&everything("t")).await, ["first"]);
    assert_eq!(resolve(database, who("ada"), "second").await.1, Created::Yes);
}

async fn who_is_taken_their_session_while_they_ask_gets_one(database: &Database) {
    let ada = who("ada");
    for round in 0..8 {
        let ids: Vec<_> = (0..8).map(|number| format!("{round}-{number}")).collect();
        let asks = join_all(ids.iter().map(|id| resolve(database, ada, id)));
        let takes = join_all((0..8).map(|_| database.bindings().unbind(&ada)));
        let (asked, taken) = tokio::join!(asks, takes);
        let taken = taken.into_iter().filter_map(Result::unwrap).count();
        let made = asked.iter().filter(|(_, created)| *created == Created::Yes).count();
        // Each that was made was taken, but for the last of them perhaps, which is taken now.
        let left = database.bindings().unbind(&ada).await.unwrap();
        assert_eq!(made, taken + usize::from(left.is_some()));
    }
}

async fn bindings_are_listed_in_order(database: &Database) {
    let key = key("t", "s");
    database.made(&key).await;
    assert_eq!(database.bindings().list(&key, 10).await.unwrap(), []);
    for (channel, external_user) in [("web", "b"), ("phone", "z"), ("web", "a"), ("whatsapp", "c")] {
        let who = Who { channel, ..who(external_user) };
        database.bindings().bind(&who, &key).await.unwrap().unwrap();
    }
    let names = |bindings: Vec<ChannelBinding>| -> Vec<_> {
        bindings.into_iter().map(|binding| format!("{} {}", binding.channel, binding.external_user)).collect()
    };
    let all = names(database.bindings().list(&key, 10).await.unwrap());
    assert_eq!(all, ["phone z", "web a", "web b", "whatsapp c"]);
    assert_eq!(names(database.bindings().list(&key, 2).await.unwrap()), all[..2]);
    assert_eq!(database.bindings().list(&samples::key("other", "s"), 10).await.unwrap(), []);
}

async fn who_lost_their_session_gets_another(database: &Database) {
    let (first, _) = resolve(database, who("ada"), "first").await;
    let key = key("t", "first");
    database.erasures().erase(&key, &erasure(&key, 1), None).await.unwrap().unwrap();
    let (second, created) = resolve(database, who("ada"), "first").await;
    assert_eq!(created, Created::Yes);
    assert_ne!(second.uid, first.uid);
    assert_eq!(database.bindings().list(&key, 10).await.unwrap().len(), 1);
}
