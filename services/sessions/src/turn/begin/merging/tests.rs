use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Delta, Frame, Message, Role};
use pointsman_proto::sessions::v1::{
    AppendMessagesRequest, BeginTurn, CommitTurn, SecondTurn, Session, Turn, TurnBegun, TurnKind,
};
use pointsman_server::{Drain, Metrics as Registry, Work};
use pointsman_testkit::eventually;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::sessions::{Around, Sessions};
use crate::store::SessionKey;
use crate::store::conformance::places::DEADLINE;
use crate::store::conformance::samples::{key, text};
use crate::store::sql::{Reached, Sql};
use crate::turn::{Begun, Coming, RunningTurn};

/// A store of a test's own, with one session that merges.
struct Store {
    sessions: Arc<Sessions>,
    key: SessionKey,
    _folder: TempDir,
}

type Answer = JoinHandle<Result<(Box<RunningTurn>, TurnBegun), Error>>;

impl Store {
    async fn new(merge_window: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("sessions.db").display());
        let sql = Arc::new(Sql::new(&Reached { url: &url, connections: 8, deadline: DEADLINE }).unwrap());
        sql.migrate().await.unwrap();
        let metrics = Metrics::register(&Registry::default());
        let around = Around { metrics, work: Work::default(), drain: Drain::default() };
        let sessions = Sessions::new(&Config::default(), &sql, None, around);
        let key = key("t", "talk");
        let merge_window = merge_window.try_into().ok();
        let settings = Session { second_turn: SecondTurn::Merge.into(), merge_window, ..Session::default() };
        sessions.create(&key, settings).await.unwrap();
        Self { sessions, key, _folder: folder }
    }

    /// Asks under a name; what is said is the name.
    fn ask(&self, name: &str) -> Answer {
        let (sessions, key, begin) = (Arc::clone(&self.sessions), self.key.clone(), begin(name));
        tokio::spawn(async move {
            match sessions.begin(key, begin, Coming::Ask(Vec::new())).await? {
                Begun::Running(turn, begun) => Ok((turn, *begun)),
                Begun::Committed(committed) => {
                    let turn = committed.turn.unwrap_or_default();
                    let message = format!("committed as {}", turn.revision);
                    Err(Error::new(Reason::Internal, message))
                }
            }
        })
    }

    /// The same, where others wait already: returns when so many do.
    async fn wait(&self, name: &str, waiting: usize) -> Answer {
        let asked = self.ask(name);
        eventually!(DEADLINE, self.sessions.places.waiting(&self.key) == waiting).unwrap();
        asked
    }

    async fn turns(&self) -> Vec<Turn> {
        self.sessions.stores.turns.list(&self.key, 0, 100, u64::MAX).await.unwrap()
    }
}

fn begin(name: &str) -> BeginTurn {
    let messages = vec![text(Role::User, name)];
    BeginTurn { request_id: name.into(), request_digest: 7, messages, ..BeginTurn::default() }
}

async fn running(asked: Answer) -> (Box<RunningTurn>, TurnBegun) {
    asked.await.unwrap().unwrap()
}

async fn refused(asked: Answer) -> (Reason, String) {
    let error = asked.await.unwrap().err().unwrap();
    (error.reason(), error.message().to_owned())
}

/// What a turn was said by names, and what is answered with it.
fn answer(name: &str, begun: &TurnBegun) -> Turn {
    let own = [text(Role::User, name)];
    let input = begun.prepended_messages.iter().chain(&own).chain(&begun.appended_messages).cloned().collect();
    Turn { kind: TurnKind::Generated.into(), request_id: name.into(), input, ..Turn::default() }
}

/// The same, as a gateway sends it that has lost its store.
fn commit_again(name: &str, begun: TurnBegun) -> CommitTurn {
    let turn = Some(answer(name, &begun));
    let TurnBegun { fence, merged_requests, .. } = begun;
    CommitTurn { turn, fence, request_digest: 7, merged_requests, ..CommitTurn::default() }
}

fn users(names: &[&str]) -> Vec<Message> {
    names.iter().map(|name| text(Role::User, name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_a_turn_runs_is_answered_with_the_next() {
    let store = Store::new(Duration::ZERO).await;
    let (first, begun) = running(store.ask("x")).await;
    let (a, b, c) = (store.wait("a", 1).await, store.wait("b", 2).await, store.wait("c", 3).await);
    first.commit(answer("x", &begun)).await.unwrap();
    let (leader, begun) = running(a).await;
    assert_eq!(begun.appended_messages, users(&["b", "c"]));
    assert!(begun.prepended_messages.is_empty() && !b.is_finished() && !c.is_finished());
    let committed = leader.commit(answer("a", &begun)).await.unwrap().turn.unwrap();
    assert_eq!((committed.revision, &*committed.merged_request_ids), (2, &["b".to_owned(), "c".to_owned()][..]));
    for asked in [b, c, store.ask("b"), store.ask("c")] {
        let (reason, message) = refused(asked).await;
        assert_eq!(reason, Reason::TurnMerged);
        assert!(message.contains("turn 2") && message.contains("`a`"), "{message}");
    }
    let other = BeginTurn { request_digest: 8, ..begin("b") };
    let reused = store.sessions.begin(store.key.clone(), other, Coming::Ask(Vec::new())).await;
    assert_eq!(reused.err().unwrap().reason(), Reason::RequestIdReused);
    assert_eq!(refused(store.ask("a")).await.1, "committed as 2");
    let turns = store.turns().await;
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[1].input, users(&["a", "b", "c"]));
    assert_eq!(turns[1].merged_request_ids, committed.merged_request_ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_within_the_window_is_answered_at_its_end() {
    let store = Store::new(Duration::from_secs(2)).await;
    let (a, b) = (store.wait("a", 1).await, store.wait("b", 2).await);
    let (leader, begun) = running(a).await;
    assert_eq!(begun.appended_messages, users(&["b"]));
    leader.commit(answer("a", &begun)).await.unwrap();
    assert_eq!(refused(b).await.0, Reason::TurnMerged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_not_answered_and_whose_turn_leaves_sends_again() {
    let store = Store::new(Duration::ZERO).await;
    let (first, begun) = running(store.ask("x")).await;
    let (a, b, c) = (store.wait("a", 1).await, store.wait("b", 2).await, store.wait("c", 3).await);
    b.abort();
    assert!(b.await.is_err_and(|error| error.is_cancelled()));
    first.commit(answer("x", &begun)).await.unwrap();
    let (leader, begun) = running(a).await;
    assert_eq!(begun.appended_messages, users(&["c"]));
    drop(leader);
    let (reason, message) = refused(c).await;
    assert_eq!(reason, Reason::TurnConflict);
    assert!(message.contains("send them again"), "{message}");
    // Nothing is kept of it, and nobody is held up.
    assert_eq!(store.turns().await.len(), 1);
    let (again, begun) = running(store.ask("c")).await;
    again.commit(answer("c", &begun)).await.unwrap();
    assert_eq!(store.turns().await[1].input, users(&["c"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_in_its_window_takes_nobody_along() {
    let store = Store::new(Duration::from_secs(2)).await;
    let (a, b, c) = (store.wait("a", 1).await, store.wait("b", 2).await, store.wait("c", 3).await);
    a.abort();
    assert!(a.await.is_err_and(|error| error.is_cancelled()));
    let (leader, begun) = running(b).await;
    assert_eq!(begun.appended_messages, users(&["c"]));
    leader.commit(answer("b", &begun)).await.unwrap();
    assert_eq!(refused(c).await.0, Reason::TurnMerged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_the_turn_that_runs_is_answered_with_that() {
    let store = Store::new(Duration::ZERO).await;
    let (first, begun) = running(store.ask("x")).await;
    let (a, again, b) = (store.wait("a", 1).await, store.wait("x", 2).await, store.wait("b", 3).await);
    first.commit(answer("x", &begun)).await.unwrap();
    let (leader, begun) = running(a).await;
    assert_eq!(begun.appended_messages, users(&["b"]));
    assert_eq!(refused(again).await.1, "committed as 1");
    leader.commit(answer("a", &begun)).await.unwrap();
    assert_eq!(refused(b).await.0, Reason::TurnMerged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_off_keeps_the_messages_of_all() {
    let store = Store::new(Duration::ZERO).await;
    let (first, begun) = running(store.ask("x")).await;
    let (a, b) = (store.wait("a", 1).await, store.wait("b", 2).await);
    first.commit(answer("x", &begun)).await.unwrap();
    let (mut leader, _) = running(a).await;
    let (kept, left) = tokio::join!(store.sessions.interrupt(&store.key, "a", "well".into()), async {
        let error = leader.given_up().await;
        drop(leader);
        error
    });
    assert_eq!(left.reason(), Reason::TurnInterrupted);
    let kept = kept.unwrap();
    assert_eq!(
        (kept.kind(), kept.input, kept.merged_request_ids),
        (TurnKind::Interrupted, users(&["a", "b"]), vec!["b".into()])
    );
    assert_eq!(refused(b).await.0, Reason::TurnMerged);
    assert_eq!(refused(store.ask("b")).await.0, Reason::TurnMerged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_sent_again_knows_whom_it_answers() {
    let store = Store::new(Duration::ZERO).await;
    let (first, begun) = running(store.ask("x")).await;
    let (a, b) = (store.wait("a", 1).await, store.wait("b", 2).await);
    first.commit(answer("x", &begun)).await.unwrap();
    let (leader, begun) = running(a).await;
    // As if the gateway had lost the store: whoever waits must think that nothing is kept.
    drop(leader);
    assert_eq!(refused(b).await.0, Reason::TurnConflict);
    let commit = commit_again("a", begun);
    for was_before in [false, true] {
        let committed = store.sessions.commit_again(store.key.clone(), commit.clone()).await.unwrap();
        assert_eq!(committed.was_committed_before, was_before);
        assert_eq!(committed.turn.unwrap().merged_request_ids, ["b"]);
    }
    assert_eq!(refused(store.ask("b")).await.0, Reason::TurnMerged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_twice_where_a_turn_was_kept_in_part() {
    let store = Store::new(Duration::ZERO).await;
    let keeps = Session { keep_partial_output: true, ..Session::default() };
    store.sessions.update(&store.key, &keeps, &["keep_partial_output".to_owned()]).await.unwrap();
    let (first, begun) = running(store.ask("x")).await;
    let (a, b) = (store.wait("a", 1).await, store.wait("b", 2).await);
    first.commit(answer("x", &begun)).await.unwrap();
    let (mut leader, begun) = running(a).await;
    let content = Some(Content::Text("Hel".into()));
    let piece = Frame { sequence: 2, body: Some(Body::Delta(Delta { content, ..Delta::default() })) };
    leader.record(vec![piece]).await.unwrap();
    // Its stream is lost: what came is kept as such, and the other is told to send again.
    leader.abandon(None).await;
    assert_eq!(refused(b).await.0, Reason::SessionsUnavailable);
    assert_eq!(store.turns().await.last().unwrap().kind(), TurnKind::Partial);
    let commit = commit_again("a", begun);
    let late = store.sessions.commit_again(store.key.clone(), commit).await;
    assert_eq!(late.unwrap_err().reason(), Reason::TurnConflict);
    let (again, begun) = running(store.ask("b")).await;
    again.commit(answer("b", &begun)).await.unwrap();
    let said = store.turns().await.into_iter().flat_map(|turn| turn.input).filter(|it| *it == text(Role::User, "b"));
    assert_eq!(said.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_added_waits_for_a_turn_of_its_own() {
    let store = Store::new(Duration::ZERO).await;
    let (first, begun) = running(store.ask("x")).await;
    let append = AppendMessagesRequest {
        name: "sessions/talk".into(),
        messages: users(&["aside"]),
        request_id: "aside".into(),
        ..AppendMessagesRequest::default()
    };
    let (sessions, key) = (Arc::clone(&store.sessions), store.key.clone());
    let appended = tokio::spawn(async move { sessions.append(&key, append, 1).await });
    let (a, b) = (store.wait("a", 1).await, store.wait("b", 2).await);
    first.commit(answer("x", &begun)).await.unwrap();
    let (leader, begun) = running(a).await;
    assert_eq!(begun.appended_messages, users(&["b"]));
    leader.commit(answer("a", &begun)).await.unwrap();
    assert_eq!(refused(b).await.0, Reason::TurnMerged);
    let appended = appended.await.unwrap().unwrap();
    assert_eq!((appended.kind(), appended.input), (TurnKind::Appended, users(&["aside"])));
    assert_eq!(store.turns().await.len(), 3);
}
