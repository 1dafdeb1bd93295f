use pointsman_proto::inference::v1::Frame;
use pointsman_proto::sessions::v1::{RecordFrames, Run, RunState, Turn, TurnKind};

use super::places::Database;
use super::samples::{self, commit, erasure, fence, key, now, turn};
use crate::store::sql::MARGIN;
use crate::store::{Commit, Committed, Created, Moment, RunKey, SessionKey};

on_databases![
    a_run_is_begun_once_and_ends_once,
    frames_are_given_from_any_place,
    a_run_of_which_nobody_says_anything_has_failed_for_good,
    a_run_ends_with_its_commit,
    what_was_cancelled_cannot_be_committed,
    the_latest_run_is_listed_first,
    runs_go_with_their_session_or_with_their_time,
    what_came_of_a_turn_that_failed_repeats_nothing,
];

/// Longer than a test takes.
const LONG: i64 = 1_000_000_000;

fn name<'a>(session: &'a SessionKey, request_id: &'a str) -> RunKey<'a> {
    RunKey { session, request_id }
}

fn moment(time: i64) -> Moment {
    let now = now();
    Moment { now, until: now + time }
}

fn frames(sequences: impl IntoIterator<Item = u64>) -> RecordFrames {
    RecordFrames { frames: sequences.into_iter().map(|sequence| Frame { sequence, body: None }).collect() }
}

async fn found(database: &Database, run: &RunKey<'_>) -> Run {
    database.runs().get(run, now()).await.unwrap().unwrap().0
}

/// The same, as it stands when nobody can have a doubt.
async fn found_later(database: &Database, run: &RunKey<'_>) -> Run {
    database.runs().get(run, now() + MARGIN).await.unwrap().unwrap().0
}

async fn a_run_is_begun_once_and_ends_once(database: &Database) {
    let key = key("t", "s");
    let run = name(&key, "r");
    database.made(&key).await;
    assert_eq!(database.runs().begin(&run, u64::MAX, moment(LONG)).await.unwrap(), Created::Yes);
    assert_eq!(database.runs().begin(&run, 8, moment(LONG)).await.unwrap(), Created::Exists);
    let (begun, digest) = database.runs().get(&run, now()).await.unwrap().unwrap();
    assert_eq!(
        (begun.state(), begun.session.as_str(), begun.request_id.as_str()),
        (RunState::Running, "sessions/s", "r")
    );
    assert_eq!((digest, begun.last_sequence, begun.end_time), (u64::MAX, 0, None));
    assert!(database.runs().renew(&run, moment(LONG)).await.unwrap());
    assert!(database.runs().end(&run, RunState::Failed, "ENGINE_LOST", now()).await.unwrap());
    let ended = found(database, &run).await;
    assert_eq!((ended.state(), ended.failure_reason.as_str()), (RunState::Failed, "ENGINE_LOST"));
    assert!(ended.end_time.is_some());
    assert!(!database.runs().end(&run, RunState::Cancelled, "", now()).await.unwrap());
    assert!(!database.runs().renew(&run, moment(LONG)).await.unwrap());
    assert!(!database.runs().record(&run, &frames([1]), now()).await.unwrap());
    assert_eq!(found(database, &run).await, ended);
    assert!(database.runs().get(&name(&key, "other"), now()).await.unwrap().is_none());
    assert!(database.runs().get(&name(&samples::key("other", "s"), "r"), now()).await.unwrap().is_none());
}

async fn frames_are_given_from_any_place(database: &Database) {
    let key = key("t", "s");
    let run = name(&key, "r");
    database.made(&key).await;
    database.runs().begin(&run, 7, moment(LONG)).await.unwrap();
    for batch in [1..4, 4..5, 5..9] {
        assert!(database.runs().record(&run, &frames(batch), now()).await.unwrap());
    }
    assert_eq!(found(database, &run).await.last_sequence, 8);
    for after in 0..9 {
        let given = database.runs().frames(&run, after).await.unwrap();
        let given: Vec<u64> = given.iter().map(|frame| frame.sequence).collect();
        assert_eq!(given, (after + 1..9).collect::<Vec<_>>());
    }
    assert!(database.runs().frames(&run, u64::MAX).await.unwrap().is_empty());
    // An answer was lost, or a stream: what comes again is kept with what follows it, and given once.
    for batch in [5..12, 7..10, 12..14] {
        assert!(database.runs().record(&run, &frames(batch), now()).await.unwrap());
    }
    assert!(!database.runs().record(&run, &frames(5..7), now()).await.unwrap());
    let given = database.runs().frames(&run, 2).await.unwrap();
    assert_eq!(given.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), (3..14).collect::<Vec<_>>());
}

async fn a_run_of_which_nobody_says_anything_has_failed_for_good(database: &Database) {
    let key = key("t", "s");
    let run = name(&key, "r");
    let session = database.made(&key).await;
    let begun = moment(0);
    database.runs().begin(&run, 7, begun).await.unwrap();
    let lost = found_later(database, &run).await;
    assert_eq!((lost.state(), lost.failure_reason.as_str()), (RunState::Failed, "STREAM_TRUNCATED"));
    assert_eq!(lost.end_time, Some(samples::time(begun.until)));
    assert!(!database.runs().renew(&run, moment(LONG)).await.unwrap());
    assert!(!database.runs().record(&run, &frames([1]), now()).await.unwrap());
    let (fence, turn) = (fence(&session), Turn { request_id: "r".into(), ..turn(1) });
    let late = database.turns().commit(&Commit { is_run: true, ..commit(&key, &fence, &turn) }).await.unwrap();
    assert!(matches!(late, Committed::Conflict), "{late:?}");
    assert_eq!(database.session(&key).await.revision, 0);
    assert_eq!(found_later(database, &run).await, lost);
}

async fn a_run_ends_with_its_commit(database: &Database) {
    let key = key("t", "s");
    let run = name(&key, "r");
    let session = database.made(&key).await;
    database.runs().begin(&run, 7, moment(LONG)).await.unwrap();
    let (fence, turn) = (fence(&session), Turn { request_id: "r".into(), ..turn(1) });
    let asked = Commit { is_run: true, ..commit(&key, &fence, &turn) };
    assert!(matches!(database.turns().commit(&asked).await.unwrap(), Committed::Now));
    let ended = found(database, &run).await;
    assert_eq!((ended.state(), ended.revision, ended.end_time), (RunState::Succeeded, 1, turn.create_time));
    // Its answer was lost.
    assert!(matches!(database.turns().commit(&asked).await.unwrap(), Committed::Before(_, 7)));
    assert_eq!(found(database, &run).await, ended);
}

async fn what_was_cancelled_cannot_be_committed(database: &Database) {
    let key = key("t", "s");
    let run = name(&key, "r");
    let session = database.made(&key).await;
    database.runs().begin(&run, 7, moment(LONG)).await.unwrap();
    assert!(database.runs().end(&run, RunState::Cancelled, "", now()).await.unwrap());
    let (fence, turn) = (fence(&session), Turn { request_id: "r".into(), ..turn(1) });
    let late = database.turns().commit(&Commit { is_run: true, ..commit(&key, &fence, &turn) }).await.unwrap();
    assert!(matches!(late, Committed::Conflict), "{late:?}");
    assert!(database.all_turns(&key).await.is_empty());
    // Whichever comes first holds, also where both wait for the same rows.
    for round in 0..20 {
        let id = format!("r{round}");
        let run = name(&key, &id);
        database.runs().begin(&run, 7, moment(LONG)).await.unwrap();
        let at = samples::fence(&database.session(&key).await);
        let turn = Turn { request_id: id.clone(), ..samples::turn(at.revision + 1) };
        let asked = Commit { is_run: true, ..commit(&key, &at, &turn) };
        let (cancelled, committed) =
            tokio::join!(database.runs().end(&run, RunState::Cancelled, "", now()), database.turns().commit(&asked));
        let (cancelled, committed) = (cancelled.unwrap(), matches!(committed.unwrap(), Committed::Now));
        assert!(cancelled != committed, "{round}");
        let state = if cancelled { RunState::Cancelled } else { RunState::Succeeded };
        assert_eq!(found(database, &run).await.state(), state);
        assert_eq!(database.session(&key).await.revision, at.revision + u64::from(committed));
    }
    let fence = samples::fence(&database.session(&key).await);
    let turn = Turn { revision: fence.revision + 1, ..turn };
    // What is no run has nothing to do with it.
    assert!(matches!(database.turns().commit(&commit(&key, &fence, &turn)).await.unwrap(), Committed::Now));
    assert_eq!(found(database, &run).await.state(), RunState::Cancelled);
}

async fn the_latest_run_is_listed_first(database: &Database) {
    let key = key("t", "s");
    database.made(&key).await;
    for request_id in ["a", "b", "c"] {
        database.runs().begin(&name(&key, request_id), 7, moment(LONG)).await.unwrap();
    }
    let ids = |runs: Vec<Run>| runs.into_iter().map(|run| run.request_id).collect::<Vec<_>>();
    let first = database.runs().list(&key, None, 2, now()).await.unwrap();
    let before =
        first.last().map(|run| (crate::store::sql::micros_of(run.create_time.as_ref()), run.request_id.clone()));
    assert_eq!(ids(first), ["c", "b"]);
    assert_eq!(ids(database.runs().list(&key, before, 2, now()).await.unwrap()), ["a"]);
    assert!(database.runs().list(&samples::key("other", "s"), None, 2, now()).await.unwrap().is_empty());
}

async fn runs_go_with_their_session_or_with_their_time(database: &Database) {
    let (first, second) = (key("t", "a"), key("t", "b"));
    for key in [&first, &second] {
        database.made(key).await;
        database.runs().begin(&name(key, "r"), 7, moment(LONG)).await.unwrap();
        assert!(database.runs().record(&name(key, "r"), &frames([1, 2]), now()).await.unwrap());
    }
    database.erasures().erase(&first, &erasure(&first, now()), None).await.unwrap().unwrap();
    // What has the name now has none of what the one before had.
    database.made(&first).await;
    assert!(database.runs().get(&name(&first, "r"), now()).await.unwrap().is_none());
    assert!(database.runs().frames(&name(&first, "r"), 0).await.unwrap().is_empty());
    database.runs().forget(now()).await.unwrap();
    assert_eq!(found(database, &name(&second, "r")).await.last_sequence, 2);
    database.runs().forget(now() + 2 * LONG).await.unwrap();
    assert!(database.runs().get(&name(&second, "r"), now()).await.unwrap().is_none());
    assert!(database.runs().frames(&name(&second, "r"), 0).await.unwrap().is_empty());
}

async fn what_came_of_a_turn_that_failed_repeats_nothing(database: &Database) {
    let key = key("t", "s");
    let session = database.made(&key).await;
    let mut place = fence(&session);
    for revision in 1..=3 {
        // The same request, which fails twice.
        let kind = if revision < 3 { TurnKind::Partial } else { TurnKind::Generated };
        let turn = Turn { request_id: "r".into(), kind: kind.into(), ..turn(revision) };
        let done = database.turns().commit(&commit(&key, &place, &turn)).await.unwrap();
        assert!(matches!(done, Committed::Now), "{done:?}");
        place.revision += 1;
        let opened = database.opened(&key, "r").await;
        assert_eq!(opened.committed.map(|(turn, _)| turn.revision), (revision == 3).then_some(3));
    }
    let kept = database.all_turns(&key).await;
    assert!(kept.iter().all(|turn| turn.request_id == "r"));
    let pinned = database.turns().pin(&key, 1, true).await.unwrap().unwrap();
    assert_eq!((pinned.request_id.as_str(), pinned.kind()), ("r", TurnKind::Partial));
}
