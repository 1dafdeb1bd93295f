use std::fs;
use std::time::Duration;

use super::super::{Kept, locked};
use super::*;

fn needs_sync(spool: &Spool) -> bool {
    match &spool.0 {
        Kept::InFolder(folder) => locked(&folder.writer).needs_sync(),
        Kept::Dropped(_) => false,
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_synced_each_second() {
    let folder = folder();
    let spool = open(&folder);
    let kept = tokio::spawn(spool.clone().keep_synced());
    for round in 0..3 {
        append(&spool, round * 10..round * 10 + 10);
        assert!(needs_sync(&spool));
        // Paused time: it moves on only when nothing else can be done, a sync included.
        tokio::time::sleep(Duration::from_millis(1001)).await;
        assert!(!needs_sync(&spool), "round {round}");
    }
    kept.abort();
    assert_holds(&folder, 0..30);
}

#[tokio::test]
async fn a_disk_that_fails_refuses_requests_until_it_works_again() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..1);
    spool.sync().await.unwrap();
    // Without its folder no segment can be made, which a record of this size needs.
    let away = folder.path().with_extension("away");
    fs::rename(folder.path(), &away).unwrap();
    let large = vec![7; 300];
    for _ in 0..3 {
        assert!(matches!(spool.append(&large), Err(SpoolError::Write(_))));
        assert!(!spool.has_room());
    }
    assert!(matches!(spool.sync().await, Err(SpoolError::Sync(_))));
    assert!(!spool.has_room());
    fs::rename(&away, folder.path()).unwrap();
    assert!(!spool.has_room(), "nobody has tried yet");
    spool.sync().await.unwrap();
    assert!(spool.has_room());
    append(&spool, 1..9);
    assert_holds(&folder, 0..9);
    assert!(!folder.path().join("probe").exists());
}

#[test]
fn a_part_of_a_record_that_a_failed_write_left_is_taken_back() {
    let folder = folder();
    let spool = Spool::open(folder.path(), LIMIT, 4096).unwrap();
    append(&spool, 0..3);
    let path = segments(&folder).pop().unwrap();
    let Kept::InFolder(inner) = &spool.0 else { unreachable!() };
    for next in 3..6 {
        let half = &record(next)[..1];
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, half))
            .unwrap();
        locked(&inner.writer).live_is_torn();
        assert_holds(&folder, 0..next);
        append(&spool, next..next + 1);
        assert_holds(&folder, 0..next + 1);
    }
}

#[test]
fn readers_and_writers_do_not_wait_for_each_other() {
    let folder = folder();
    let spool = open(&folder);
    let writer = {
        let spool = spool.clone();
        std::thread::spawn(move || append(&spool, 0..5000))
    };
    let mut taken = 0;
    while taken < 5000 {
        let mut last = None;
        for (position, found) in read(folder.path()) {
            assert_eq!(found, record(taken));
            assert_eq!(position.sequence, taken as u64);
            (last, taken) = (Some(position), taken + 1);
        }
        if let Some(last) = last {
            spool.acknowledge(last).unwrap();
        }
    }
    writer.join().unwrap();
    assert!(segments(&folder).len() <= 1);
}
