//! Two processes on one database, one of which is told what the other is asked for.

use std::sync::Arc;

use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Delta, Frame, Role, delta};
use pointsman_proto::sessions::v1::{BeginTurn, CommitTurn, ErasureCause, Fence, RunState, Session, Turn, TurnKind};
use pointsman_server::{Drain, Metrics as Registry, Work};
use pointsman_testkit::eventually;

use super::places::{DEADLINE, Database};
use super::samples::{key, text};
use crate::Config;
use crate::metrics::Metrics;
use crate::sessions::{Around, Sessions};
use crate::store::RunKey;
use crate::turn::{Begun, Coming, RunningTurn};

on_databases![
    a_turn_that_another_process_runs_is_broken_off,
    a_run_of_another_process_is_cancelled_and_attached,
    a_turn_whose_gateway_was_not_lost_takes_the_place_of_what_had_come,
    where_no_process_runs_a_turn_there_is_nothing_to_break_off,
    who_stops_waiting_for_another_process_leaves_nothing_behind,
    who_answers_in_a_session_that_another_process_erases_is_told,
    what_is_over_is_erased_by_one_of_them,
];

/// A store process, which listens.
fn process(database: &Database) -> Arc<Sessions> {
    let metrics = Metrics::register(&Registry::default());
    let around = Around { metrics, work: Work::default(), drain: Drain::default() };
    let sessions = Sessions::new(&Config::default(), &database.sql, None, around);
    tokio::spawn(crate::signals::run(Arc::clone(&sessions)));
    sessions
}

async fn begin(sessions: &Arc<Sessions>, session: &str, request_id: &str) -> Box<RunningTurn> {
    begin_as(sessions, (session, request_id), false).await
}

async fn begin_as(sessions: &Arc<Sessions>, (session, request_id): (&str, &str), detach: bool) -> Box<RunningTurn> {
    let begin = BeginTurn {
        detach,
        session: session.to_owned(),
        request_id: request_id.to_owned(),
        messages: vec![text(Role::User, "tell me a story")],
        ..BeginTurn::default()
    };
    match sessions.begin(key("t", session), begin, Coming::Add).await.unwrap() {
        Begun::Running(turn, _) => turn,
        Begun::Committed(committed) => panic!("{committed:?}"),
    }
}

/// Runs a turn until it is given up, and says why.
fn run(mut turn: Box<RunningTurn>) -> tokio::task::JoinHandle<Reason> {
    tokio::spawn(async move {
        let reason = turn.given_up().await.reason();
        turn.hand_over().await;
        reason
    })
}

async fn a_turn_that_another_process_runs_is_broken_off(database: &Database) {
    let (one, other) = (process(database), process(database));
    let runs = run(begin(&one, "s", "r").await);
    let unheard = run(begin(&one, "unheard", "r").await);
    let turn = other.interrupt(&key("t", "s"), "r", "Once upon".to_owned()).await.unwrap();
    assert_eq!(runs.await.unwrap(), Reason::TurnInterrupted);
    let wanted = Turn {
        revision: 1,
        kind: TurnKind::Interrupted.into(),
        output: Some(text(Role::Assistant, "Once upon")),
        ..turn.clone()
    };
    assert_eq!(turn, wanted);
    assert_eq!(turn.input, [text(Role::User, "tell me a story")]);
    assert_eq!(database.all_turns(&key("t", "s")).await, [turn]);
    assert!(database.signals().read(i64::MAX).await.unwrap().signals.is_empty());
    // Whoever waits for the session comes after it.
    let queued = key("t", "queued");
    let first = run(begin(&one, "queued", "r").await);
    let mut second = std::pin::pin!(begin(&one, "queued", "q"));
    while futures::poll!(&mut second).is_pending() && one.places.people(&queued) < 2 {
        tokio::task::yield_now().await;
    }
    let heard = other.interrupt(&queued, "r", "Once".to_owned());
    let (second, heard) = tokio::join!(second, heard);
    assert_eq!((heard.unwrap().revision, first.await.unwrap()), (1, Reason::TurnInterrupted));
    assert_eq!(second.commit(Turn::default()).await.unwrap().turn.unwrap().revision, 2);
    // Nothing was heard of this one.
    let turn = other.interrupt(&key("t", "unheard"), "r", String::new()).await.unwrap();
    assert_eq!((turn.kind(), turn.output), (TurnKind::Interrupted, None));
    assert_eq!(unheard.await.unwrap(), Reason::TurnInterrupted);
}

async fn a_run_of_another_process_is_cancelled_and_attached(database: &Database) {
    let (one, other) = (process(database), process(database));
    let runs = run(begin_as(&one, ("s", "r"), true).await);
    let cancelled = other.cancel_run(&key("t", "s"), "r").await.unwrap();
    assert_eq!(cancelled.state(), RunState::Cancelled);
    assert_eq!(runs.await.unwrap(), Reason::RunCancelled);
    let refused = other.attach_run(key("t", "s"), "r".to_owned()).await.err().unwrap();
    assert_eq!(refused.reason(), Reason::RunCancelled);
    // A gateway whose store died comes to the other, which has what was kept and takes what was not.
    let frames = |sequences: std::ops::Range<u64>| sequences.map(|sequence| Frame { sequence, body: None }).collect();
    let mut first = begin_as(&one, ("s", "a"), true).await;
    assert_eq!(first.record(frames(1..4)).await.unwrap(), Some(3));
    let mut second = other.attach_run(key("t", "s"), "a".to_owned()).await.unwrap();
    assert_eq!(second.record(frames(2..8)).await.unwrap(), 7);
    let read = database.runs().frames(&RunKey { session: &key("t", "s"), request_id: "a" }, 0).await.unwrap();
    assert!(read.len() == 7 && read.iter().zip(1..).all(|(frame, sequence)| frame.sequence == sequence));
    // The process that it has left does not end it while somebody else speaks for it.
    let speaks = async {
        loop {
            second.renew().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = first.abandon(None) => {}
        () = speaks => {}
    }
    assert_eq!(other.run(&key("t", "s"), "a").await.unwrap().state(), RunState::Running);
}

async fn a_turn_whose_gateway_was_not_lost_takes_the_place_of_what_had_come(database: &Database) {
    let (one, key) = (process(database), key("t", "s"));
    let settings = Session { keep_partial_output: true, ..Session::default() };
    let session = one.create(&key, settings).await.unwrap();
    let piece = Delta { content: Some(delta::Content::Text("Once".into())), ..Delta::default() };
    let frame = Frame { sequence: 2, body: Some(Body::Delta(piece)) };
    let mut turn = begin(&one, "s", "r").await;
    turn.record(vec![frame]).await.unwrap();
    turn.abandon(None).await;
    let partial = database.all_turns(&key).await.remove(0);
    assert_eq!((partial.kind(), partial.output), (TurnKind::Partial, Some(text(Role::Assistant, "Once"))));
    // Its stream was lost, and nothing else: it commits the whole answer to another process.
    let whole = Turn {
        kind: TurnKind::Generated.into(),
        request_id: "r".to_owned(),
        output: Some(text(Role::Assistant, "Once upon a time")),
        ..Turn::default()
    };
    let fence = Some(Fence { uid: session.uid, epoch: 0, revision: 0 });
    let commit = CommitTurn { fence, turn: Some(whole.clone()), request_digest: 7, ..CommitTurn::default() };
    let committed = process(database).commit_again(key.clone(), commit).await.unwrap().turn.unwrap();
    assert_eq!((committed.revision, &committed.output), (1, &whole.output));
    assert_eq!(database.all_turns(&key).await, [committed]);
    assert!(database.opened(&key, "r").await.committed.is_some());
}

async fn where_no_process_runs_a_turn_there_is_nothing_to_break_off(database: &Database) {
    let (one, other) = (process(database), process(database));
    let turn = begin(&one, "s", "r").await;
    let told = other.interrupt(&key("t", "s"), "R", "Once".to_owned()).await.unwrap_err();
    assert_eq!(told.reason(), Reason::TurnNotFound);
    let told = other.interrupt(&key("t", "none"), "r", "Once".to_owned()).await.unwrap_err();
    assert_eq!(told.reason(), Reason::SessionNotFound);
    assert!(database.signals().read(i64::MAX).await.unwrap().signals.is_empty());
    turn.commit(Turn { kind: TurnKind::Generated.into(), ..Turn::default() }).await.unwrap();
    assert_eq!(database.all_turns(&key("t", "s")).await.len(), 1);
}

async fn who_stops_waiting_for_another_process_leaves_nothing_behind(database: &Database) {
    let process = process(database);
    database.made(&key("t", "s")).await;
    let waits = tokio::spawn(async move { process.interrupt(&key("t", "s"), "r", "Once".to_owned()).await });
    let is_told = async || !database.signals().read(i64::MAX).await.unwrap().signals.is_empty();
    eventually!(DEADLINE, is_told().await).unwrap();
    waits.abort();
    eventually!(DEADLINE, !is_told().await).unwrap();
}

async fn who_answers_in_a_session_that_another_process_erases_is_told(database: &Database) {
    let (one, other) = (process(database), process(database));
    let runs = run(begin(&one, "s", "r").await);
    other.erase(&key("t", "s"), "", ErasureCause::Requested).await.unwrap().unwrap();
    assert_eq!(runs.await.unwrap(), Reason::SessionNotFound);
    // Another session of that name is not meant, though that one is remembered for a while.
    let mut anew = begin(&one, "s", "r").await;
    let next = run(begin(&one, "next", "r").await);
    other.interrupt(&key("t", "next"), "r", String::new()).await.unwrap();
    assert_eq!(next.await.unwrap(), Reason::TurnInterrupted);
    assert!(futures::poll!(Box::pin(anew.given_up())).is_pending());
    anew.commit(Turn::default()).await.unwrap();
}

async fn what_is_over_is_erased_by_one_of_them(database: &Database) {
    let (one, other) = (process(database), process(database));
    // Its time was over long ago.
    database.made_with(&key("t", "over"), 2).await;
    one.create(&key("t", "young"), Session::default()).await.unwrap();
    for process in [one, other] {
        tokio::spawn(crate::retention::run(process));
    }
    eventually!(DEADLINE, database.sessions().get(&key("t", "over")).await.unwrap().is_none()).unwrap();
    let erasures = database.erasures().list("t", None, 10).await.unwrap();
    let told: Vec<_> = erasures.iter().map(|it| (&*it.session, it.turn_count, it.cause())).collect();
    assert_eq!(told, [("sessions/over", 2, ErasureCause::Retention)]);
    assert!(database.sessions().get(&key("t", "young")).await.unwrap().is_some());
}
