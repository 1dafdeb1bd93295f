use std::fs::{self, OpenOptions};

use proptest::prelude::*;

use super::*;

/// A folder whose last segment holds these records alone.
fn one_segment(records: usize) -> (TempDir, std::path::PathBuf) {
    let folder = folder();
    let spool = Spool::open(folder.path(), LIMIT, 4096).unwrap();
    append(&spool, 0..records);
    drop(spool);
    let path = segments(&folder).pop().unwrap();
    (folder, path)
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn a_last_record_torn_at_any_byte_costs_that_record_alone() {
    let whole = MAGIC.len() as u64 + (0..4).map(|number| HEADER + record(number).len() as u64).sum::<u64>();
    let end = whole + HEADER + record(4).len() as u64;
    for length in whole..=end {
        let (folder, path) = one_segment(5);
        cut(&path, length);
        let kept = if length == end { 5 } else { 4 };
        assert_holds(&folder, 0..kept);
        let spool = open(&folder);
        assert_eq!(spool.status().torn, u64::from(length != whole && length != end), "at {length}");
        append(&spool, kept..9);
        assert_holds(&folder, 0..9);
        drop(spool);
        assert_eq!(open(&folder).status().torn, 0, "it was cut off");
    }
}

#[test]
fn a_segment_torn_before_its_first_record_is_begun_anew() {
    for length in 0..MAGIC.len() as u64 + HEADER + 1 {
        let (folder, path) = one_segment(1);
        cut(&path, length);
        let spool = open(&folder);
        assert_eq!(spool.status().segments, 0, "at {length}");
        append(&spool, 0..3);
        assert_holds(&folder, 0..3);
    }
}

#[test]
fn zeros_that_a_power_loss_left_are_torn() {
    let (folder, path) = one_segment(5);
    let length = path.metadata().unwrap().len();
    cut(&path, length + 1000);
    let spool = open(&folder);
    assert_eq!(spool.status().torn, 1);
    assert_eq!(path.metadata().unwrap().len(), length);
    append(&spool, 5..9);
    assert_holds(&folder, 0..9);
}

#[test]
fn a_flipped_bit_ends_its_segment_and_nothing_else() {
    // Where the header of the format and each record end.
    let mut ends = vec![MAGIC.len()];
    ends.extend((0..5).scan(MAGIC.len(), |end, number| {
        *end += HEADER as usize + record(number).len();
        Some(*end)
    }));
    for at in 0..ends[5] {
        let (folder, path) = one_segment(5);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        let spool = open(&folder);
        append(&spool, 5..9);
        let intact = ends.iter().filter(|end| **end <= at).count().saturating_sub(1);
        assert_holds(&folder, (0..intact).chain(5..9));
    }
}

#[test]
fn a_damaged_segment_does_not_stay_for_ever() {
    for at in [0, MAGIC.len() + HEADER as usize, MAGIC.len() + 2 * HEADER as usize + record(0).len()] {
        let (folder, path) = one_segment(5);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let spool = open(&folder);
        append(&spool, 5..6);
        spool.acknowledge(read(folder.path()).pop().unwrap().0).unwrap();
        assert_holds(&folder, []);
        assert!(!path.exists(), "damaged at {at}");
    }
}

#[test]
fn damage_in_a_finished_segment_costs_the_rest_of_that_segment() {
    let folder = folder();
    let spool = open(&folder);
    append(&spool, 0..40);
    let second = &segments(&folder)[1];
    let first_in = |path: &Path| -> usize { path.file_stem().unwrap().to_str().unwrap().parse().unwrap() };
    let (from, to) = (first_in(second), first_in(&segments(&folder)[2]));
    let mut bytes = fs::read(second).unwrap();
    bytes[MAGIC.len() + HEADER as usize + record(from).len() + HEADER as usize] ^= 1;
    fs::write(second, bytes).unwrap();
    assert!(to - from > 1);
    assert_holds(&folder, (0..=from).chain(to..40));
    for _ in 0..2 {
        assert_eq!(spool.records(None).unwrap().count(), 40 - (to - from - 1));
        assert_eq!(spool.status().damaged, 1, "it is counted once");
    }
    drop(spool);
    let _spool = open(&folder);
    assert_holds(&folder, (0..=from).chain(to..40));
}

#[test]
fn numbers_go_on_above_those_that_damage_hides() {
    let (folder, path) = one_segment(5);
    let seen = read(folder.path()).pop().unwrap().0;
    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len() + HEADER as usize] ^= 1;
    fs::write(&path, bytes).unwrap();
    let spool = open(&folder);
    append(&spool, 5..6);
    let next = read(folder.path()).pop().unwrap().0;
    assert!(next > seen && next.sequence > seen.sequence, "{seen:?} {next:?}");
}

#[test]
fn a_power_loss_of_what_was_acknowledged_hides_nothing_that_comes_after() {
    for length in [0, 8, 30, 100] {
        let folder = folder();
        let spool = Spool::open(folder.path(), LIMIT, 4096).unwrap();
        append(&spool, 0..20);
        spool.acknowledge(read(folder.path()).pop().unwrap().0).unwrap();
        drop(spool);
        cut(&segments(&folder)[0], length);
        let spool = open(&folder);
        append(&spool, 20..25);
        assert_holds(&folder, 20..25);
    }
}

#[test]
fn a_damaged_cursor_means_reading_again() {
    let folder = folder();
    let spool = Spool::open(folder.path(), LIMIT, 4096).unwrap();
    append(&spool, 0..5);
    spool.acknowledge(read(folder.path())[2].0).unwrap();
    assert_holds(&folder, 3..5);
    let path = folder.path().join("cursor");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("2 0 "), "{text}");
    for damaged in ["", "2 0", "3 0 100 00000000\n", &text[1..]] {
        fs::write(&path, damaged).unwrap();
        assert_holds(&folder, 0..5);
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = folder();
    for name in ["notes.spool", "5.spool", "+0000000000000000007.spool"] {
        fs::write(folder.path().join(name), "not ours").unwrap();
    }
    let spool = open(&folder);
    append(&spool, 0..3);
    assert_holds(&folder, 0..3);
    drop(spool);
    assert_eq!(open(&folder).status().segments, 1);
    assert!(folder.path().join("5.spool").exists());
}

/// Bytes that are no record, or the beginning of one: headers that say any length, and zeros.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..100_u32, Just(LARGEST_RECORD as u32), any::<u32>()];
    let header =
        (length, any::<u32>()).prop_map(|(length, checksum)| [length.to_le_bytes(), checksum.to_le_bytes()].concat());
    let piece = prop_oneof![header, prop::collection::vec(any::<u8>(), 1..40), Just(vec![0; 40])];
    prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_stands_behind_good_records_costs_none_of_them(good in 1..5_usize, rubbish in rubbish()) {
        let (folder, path) = one_segment(good);
        let bytes = [fs::read(&path).unwrap(), rubbish].concat();
        fs::write(&path, bytes).unwrap();
        let spool = open(&folder);
        append(&spool, good..good + 3);
        assert_holds(&folder, 0..good + 3);
    }

    #[test]
    fn a_segment_of_nothing_but_rubbish_keeps_nobody_from_writing(rubbish in rubbish()) {
        let (folder, path) = one_segment(1);
        fs::write(&path, rubbish).unwrap();
        let spool = open(&folder);
        append(&spool, 1..4);
        assert_holds(&folder, 1..4);
    }

    #[test]
    fn a_position_is_read_as_it_is_written(sequence: u64, segment: u64, offset: u64, text in "[0-9+ -]{0,30}") {
        let position = Position { sequence, segment, offset };
        prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        if let Ok(position) = text.parse::<Position>() {
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
    }
}
