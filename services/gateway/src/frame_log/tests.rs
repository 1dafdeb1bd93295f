use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Delta, Finished, Frame, SessionTurn, Started, delta};
use pointsman_types::ByteSize;

use super::token::Generation;
use super::{Asked, Config, Entered, FrameLogs, KEEP_TURN, Name, Reader, Writer};

fn name(id: &str) -> Name {
    Name { tenant: "t".into(), request_id: id.into() }
}

fn asked(digest: u64) -> Asked {
    Asked { digest, zones: Default::default(), is_turn: false }
}

fn frame(sequence: u64, text: &str) -> Frame {
    let content = Some(delta::Content::Text(text.to_owned()));
    Frame { sequence, body: Some(Body::Delta(Delta { content, ..Delta::default() })) }
}

fn end(sequence: u64) -> Frame {
    Frame { sequence, body: Some(Body::Finished(Finished::default())) }
}

fn enter(logs: &FrameLogs, name: &Name, digest: u64) -> Result<Entered, Error> {
    logs.enter(name, asked(digest), &Arc::default())
}

fn new(logs: &FrameLogs, id: &str) -> (Writer, Reader) {
    match enter(logs, &name(id), 1).unwrap() {
        Entered::New(writer, reader) => (writer, reader),
        Entered::Known(_) | Entered::Stored => panic!("{id} is known"),
    }
}

fn known(logs: &FrameLogs, id: &str) -> Reader {
    match enter(logs, &name(id), 1).unwrap() {
        Entered::New(..) | Entered::Stored => panic!("{id} is new"),
        Entered::Known(reader) => reader,
    }
}

/// Takes up whichever answer there is.
fn resume(logs: &FrameLogs, id: &str, after: u64) -> Result<Reader, Error> {
    let generation = logs.lock().logs.get(&name(id)).map_or(Generation::MIN, |log| log.generation);
    logs.resume(&name(id), &asked(0), generation, after)
}

async fn write(writer: Writer, frames: Vec<Result<Frame, Error>>) {
    writer.write(async move { Ok(stream::iter(frames)) }, Some(Duration::ZERO)).await;
}

async fn sequences(reader: Reader) -> Vec<u64> {
    reader.map(|frame| frame.unwrap().sequence).collect().await
}

#[tokio::test]
async fn a_repeat_joins_and_then_repeats() {
    let logs = FrameLogs::new(Config::default());
    let (writer, first) = new(&logs, "a");
    let second = known(&logs, "a");
    let writing = write(writer, vec![Ok(frame(1, "x")), Ok(frame(2, "y")), Ok(end(3))]);
    let ((), first, second) = tokio::join!(writing, sequences(first), sequences(second));
    assert_eq!((first, second), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(sequences(known(&logs, "a")).await, [1, 2, 3], "after the end");
    assert_eq!(sequences(resume(&logs, "a", 2).unwrap()).await, [3]);
    let other = Name { tenant: "other".into(), ..name("a") };
    assert!(matches!(enter(&logs, &other, 1).unwrap(), Entered::New(..)), "names are a tenant's own");
}

/// The first frame of a turn.
fn begin_of_turn() -> Frame {
    let turn = SessionTurn { session: "sessions/s".into(), revision: 3, ..SessionTurn::default() };
    let started = Started { request_id: "a".into(), session_turn: Some(turn), ..Started::default() };
    Frame { sequence: 1, body: Some(Body::Started(Box::new(started))) }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_whole_is_told_by_its_store_and_soon_forgotten() {
    let logs = FrameLogs::new(Config::default());
    let enter = || logs.enter(&name("a"), Asked { is_turn: true, ..asked(1) }, &Arc::default()).unwrap();
    let Entered::New(writer, first) = enter() else { panic!("known") };
    let Entered::Known(joined) = enter() else { panic!("it runs") };
    let window = Duration::from_secs(30);
    writer.write(async { Ok(stream::iter([Ok(begin_of_turn()), Ok(end(2))])) }, Some(window)).await;
    assert_eq!((sequences(first).await, sequences(joined).await), (vec![1, 2], vec![1, 2]));
    assert!(matches!(enter(), Entered::Stored));
    // Whose stream was lost takes it up for a while, also where somebody has asked again; it is said what turn it was.
    tokio::time::advance(window - Duration::from_millis(1)).await;
    let again = resume(&logs, "a", 1).unwrap();
    let turn = again.turn_that_is_whole().unwrap();
    assert_eq!((&*turn.session, turn.revision, &*turn.request_id), ("sessions/s", 3, "a"));
    assert_eq!(sequences(again).await, [2]);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(resume(&logs, "a", 1).map(|_| ()).unwrap_err().reason(), Reason::FrameLogLost);
    // One that nobody is waited for is kept shortly, and goes before one that came earlier.
    let (other, _reads) = new(&logs, "b");
    write(other, vec![Ok(end(1))]).await;
    let Entered::New(writer, _) = enter() else { panic!("known") };
    writer.write(async { Ok(stream::iter([Ok(end(1))])) }, None).await;
    tokio::time::advance(KEEP_TURN).await;
    assert!(resume(&logs, "a", 0).is_err() && resume(&logs, "b", 0).is_ok());
}

#[tokio::test]
async fn another_request_with_the_same_name_is_refused() {
    let logs = FrameLogs::new(Config::default());
    let _running = new(&logs, "a");
    let refused = enter(&logs, &name("a"), 2).map(|_| ()).unwrap_err();
    assert_eq!(refused.reason(), Reason::RequestIdReused);
}

#[tokio::test]
async fn what_failed_is_forgotten_and_can_be_tried_again() {
    let logs = FrameLogs::new(Config::default());
    let (writer, mut reader) = new(&logs, "a");
    write(writer, vec![Ok(frame(1, "x")), Err(Error::new(Reason::EngineLost, "gone"))]).await;
    reader.first().await.unwrap();
    let read: Vec<_> = reader.map(|frame| frame.map_err(|error| error.reason())).collect().await;
    assert_eq!((read.len(), read[1].clone().err()), (2, Some(Reason::EngineLost)));
    assert_eq!(resume(&logs, "a", 1).map(|_| ()).unwrap_err().reason(), Reason::FrameLogLost);
    let _again = new(&logs, "a");
}

/// What is generated anew under an old name is another answer.
#[tokio::test]
async fn nobody_goes_on_in_another_answer() {
    let logs = FrameLogs::new(Config::default());
    let (writer, _reader) = new(&logs, "a");
    let first = writer.generation();
    assert!(logs.resume(&name("a"), &asked(0), first, 0).is_ok());
    write(writer, vec![Ok(frame(1, "x")), Err(Error::new(Reason::EngineLost, "gone"))]).await;
    let (writer, _reader) = new(&logs, "a");
    let second = writer.generation();
    write(writer, vec![Ok(frame(1, "y")), Ok(end(2))]).await;
    let taken_up = |generation| logs.resume(&name("a"), &asked(0), generation, 1).map_err(|error| error.reason());
    assert_eq!((taken_up(first).err(), taken_up(second).err()), (Some(Reason::FrameLogLost), None));
    let found = |generation| logs.find(&name("a"), &asked(1), generation).map_err(|error| error.reason());
    assert_eq!((found(first).err(), found(second).err()), (Some(Reason::FrameLogLost), None));
}

#[tokio::test]
async fn a_reader_has_got_nothing_that_was_not_written() {
    let logs = FrameLogs::new(Config::default());
    let (writer, _reader) = new(&logs, "a");
    let resume = |after| resume(&logs, "a", after);
    let refused = |after| {
        let error = resume(after).map(|_| ()).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidRequest);
        error.message().to_owned()
    };
    assert!(resume(0).is_ok());
    assert_eq!(refused(1), "after_sequence: is after the last frame of this answer so far; must be at most 0");

    let (last, end_comes) = tokio::sync::oneshot::channel();
    let frames = stream::iter([Ok(frame(1, "x")), Ok(frame(2, "y"))]);
    let frames = frames.chain(stream::once(async { Ok(end_comes.await.unwrap()) })).boxed();
    let writing = tokio::spawn(writer.write(async move { Ok(frames) }, Some(Duration::ZERO)));
    let at_two = known(&logs, "a");
    assert_eq!(at_two.take(2).count().await, 2);
    assert_eq!(refused(3), "after_sequence: is after the last frame of this answer so far; must be at most 2");
    let waits = resume(2).unwrap();
    last.send(end(3)).unwrap();
    assert_eq!(sequences(waits).await, [3]);
    writing.await.unwrap();
    assert_eq!(sequences(resume(3).unwrap()).await, [0; 0], "after the last there is a good end");
    for after in [4, u64::MAX] {
        assert_eq!(refused(after), "after_sequence: is after the last frame of this answer; must be at most 3");
    }
}

#[tokio::test]
async fn work_that_everybody_has_left_is_cancelled_after_its_window() {
    tokio::time::pause();
    let logs = FrameLogs::new(Config::default());
    let (writer, reader) = new(&logs, "a");
    let endless = stream::iter([Ok(frame(1, "x"))]).chain(stream::pending()).boxed();
    let writing = tokio::spawn(writer.write(async move { Ok(endless) }, Some(Duration::from_secs(30))));
    drop(reader);
    tokio::time::sleep(Duration::from_secs(29)).await;
    let mut taken_up = resume(&logs, "a", 0).unwrap();
    assert_eq!(taken_up.next().await.unwrap().unwrap().sequence, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!writing.is_finished(), "somebody reads");
    drop(taken_up);
    tokio::time::sleep(Duration::from_secs(31)).await;
    writing.await.unwrap();
    assert_eq!(resume(&logs, "a", 0).map(|_| ()).unwrap_err().reason(), Reason::FrameLogLost);
}

#[tokio::test]
async fn bytes_and_time_bound_what_is_kept() {
    tokio::time::pause();
    let max_bytes = "2KiB".parse::<ByteSize>().unwrap();
    let config = Config { max_bytes, keep: Duration::from_secs(60), ..Config::default() };
    let logs = FrameLogs::new(config);
    let text = "x".repeat(900);
    for id in ["a", "b", "c"] {
        let (writer, _reader) = new(&logs, id);
        write(writer, vec![Ok(frame(1, &text)), Ok(end(2))]).await;
    }
    let _makes_room = new(&logs, "d");
    assert!(resume(&logs, "a", 0).is_err(), "the oldest goes first");
    assert!(resume(&logs, "c", 0).is_ok());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(resume(&logs, "c", 0).is_err(), "its time is over");

    let (writer, _reader) = new(&logs, "e");
    let endless = stream::iter([Ok(frame(1, &text)), Ok(frame(2, &text))]).chain(stream::pending()).boxed();
    let writing = tokio::spawn(writer.write(async move { Ok(endless) }, Some(Duration::ZERO)));
    tokio::task::yield_now().await;
    let refused = enter(&logs, &name("f"), 1).map(|_| ()).unwrap_err();
    assert_eq!((refused.reason(), refused.retry_delay().is_some()), (Reason::Overloaded, true));
    writing.abort();
}

#[tokio::test]
async fn what_somebody_still_reads_takes_its_room() {
    let config = Config { max_bytes: "2KiB".parse::<ByteSize>().unwrap(), ..Config::default() };
    let logs = FrameLogs::new(config);
    let (writer, slow) = new(&logs, "a");
    let text = "x".repeat(900);
    write(writer, vec![Ok(frame(1, &text)), Ok(frame(2, &text)), Ok(end(3))]).await;
    let refused = enter(&logs, &name("b"), 1).map(|_| ()).unwrap_err();
    assert_eq!(refused.reason(), Reason::Overloaded, "forgotten, and still there");
    assert!(resume(&logs, "a", 0).is_err(), "nobody else comes to it");
    assert_eq!(sequences(slow).await, [1, 2, 3], "whole, for whoever has begun");
    let _has_room = new(&logs, "b");
}

#[tokio::test]
async fn who_stops_reading_does_not_take_room_for_ever() {
    tokio::time::pause();
    let config = Config { max_bytes: "2KiB".parse::<ByteSize>().unwrap(), ..Config::default() };
    let logs = FrameLogs::new(config);
    tokio::spawn(logs.clone().keep_bounded());
    let (writer, mut slow) = new(&logs, "a");
    let text = "x".repeat(900);
    write(writer, vec![Ok(frame(1, &text)), Ok(frame(2, &text)), Ok(end(3))]).await;
    let pause = config.stall_timeout - Duration::from_secs(15);
    for sequence in [1, 2] {
        assert_eq!(slow.next().await.unwrap().unwrap().sequence, sequence);
        tokio::time::sleep(pause).await;
        assert!(enter(&logs, &name("b"), 1).is_err(), "slowly, but it reads");
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    let _has_room = new(&logs, "b");
    assert_eq!(slow.next().await.unwrap().map_err(|error| error.reason()), Err(Reason::FrameLogLost));
    assert!(slow.next().await.is_none());
}

/// An answer that is still kept is whole, however slowly one of its readers reads it; and so is one that is not there yet.
#[tokio::test]
async fn who_waits_has_not_stopped_reading() {
    tokio::time::pause();
    let logs = FrameLogs::new(Config { max_bytes: "2KiB".parse::<ByteSize>().unwrap(), ..Config::default() });
    tokio::spawn(logs.clone().keep_bounded());
    let (writer, mut waits) = new(&logs, "a");
    let (begin, begins) = tokio::sync::oneshot::channel();
    let text = "x".repeat(2000);
    let frames = stream::once(async { Ok(begins.await.unwrap()) }).chain(stream::iter([Ok(end(2))])).boxed();
    let writing = tokio::spawn(writer.write(async move { Ok(frames) }, Some(Duration::ZERO)));
    assert!(futures::poll!(waits.next()).is_pending());
    tokio::time::sleep(Duration::from_secs(300)).await;
    begin.send(frame(1, &text)).unwrap();
    writing.await.unwrap();
    assert!(enter(&logs, &name("b"), 1).is_err(), "forgotten, and still there");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(sequences(waits).await, [1, 2]);
}
