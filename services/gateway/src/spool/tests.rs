//! Every test has a folder of its own on the real file system.

mod crash;
mod damage;
mod disk;

use std::path::Path;
use std::sync::Arc;

use tempfile::{TempDir, tempdir};

use super::records::Records;
use super::segment::{HEADER, LARGEST_RECORD, LARGEST_SINGLE, MAGIC};
use super::{Position, RESERVE, Spool, SpoolError, Status, cursor};

/// Small enough that a few records fill a segment.
const SEGMENT: u64 = 256;
const LIMIT: u64 = RESERVE + LARGEST_SINGLE;

fn folder() -> TempDir {
    tempdir().unwrap()
}

fn open(folder: &TempDir) -> Spool {
    Spool::open(folder.path(), LIMIT, SEGMENT).unwrap()
}

/// Records of different lengths, each saying its number.
fn record(number: usize) -> Vec<u8> {
    format!("{number}:{}", "x".repeat(number * 7 % 90)).into_bytes()
}

fn append(spool: &Spool, numbers: std::ops::Range<usize>) {
    for number in numbers {
        spool.append(&record(number)).unwrap();
    }
}

fn read(folder: &Path) -> Vec<(Position, Vec<u8>)> {
    let acknowledged = cursor::read(folder).unwrap();
    Records::behind(acknowledged, folder, Arc::default()).unwrap().map(Result::unwrap).collect()
}

/// Asserts that exactly these records are there, in order.
fn assert_holds(folder: &TempDir, numbers: impl IntoIterator<Item = usize>) {
    let found: Vec<_> = read(folder.path()).into_iter().map(|(_, record)| String::from_utf8(record).unwrap()).collect();
    let expected: Vec<_> = numbers.into_iter().map(|number| String::from_utf8(record(number)).unwrap()).collect();
    assert_eq!(found, expected);
}

/// The files of the segments, oldest first.
fn segments(folder: &TempDir) -> Vec<std::path::PathBuf> {
    let listed = super::segment::list(folder.path()).unwrap();
    listed.into_iter().map(|(first, _)| super::segment::path(folder.path(), first)).collect()
}

#[test]
fn what_is_appended_is_read_back_over_segments_and_openings() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..40);
    assert_holds(&folder, 0..40);
    let status = spool.status();
    assert_eq!((status.records, status.segments, status.torn), (40, segments(&folder).len() as u64, 0));
    assert!(status.segments > 5, "{status:?}");
    let bytes: u64 = segments(&folder).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(status.bytes, bytes);
    drop(spool);
    let spool = open(&folder);
    assert_eq!(spool.status(), Status { records: 0, ..status });
    append(&spool, 40..60);
    assert_holds(&folder, 0..60);
    let positions: Vec<_> = read(folder.path()).into_iter().map(|(position, _)| position).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    assert_eq!(positions.iter().map(|position| position.sequence).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
}

#[test]
fn the_format_is_what_the_crate_says() {
    let folder = folder();
    open(&folder).append(b"123456789").unwrap();
    let bytes = std::fs::read(folder.path().join("00000000000000000000.spool")).unwrap();
    // The check value of CRC-32/ISO-HDLC is 0xCBF43926.
    assert_eq!(bytes, b"PMSPOOL\x01\x09\0\0\0\x26\x39\xF4\xCB123456789");
}

#[test]
fn sizes_are_from_one_byte_to_the_largest_record() {
    let folder = folder();
    let spool = open(&folder);
    for (bytes, fits) in [(0, false), (1, true), (LARGEST_RECORD, true), (LARGEST_RECORD + 1, false)] {
        match spool.append(&vec![7; bytes]) {
            Ok(()) => assert!(fits, "{bytes}"),
            Err(error) => assert!(!fits && matches!(error, SpoolError::Size { .. }), "{bytes}: {error}"),
        }
    }
    let lengths: Vec<_> = read(folder.path()).into_iter().map(|(_, record)| record.len()).collect();
    assert_eq!(lengths, [1, LARGEST_RECORD]);
}

#[test]
fn a_full_spool_has_no_room_but_for_what_was_admitted() {
    let folder = folder();
    let spool = open(&folder);
    let large = vec![7; LARGEST_RECORD];
    assert!(spool.has_room());
    spool.append(&large).unwrap();
    assert!(spool.has_room(), "the reserve is all that is left, and whole");
    spool.append(b"1").unwrap();
    assert!(!spool.has_room());
    let mut in_flight = 0;
    let refused = loop {
        match spool.append(&large) {
            Ok(()) => in_flight += large.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SpoolError::Full { limit_bytes: LIMIT }), "{refused}");
    assert!(in_flight > RESERVE * 9 / 10, "{in_flight}");
    assert!(spool.status().bytes <= LIMIT);
    let (last, _) = read(folder.path()).pop().unwrap();
    spool.acknowledge(last).unwrap();
    assert!(spool.has_room(), "what was acknowledged makes room");
    spool.append(b"2").unwrap();
    assert_eq!(read(folder.path()).pop().unwrap().1, b"2");
}

#[test]
fn a_limit_without_room_beside_the_reserve_is_refused() {
    let folder = folder();
    let least = RESERVE + LARGEST_SINGLE;
    assert!(matches!(Spool::open(folder.path(), least - 1, 1), Err(SpoolError::Limit { .. })));
    assert!(Spool::open(folder.path(), least, 1).unwrap().has_room());
}

#[test]
fn acknowledging_removes_what_was_read_and_outlives_the_process() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..40);
    let all = read(folder.path());
    let before = segments(&folder).len();
    spool.acknowledge(all[23].0).unwrap();
    assert_holds(&folder, 24..40);
    assert!(segments(&folder).len() < before);
    assert_eq!(segments(&folder)[0], super::segment::path(folder.path(), all[23].0.segment));
    assert_eq!(spool.status().segments, segments(&folder).len() as u64);
    spool.acknowledge(all[3].0).unwrap();
    assert_holds(&folder, 24..40);
    drop(spool);
    let spool = open(&folder);
    assert_holds(&folder, 24..40);
    append(&spool, 40..50);
    assert_holds(&folder, 24..50);
    spool.acknowledge(read(folder.path()).pop().unwrap().0).unwrap();
    assert_holds(&folder, []);
    assert_eq!(segments(&folder).len(), 1, "the one being written");
    drop(spool);
    let spool = open(&folder);
    assert_eq!((spool.status().bytes, segments(&folder).len()), (0, 0));
    append(&spool, 50..51);
    assert_eq!(read(folder.path())[0].0.sequence, 50, "no number is given twice");
}

#[test]
fn the_last_record_of_a_finished_segment_takes_the_segment_along() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..40);
    let all = read(folder.path());
    let first = all[0].0.segment;
    let last = all.iter().rfind(|(position, _)| position.segment == first).unwrap().0;
    spool.acknowledge(last).unwrap();
    assert!(!super::segment::path(folder.path(), first).exists());
    assert_holds(&folder, last.sequence as usize + 1..40);
}

#[test]
fn reading_behind_a_position_lets_go_of_nothing() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..40);
    let all = read(folder.path());
    let behind = |after| spool.records(after).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    for after in [0, 1, 23, 38, 39] {
        assert_eq!(behind(Some(all[after].0)), all[after + 1..], "after {after}");
    }
    spool.acknowledge(all[23].0).unwrap();
    assert_eq!(behind(Some(all[3].0)), all[24..], "what was acknowledged is not read again");
    assert_eq!(behind(None), all[24..]);
    let text = all[30].0.to_string();
    assert_eq!(behind(Some(text.parse().unwrap())), all[31..], "{text}");
}

#[test]
fn a_position_that_no_record_has_is_refused() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..40);
    let Position { sequence, segment, offset } = read(folder.path())[39].0;
    for wrong in [
        Position { sequence: 40, segment, offset },
        Position { sequence: u64::MAX, segment, offset },
        Position { sequence, segment: segment + 1, offset },
        Position { sequence, segment, offset: offset + 1 },
    ] {
        assert!(matches!(spool.acknowledge(wrong), Err(SpoolError::NoSuchPosition)), "{wrong}");
        assert!(matches!(spool.records(Some(wrong)), Err(SpoolError::NoSuchPosition)), "{wrong}");
    }
    for text in ["", "1-2", "1-2-3-4", "1--2", "one"] {
        assert!(text.parse::<Position>().is_err(), "{text}");
    }
    assert_holds(&folder, 0..40);
}

#[test]
fn one_process_at_a_time() {
    let folder = folder();
    let spool = open(&folder);
    let clone = spool.clone();
    drop(spool);
    let refused = Spool::open(folder.path(), LIMIT, SEGMENT).unwrap_err();
    assert!(matches!(refused, SpoolError::InUse { .. }));
    let message = refused.to_string();
    assert!(message.contains(folder.path().to_str().unwrap()) && message.contains("another process"), "{message}");
    drop(clone);
    open(&folder);
}

#[test]
fn no_spool_counts_and_drops() {
    let spool = Spool::none();
    append(&spool.clone(), 0..3);
    assert!(spool.has_room());
    assert_eq!(spool.status(), Status { records: 3, ..Status::default() });
}
