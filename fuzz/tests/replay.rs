//! Every kept text of bytes through its target.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use pointsman_fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_found_stays_mended() {
    for (target, holds) in TARGETS {
        let folder = corpus().join(target);
        let kept = names(&folder);
        assert!(kept.len() >= 4, "{target} has {} seeds", kept.len());
        let fallen = kept.iter().filter(|name| {
            let bytes = fs::read(folder.join(name)).unwrap();
            catch_unwind(|| holds(&bytes)).is_err()
        });
        let fallen: Vec<_> = fallen.collect();
        assert!(fallen.is_empty(), "{target}: {fallen:?}");
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), targets);
    let programs = names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets"));
    assert_eq!(programs, targets.iter().map(|name| format!("{name}.rs")).collect());
}
