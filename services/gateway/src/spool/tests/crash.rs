use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Where the child of the test below appends.
const FOLDER: &str = "POINTSMAN_TEST_SPOOL";

/// The test is its own child: with [`FOLDER`] set it appends and says each number when the append returned.
#[test]
fn what_was_appended_outlives_kill_minus_nine() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        append_until_killed(Path::new(&folder));
    }
    let (_, name) = concat!(module_path!(), "::what_was_appended_outlives_kill_minus_nine").split_once("::").unwrap();
    let folder = folder();
    let mut appended = 0;
    for lines in [1, 10, 500, 3000] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut said = output.filter_map(|line| line.strip_prefix("appended ")?.parse::<usize>().ok());
        let mut last = said.by_ref().nth(lines - 1).unwrap();
        child.kill().unwrap();
        // What it said before it died, and the pipe still held.
        last = said.last().unwrap_or(last);
        child.wait().unwrap();
        let before = std::mem::replace(&mut appended, last + 1);
        assert!(appended >= before + lines);
        let spool = open(&folder);
        let found = read(folder.path()).len();
        // The record that it had appended and not yet said.
        assert!((appended..=appended + 1).contains(&found), "{found} records of {appended}");
        assert_holds(&folder, 0..found);
        drop(spool);
        appended = found;
    }
}

fn append_until_killed(folder: &Path) -> ! {
    let first = read(folder).len();
    let spool = Spool::open(folder, 1 << 30, 4096).unwrap();
    for number in first.. {
        spool.append(&record(number)).unwrap();
        println!("appended {number}");
    }
    unreachable!()
}
