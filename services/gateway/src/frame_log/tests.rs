use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Delta, Finished, Frame, delta};
use pointsman_types::ByteSize;

use super::log::STALLED;
use super::{Asked, Config, Entered, FrameLogs, Name, Reader, Writer};

fn name(id: &str) -> Name {
    Name { tenant: "t".into(), request_id: id.into() }
}

fn asked(digest: u64) -> Asked {
    Asked { digest, zones: Default::default() }
}

fn frame(sequence: u64, text: &str) -> Frame {
    let content = Some(delta::Content::Text(text.to_owned()));
    Frame { sequence, body: Some(Body::Delta(Delta { content, ..Delta::default() })) }
}

fn end(sequence: u64) -> Frame {
    Frame { sequence, body: Some(Body::Finished(Finished {})) }
}

fn enter(logs: &FrameLogs, name: &Name, digest: u64) -> Result<Entered, Error> {
    logs.enter(name, asked(digest), &Arc::default())
}

fn new(logs: &FrameLogs, id: &str) -> (Writer, Reader) {
    match enter(logs, &name(id), 1).unwrap() {
        Entered::New(writer, reader) => (writer, reader),
        Entered::Known(_) => panic!("{id} is known"),
    }
}

fn known(logs: &FrameLogs, id: &str) -> Reader {
    match enter(logs, &name(id), 1).unwrap() {
        Entered::New(..) => panic!("{id} is new"),
        Entered::Known(reader) => reader,
    }
}

async fn write(writer: Writer, frames: Vec<Result<Frame, Error>>) {
    writer.write(async move { Ok(stream::iter(frames)) }, Duration::ZERO).await;
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
    assert_eq!(sequences(logs.resume(&name("a"), &asked(0), None, 2).unwrap()).await, [3]);
    let other = Name { tenant: "other".into(), ..name("a") };
    assert!(matches!(enter(&logs, &other, 1).unwrap(), Entered::New(..)), "names are a tenant's own");
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
    assert_eq!(logs.resume(&name("a"), &asked(0), None, 1).map(|_| ()).unwrap_err().reason(), Reason::FrameLogLost);
    let _again = new(&logs, "a");
}

/// What is generated anew under an old name is another answer.
#[tokio::test]
async fn nobody_goes_on_in_another_answer() {
    let logs = FrameLogs::new(Config::default());
    let (writer, _reader) = new(&logs, "a");
    let first = Some(writer.generation());
    assert!(logs.resume(&name("a"), &asked(0), first, 0).is_ok());
    write(writer, vec![Ok(frame(1, "x")), Err(Error::new(Reason::EngineLost, "gone"))]).await;
    let (writer, _reader) = new(&logs, "a");
    let second = writer.generation();
    write(writer, vec![Ok(frame(1, "y")), Ok(end(2))]).await;
    let lost = |generation, after| {
        logs.resume(&name("a"), &asked(0), generation, after).map(|_| ()).map_err(|error| error.reason())
    };
    assert_eq!(lost(first, 1), Err(Reason::FrameLogLost));
    assert_eq!((lost(Some(second), 1), lost(None, 1)), (Ok(()), Ok(())));
    assert!(first.is_some_and(|first| logs.find(&name("a"), &asked(1), first).is_err()));
    assert!(logs.find(&name("a"), &asked(1), second).is_ok());
}

#[tokio::test]
async fn a_reader_has_got_nothing_that_was_not_written() {
    let logs = FrameLogs::new(Config::default());
    let (writer, _reader) = new(&logs, "a");
    let resume = |after| logs.resume(&name("a"), &asked(0), None, after);
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
    let writing = tokio::spawn(writer.write(async move { Ok(frames) }, Duration::ZERO));
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
    let writing = tokio::spawn(writer.write(async move { Ok(endless) }, Duration::from_secs(30)));
    drop(reader);
    tokio::time::sleep(Duration::from_secs(29)).await;
    let mut taken_up = logs.resume(&name("a"), &asked(0), None, 0).unwrap();
    assert_eq!(taken_up.next().await.unwrap().unwrap().sequence, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!writing.is_finished(), "somebody reads");
    drop(taken_up);
    tokio::time::sleep(Duration::from_secs(31)).await;
    writing.await.unwrap();
    assert_eq!(logs.resume(&name("a"), &asked(0), None, 0).map(|_| ()).unwrap_err().reason(), Reason::FrameLogLost);
}

#[tokio::test]
async fn bytes_and_time_bound_what_is_kept() {
    tokio::time::pause();
    let config = Config { max_bytes: "2KiB".parse::<ByteSize>().unwrap(), keep: Duration::from_secs(60) };
    let logs = FrameLogs::new(config);
    let text = "x".repeat(900);
    for id in ["a", "b", "c"] {
        let (writer, _reader) = new(&logs, id);
        write(writer, vec![Ok(frame(1, &text)), Ok(end(2))]).await;
    }
    let _makes_room = new(&logs, "d");
    assert!(logs.resume(&name("a"), &asked(0), None, 0).is_err(), "the oldest goes first");
    assert!(logs.resume(&name("c"), &asked(0), None, 0).is_ok());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(logs.resume(&name("c"), &asked(0), None, 0).is_err(), "its time is over");

    let (writer, _reader) = new(&logs, "e");
    let endless = stream::iter([Ok(frame(1, &text)), Ok(frame(2, &text))]).chain(stream::pending()).boxed();
    let writing = tokio::spawn(writer.write(async move { Ok(endless) }, Duration::ZERO));
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
    assert!(logs.resume(&name("a"), &asked(0), None, 0).is_err(), "nobody else comes to it");
    assert_eq!(sequences(slow).await, [1, 2, 3], "whole, for whoever has begun");
    let _has_room = new(&logs, "b");
}

#[tokio::test]
async fn who_stops_reading_does_not_take_room_for_ever() {
    tokio::time::pause();
    let config = Config { max_bytes: "2KiB".parse::<ByteSize>().unwrap(), ..Config::default() };
    let logs = FrameLogs::new(config);
    let (writer, mut slow) = new(&logs, "a");
    let text = "x".repeat(900);
    write(writer, vec![Ok(frame(1, &text)), Ok(frame(2, &text)), Ok(end(3))]).await;
    for sequence in [1, 2] {
        assert_eq!(slow.next().await.unwrap().unwrap().sequence, sequence);
        tokio::time::sleep(STALLED / 2).await;
        assert!(enter(&logs, &name("b"), 1).is_err(), "slowly, but it reads");
    }
    tokio::time::sleep(STALLED / 2).await;
    let _has_room = new(&logs, "b");
    assert_eq!(slow.next().await.unwrap().map_err(|error| error.reason()), Err(Reason::FrameLogLost));
    assert!(slow.next().await.is_none());
}
