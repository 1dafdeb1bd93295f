use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::Reason;
use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::{DataClass, Message, Part, Role, ToolResult};
use pointsman_proto::sessions::v1::{BeginTurn, Session, Turn};
use tokio::time::Instant;

use super::{Collection, Fate, Guest, Joined, Stand, Together, told, window};

fn message(role: Role, kind: Kind) -> Message {
    Message { role: role.into(), parts: vec![Part { kind: Some(kind) }], name: String::new() }
}

fn result(id: &str) -> Message {
    let result = ToolResult { tool_call_id: id.into(), text: "1".into(), failed: false };
    message(Role::Tool, Kind::ToolResult(result))
}

/// Who came as this one, and says its name.
fn guest(arrival: u64, name: &str) -> Guest {
    let messages = vec![message(Role::User, Kind::Text(name.into()))];
    let begin = BeginTurn { request_id: name.into(), request_digest: arrival, messages, ..BeginTurn::default() };
    Guest { arrival, ..Guest::new(&begin, &[], Instant::now(), &session()) }
}

fn session() -> Session {
    Session { uid: "uid".into(), revision: 4, ..Session::default() }
}

fn stand(session: &Session) -> Stand<'_> {
    Stand { session, history: &[], have_expired: false }
}

fn take(joined: Joined, session: &Session) -> Together {
    joined.take(&stand(session)).unwrap()
}

fn said(messages: &[Message]) -> String {
    let kinds = messages.iter().flat_map(|message| &message.parts).map(|part| part.kind.clone().unwrap());
    let texts = kinds.map(|kind| match kind {
        Kind::Text(text) => text,
        Kind::ToolResult(result) => format!("{}={}", result.tool_call_id, result.text),
        other => panic!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn names(together: &Together) -> Vec<&str> {
    together.requests.iter().map(|request| request.request_id.as_str()).collect()
}

/// What somebody was told already.
fn fate(joined: &mut Joined) -> Option<Fate> {
    joined.fate.try_recv().ok()
}

async fn ends(joined: &mut Joined) -> (Reason, String) {
    let Some(Fate::Taken(ends)) = fate(joined) else { panic!("not taken along") };
    let error = told(ends).await;
    (error.reason(), error.message().to_owned())
}

#[tokio::test]
async fn others_are_taken_along_in_the_order_of_arrival_and_told_when_it_is_durable() {
    let all = Arc::new(Collection::default());
    let mut sensitive = guest(1, "first");
    sensitive.begin.set_data_class(DataClass::Confidential);
    let mut last = all.join(guest(4, "last"));
    let leader = all.join(guest(2, "second"));
    let mut first = all.join(sensitive);
    let mut third = all.join(guest(3, "third"));
    let together = take(leader, &session());
    assert_eq!((said(&together.before), said(&together.after)), ("first".to_owned(), "third last".to_owned()));
    assert_eq!(names(&together), ["first", "third", "last"]);
    assert_eq!(together.requests[2].request_digest, 4);
    assert_eq!(together.data_class, DataClass::Confidential as i32);
    // One was not in what another process has committed of the same request.
    let merged_request_ids = vec!["first".into(), "last".into()];
    let turn = Turn { request_id: "second".into(), revision: 5, merged_request_ids, ..Turn::default() };
    together.followers.committed(&turn);
    for joined in [&mut first, &mut last] {
        let (reason, message) = ends(joined).await;
        assert_eq!(reason, Reason::TurnMerged);
        assert!(message.contains("turn 5") && message.contains("`second`"), "{message}");
    }
    assert_eq!(ends(&mut third).await.0, Reason::TurnConflict);
}

#[tokio::test]
async fn who_goes_another_way_spoils_nothing() {
    let all = Arc::new(Collection::default());
    let leader = all.join(guest(1, "leader"));
    let changed = |arrival, name: &str, change: fn(&mut Guest)| {
        let mut guest = guest(arrival, name);
        change(&mut guest);
        guest
    };
    let mut elsewhere = all.join(changed(2, "elsewhere", |guest| guest.zones = vec!["eu".into()]));
    let mut same = all.join(changed(3, "leader", |_| {}));
    let mut behind = all.join(changed(4, "behind", |guest| guest.begin.expected_revision = Some(3)));
    let mut result = all.join(changed(5, "result", |guest| guest.begin.messages = vec![result("call")]));
    let mut other = all.join(changed(6, "other", |guest| guest.seen = ("before".into(), 9)));
    let mut repeat = all.join(changed(7, "repeat", |guest| guest.seen.1 = 3));
    let mut merged = all.join(changed(8, "merged", |guest| guest.seen.1 = 3));
    let mut fresh = all.join(changed(9, "fresh", |guest| guest.seen.1 = 3));
    let mut unknown = all.join(changed(10, "unknown", |guest| guest.seen.1 = 2));
    drop(all.join(guest(11, "gone")));
    let mut at_place = all.join(changed(12, "at its place", |guest| guest.begin.expected_revision = Some(4)));
    let last =
        Turn { revision: 4, request_id: "repeat".into(), merged_request_ids: vec!["merged".into()], ..Turn::default() };
    let (session, history) = (session(), [last]);
    let together = leader.take(&Stand { session: &session, history: &history, have_expired: false }).unwrap();
    assert_eq!(names(&together), ["fresh", "at its place"]);
    assert!(together.before.is_empty());
    assert_eq!(said(&together.after), "fresh at its place");
    for (joined, reason) in [(&mut behind, Reason::TurnConflict), (&mut result, Reason::InvalidRequest)] {
        assert!(matches!(fate(joined), Some(Fate::Refused(error)) if error.reason() == reason));
    }
    for joined in [&mut other, &mut repeat, &mut merged, &mut unknown] {
        assert!(matches!(fate(joined), Some(Fate::Again)));
    }
    for joined in [&mut fresh, &mut at_place] {
        assert!(matches!(fate(joined), Some(Fate::Taken(_))));
    }
    // They wait on, for a turn of their own.
    assert!(fate(&mut elsewhere).is_none() && fate(&mut same).is_none());
    assert!(take(elsewhere, &session).requests.is_empty());
    assert!(take(same, &session).requests.is_empty());
    assert!(all.waiting().is_empty());
}

#[tokio::test]
async fn who_cannot_be_answered_leads_nobody() {
    let all = Arc::new(Collection::default());
    let mut wrong = guest(1, "wrong");
    wrong.begin.messages = vec![result("call")];
    let leader = all.join(wrong);
    let mut other = all.join(guest(2, "other"));
    assert_eq!(leader.take(&stand(&session())).unwrap_err().reason(), Reason::InvalidRequest);
    assert!(fate(&mut other).is_none());
    assert_eq!(said(&take(other, &session()).after), "");
}

#[tokio::test]
async fn results_stand_before_what_else_is_said_and_each_call_has_one() {
    let awaiting = Session { awaited_tool_call_ids: ["a", "b", "c"].map(Into::into).into(), ..session() };
    let all = Arc::new(Collection::default());
    let early = all.join(guest(1, "early"));
    let of = |arrival, name: &str, call: &str| Guest {
        begin: BeginTurn { messages: vec![result(call)], ..guest(arrival, name).begin },
        ..guest(arrival, name)
    };
    let mut results = all.join(of(2, "two", "b"));
    let mut twice = all.join(of(3, "three", "b"));
    let leader = all.join(of(4, "four", "a"));
    let together = take(leader, &awaiting);
    assert_eq!(said(&together.before), "c=the call was cancelled b=1");
    assert_eq!(said(&together.after), "early");
    assert_eq!(names(&together), ["two", "early"]);
    assert!(matches!(fate(&mut results), Some(Fate::Taken(_))));
    assert!(matches!(fate(&mut twice), Some(Fate::Refused(error)) if error.reason() == Reason::InvalidRequest));
    drop(early);
}

#[tokio::test]
async fn nobody_overtakes_the_first_who_has_no_room() {
    let many = |arrival, name: &str, count| {
        let mut guest = guest(arrival, name);
        guest.begin.messages = vec![guest.begin.messages[0].clone(); count];
        guest
    };
    let long = |arrival, name: &str, bytes| {
        let mut guest = guest(arrival, name);
        guest.begin.messages = vec![message(Role::User, Kind::Text("l".repeat(bytes)))];
        guest
    };
    let system_prompt = String::from("be brief");
    for (one, two, taken) in [
        (many(1, "one", 2048), many(2, "two", 2047), true),
        (many(1, "one", 2048), many(2, "two", 2048), false),
        (many(1, "one", 4096), many(2, "two", 1), false),
        (long(1, "one", 2 << 20), long(2, "two", 1 << 20), true),
        (long(1, "one", 2 << 20), long(2, "two", 2 << 20), false),
        (long(1, "one", 9 << 20), long(2, "two", 1), false),
    ] {
        let all = Arc::new(Collection::default());
        let leader = all.join(one);
        let mut next = all.join(two);
        let mut short = all.join(guest(3, "three"));
        let session = Session { system_prompt: system_prompt.clone(), ..session() };
        let together = take(leader, &session);
        assert_eq!(names(&together).contains(&"two"), taken);
        assert_eq!(fate(&mut next).is_some(), taken);
        assert!(taken || fate(&mut short).is_none());
    }
}

#[tokio::test]
async fn who_follows_a_turn_that_ends_is_told_so() {
    let all = Arc::new(Collection::default());
    let leader = all.join(guest(1, "leader"));
    let mut one = all.join(guest(2, "one"));
    let together = take(leader, &session());
    // Broken off: they follow what is kept of it.
    let handed_over = together.followers.handed_over();
    drop(together);
    handed_over.committed(&Turn { merged_request_ids: vec!["one".into()], ..Turn::default() });
    assert_eq!(ends(&mut one).await.0, Reason::TurnMerged);
    let leader = all.join(guest(3, "leader"));
    let mut two = all.join(guest(4, "two"));
    drop(take(leader, &session()));
    let (reason, message) = ends(&mut two).await;
    assert_eq!(reason, Reason::TurnConflict);
    assert!(message.contains("send them again"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn the_window_begins_with_the_first() {
    let all = Arc::new(Collection::default());
    let first = all.join(guest(1, "first"));
    let begin = Instant::now();
    tokio::time::advance(Duration::from_millis(300)).await;
    let second = all.join(guest(2, "second"));
    let second_long = Duration::from_secs(1);
    assert_eq!(window(&session()), second_long);
    assert_eq!(second.begins(second_long), Some(begin + second_long));
    drop(first);
    assert_eq!(second.begins(second_long), Some(begin + Duration::from_millis(1300)));
    let none = Session { merge_window: Some(prost_types::Duration::default()), ..session() };
    assert_eq!(second.begins(window(&none)), Some(Instant::now()));
}

#[test]
fn what_was_restricted_once_stays_so() {
    let restricted = Turn { data_class: DataClass::Restricted.into(), ..Turn::default() };
    let (session, history) = (session(), [Turn::default(), restricted]);
    let stand = Stand { session: &session, history: &history, have_expired: false };
    let together = Together::alone(&stand, &guest(1, "next").begin).unwrap();
    assert_eq!(together.data_class, DataClass::Restricted as i32);
}
