use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;
use pointsman_proto::json;
use pointsman_proto::sessions::v1::{ChannelBinding, Run, RunState, Session, Turn};

use super::{SESSION, TURN, erase, export, extend, list, runs, settings, show};
use crate::arguments::sessions::SessionsCommand;
use crate::arguments::{Arguments, Command};
use crate::client::fake::{FakeMesh, State};

/// Runs a command where nobody can be asked; returns what it prints.
async fn run(fake: &FakeMesh, line: &[&str]) -> anyhow::Result<String> {
    run_at(fake, None, line).await
}

/// Runs a command at a terminal where this is typed.
async fn run_at(fake: &FakeMesh, terminal: Option<&mut dyn BufRead>, line: &[&str]) -> anyhow::Result<String> {
    let line = ["pointsman", "sessions"].into_iter().chain(line.iter().copied());
    let Command::Sessions(options) = Arguments::try_parse_from(line)?.command else { panic!("another command") };
    let (sessions, mut out) = (&mut fake.sessions(), Vec::new());
    match options.command {
        SessionsCommand::Serve(_) | SessionsCommand::Migrate(_) => panic!("no command of a client"),
        SessionsCommand::List(options) => list::run(sessions, &options, &mut out).await?,
        SessionsCommand::Show(options) => show::run(sessions, &options, &mut out).await?,
        SessionsCommand::Export(options) => export::run(sessions, &options, &mut out).await?,
        SessionsCommand::Erase(options) => erase::run(sessions, &options, terminal, &mut out).await?,
        SessionsCommand::Erasures(options) => erase::list(sessions, &options, &mut out).await?,
        SessionsCommand::Runs(options) => runs::list(sessions, &options, &mut out).await?,
        SessionsCommand::Resume(options) => runs::resume(sessions, &options, &mut out).await?,
        SessionsCommand::Cancel(options) => runs::cancel(sessions, &options, &mut out).await?,
        SessionsCommand::Create(options) => settings::create(sessions, &options, &mut out).await?,
        SessionsCommand::Fork(options) => extend::fork(sessions, &options, &mut out).await?,
        SessionsCommand::Append(options) => extend::append(sessions, &options, &mut out).await?,
        SessionsCommand::Set(options) => settings::set(sessions, &options, &mut out).await?,
    }
    Ok(String::from_utf8(out)?)
}

fn names(table: &str) -> Vec<&str> {
    table.lines().skip(1).filter_map(|row| row.split_ascii_whitespace().next()).collect()
}

/// Five sessions, `s1` to `s5`, the odd ones with a label; each changed a second after the one before.
fn five() -> FakeMesh {
    let fake = FakeMesh::default();
    for number in 1..=5 {
        let mut session = Session::default();
        if number % 2 == 1 {
            session.labels.insert("kind".into(), "odd".into());
        }
        fake.state().create(&format!("sessions/s{number}"), session).unwrap();
    }
    fake
}

#[tokio::test]
async fn lists_go_over_pages_and_end_at_their_limit() {
    let fake = five();
    let all = run(&fake, &["list"]).await.unwrap();
    assert_eq!(names(&all), ["sessions/s5", "sessions/s4", "sessions/s3", "sessions/s2", "sessions/s1"]);
    let three = run(&fake, &["list", "--limit", "3"]).await.unwrap();
    assert_eq!(names(&three), ["sessions/s5", "sessions/s4", "sessions/s3"]);
    let odd = run(&fake, &["list", "--label", "kind=odd", "--updated-after", "1970-01-01T00:00:02Z"]).await.unwrap();
    assert_eq!(names(&odd), ["sessions/s5", "sessions/s3"]);
    let old = run(&fake, &["list", "--updated-before", "1970-01-01T00:00:03Z"]).await.unwrap();
    assert_eq!(names(&old), ["sessions/s2", "sessions/s1"]);
    let lines = run(&fake, &["list", "--json", "--limit", "1"]).await.unwrap();
    let session: Session = json::read(SESSION, &mut serde_json::Deserializer::from_str(&lines)).unwrap();
    assert_eq!((lines.lines().count(), session), (1, fake.state().sessions["sessions/s5"].0.clone()));
}

#[tokio::test]
async fn a_session_is_shown_with_all_its_turns() {
    let fake = FakeMesh::with_turns(5);
    let binding = ChannelBinding {
        channel: "sms".into(),
        external_user: "+49".into(),
        session: "sessions/demo".into(),
        create_time: None,
    };
    fake.state().bindings = vec![binding];
    let shown = run(&fake, &["show", "demo"]).await.unwrap();
    assert!(shown.contains("belongs to      +49 in sms, since -\n"), "{shown}");
    let heads: Vec<&str> = shown.lines().filter(|line| line.starts_with("turn ")).collect();
    assert_eq!(heads.len(), 5, "{shown}");
    assert!(shown.ends_with(": pip\n  user: question 5\n  assistant: answer 5\n"), "{shown}");

    let shown = run(&fake, &["show", "demo", "--json"]).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(value["session"]["revision"], "5");
    assert_eq!((value["turns"].as_array().unwrap().len(), value["bindings"].as_array().unwrap().len()), (5, 1));
    assert!(run(&fake, &["show", "other"]).await.is_err());
}

fn files(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn an_export_is_the_session_and_every_turn() {
    let fake = FakeMesh::with_turns(5);
    let printed = run(&fake, &["export", "demo"]).await.unwrap();
    let mut lines = printed.lines();
    let read = |line: &str| json::read(TURN, &mut serde_json::Deserializer::from_str(line)).unwrap();
    let first = lines.next().unwrap();
    let session: Session = json::read(SESSION, &mut serde_json::Deserializer::from_str(first)).unwrap();
    let turns: Vec<Turn> = lines.map(read).collect();
    assert_eq!((session, turns), fake.state().sessions["sessions/demo"].clone());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.jsonl");
    std::fs::write(&file, "of yesterday").unwrap();
    let told = run(&fake, &["export", "demo", "--output", file.to_str().unwrap()]).await.unwrap();
    assert_eq!(told, format!("sessions/demo with 5 turns is in {}\n", file.display()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    assert_eq!(files(folder.path()), ["demo.jsonl"]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "others may not read it");
}

#[tokio::test]
async fn an_export_has_the_turns_that_were_there_when_it_began() {
    let fake = FakeMesh::with_turns(3);
    fake.state().after_page = Some(|state| {
        for _ in 0..4 {
            state.commit("sessions/demo", Turn::default()).unwrap();
        }
    });
    let printed = run(&fake, &["export", "demo"]).await.unwrap();
    assert_eq!(printed.lines().count(), 1 + 3);
    assert!(printed.starts_with(r#"{"name":"sessions/demo""#) && printed.contains(r#""revision":"3""#), "{printed}");
}

#[tokio::test]
async fn a_broken_export_leaves_what_was_there() {
    let break_offs: [fn(&mut State); 4] = [
        |state| state.down = true,
        |state| drop(state.erase("sessions/demo").unwrap()),
        |state| drop(state.sessions.get_mut("sessions/demo").unwrap().1.pop()),
        |state| {
            let (old, turns) = state.sessions["sessions/demo"].clone();
            state.erase("sessions/demo").unwrap();
            state.create("sessions/demo", Session::default()).unwrap();
            state.sessions.get_mut("sessions/demo").unwrap().0.revision = old.revision;
            state.sessions.get_mut("sessions/demo").unwrap().1 = turns;
        },
    ];
    for (number, break_off) in break_offs.into_iter().enumerate() {
        let fake = FakeMesh::with_turns(5);
        fake.state().after_page = Some(break_off);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.jsonl");
        let line = ["export", "demo", "--output", file.to_str().unwrap()];
        assert!(run(&fake, &line).await.is_err(), "{number}");
        assert_eq!(files(folder.path()), [""; 0], "{number}");
        let fake = FakeMesh::with_turns(5);
        std::fs::write(&file, "of yesterday").unwrap();
        fake.state().after_page = Some(break_off);
        assert!(run(&fake, &line).await.is_err(), "{number}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "of yesterday", "{number}");
        assert_eq!(files(folder.path()), ["demo.jsonl"], "{number}");
    }
}

#[tokio::test]
async fn an_export_replaces_no_device_and_no_link() {
    let fake = FakeMesh::with_turns(1);
    let told = run(&fake, &["export", "demo", "--output", "/dev/null"]).await.unwrap_err().to_string();
    assert!(told.starts_with("/dev/null is no file: leave --output out"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("real.jsonl"), folder.path().join("link.jsonl"));
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    run(&fake, &["export", "demo", "--output", link.to_str().unwrap()]).await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    let nowhere = folder.path().join("no/where.jsonl");
    let told = run(&fake, &["export", "demo", "--output", nowhere.to_str().unwrap()]).await.unwrap_err().to_string();
    assert!(told.ends_with("cannot have a new file"), "{told}");
}

#[tokio::test]
async fn what_is_erased_is_recorded() {
    let fake = five();
    let refused = run(&fake, &["erase", "s4"]).await.unwrap_err().to_string();
    assert!(refused.contains("give --yes to erase sessions/s4"), "{refused}");
    let told = run_at(&fake, Some(&mut "n\n".as_bytes()), &["erase", "s4"]).await.unwrap();
    assert!(told.ends_with("[y/N] sessions/s4 stays\n"), "{told}");
    assert!(fake.state().erasures.is_empty());
    for number in 1..=3 {
        let told = run(&fake, &["erase", &format!("s{number}"), "--yes"]).await.unwrap();
        let start = format!("sessions/s{number} (uid uid-{number}) was erased with 0 turns at 1970-01-01T00:00:0");
        assert!(told.starts_with(&start) && told.ends_with("Z by key k7\n"), "{told}");
    }
    assert!(run(&fake, &["erase", "s1", "--yes"]).await.is_err(), "it is gone");
    let told = run_at(&fake, Some(&mut "y\n".as_bytes()), &["erase", "s4"]).await.unwrap();
    assert!(told.contains("[y/N] sessions/s4 (uid uid-4) was erased"), "{told}");
    let listed = run(&fake, &["erasures"]).await.unwrap();
    let sessions: Vec<&str> = listed.lines().skip(1).filter_map(|row| row.split_ascii_whitespace().nth(1)).collect();
    assert_eq!(sessions, ["sessions/s4", "sessions/s3", "sessions/s2", "sessions/s1"]);
    let lines = run(&fake, &["erasures", "--json", "--limit", "2"]).await.unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.starts_with(r#"{"session":"sessions/s4","uid":"uid-4","key":"k7","cause":"#), "{lines}");
}

#[tokio::test]
async fn runs_are_listed_read_and_ended() {
    let fake = FakeMesh::default();
    for number in 1..=3 {
        let mut run = Run { request_id: format!("r{number}"), last_sequence: number, ..Run::default() };
        run.set_state(if number == 1 { RunState::Failed } else { RunState::Running });
        run.failure_reason = if number == 1 { "ENGINE_LOST".into() } else { String::new() };
        fake.state().runs.push(run);
    }
    let listed = run(&fake, &["runs", "demo"]).await.unwrap();
    assert_eq!(names(&listed), ["r1", "r2", "r3"]);
    assert!(listed.lines().nth(1).unwrap().contains("failed (ENGINE_LOST)"), "{listed}");
    assert_eq!(run(&fake, &["runs", "demo", "--limit", "1", "--json"]).await.unwrap().lines().count(), 1);
    assert_eq!(run(&fake, &["cancel", "demo", "r2"]).await.unwrap(), "r2 of sessions/demo: cancelled\n");
    let told = format!("{:#}", run(&fake, &["resume", "demo", "r1", "--after", "1"]).await.unwrap_err());
    let (said, why) = told.split_once("goes on: ").unwrap();
    assert!(said.ends_with("the last frame that came is 2: --after 2 "), "{told}");
    assert_eq!(why, "the run has failed (ENGINE_LOST) (RUN_FAILED, see docs/errors/RUN_FAILED.md)");
}

#[tokio::test]
async fn a_fork_has_turns_up_to_one() {
    let fake = FakeMesh::with_turns(3);
    let told = run(&fake, &["fork", "demo", "--at", "2", "--as", "copy"]).await.unwrap();
    assert_eq!(told, "sessions/copy has 2 turns of sessions/demo\n");
    let told = run(&fake, &["fork", "demo", "--at", "0", "--as", "sessions/empty"]).await.unwrap();
    assert_eq!(told, "sessions/empty has 0 turns of sessions/demo\n");
    let told = run(&fake, &["fork", "demo", "--as", "all"]).await.unwrap();
    assert_eq!(told, "sessions/all has 3 turns of sessions/demo\n");
}

#[tokio::test]
async fn a_message_is_appended_as_it_is() {
    let fake = FakeMesh::with_turns(1);
    let line = ["append", "demo", "--role", "assistant", "--text", "A person is here now.", "--pin"];
    assert_eq!(run(&fake, &line).await.unwrap(), "sessions/demo has it as turn 2, pinned\n");
    let shown = run(&fake, &["show", "demo"]).await.unwrap();
    assert!(shown.ends_with(": appended, pinned\n  assistant: A person is here now.\n"), "{shown}");
    assert!(!fake.state().sessions["sessions/demo"].1[1].request_id.is_empty());
}

#[tokio::test]
async fn a_session_is_made_as_it_is_wanted() {
    let fake = FakeMesh::with_turns(1);
    let line =
        ["create", "new", "--title", "Rain", "--data-class", "confidential", "--home-zone", "eu", "--label", "a=1"];
    assert_eq!(run(&fake, &line).await.unwrap(), "sessions/new is made\n");
    let made = fake.state().sessions["sessions/new"].0.clone();
    assert_eq!((made.title.as_str(), made.home_zone.as_str(), made.data_class), ("Rain", "eu", 3));
    assert_eq!(made.labels["a"], "1");
}

#[tokio::test]
async fn only_what_is_given_changes() {
    let fake = FakeMesh::with_turns(3);
    let session = |fake: &FakeMesh| fake.state().sessions["sessions/demo"].0.clone();
    let line = ["set", "demo", "--title", "Rain", "--system", "Be kind.", "--label", "a=1", "--label", "b=2"];
    assert_eq!(run(&fake, &line).await.unwrap(), "sessions/demo: title, system_prompt, labels changed\n");
    let line =
        ["set", "demo", "--retention", "30d", "--second-turn", "reject", "--remove-label", "a", "--label", "c=3"];
    assert_eq!(run(&fake, &line).await.unwrap(), "sessions/demo: labels, retention, second_turn changed\n");
    let now = session(&fake);
    assert_eq!((now.title.as_str(), now.system_prompt.as_str(), now.second_turn), ("Rain", "Be kind.", 1));
    assert_eq!(now.retention.unwrap().seconds, 30 * 86_400);
    let labels: Vec<(&str, &str)> = now.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("b", "2"), ("c", "3")]);
    assert_eq!(run(&fake, &["set", "demo", "--title", ""]).await.unwrap(), "sessions/demo: title changed\n");
    assert_eq!(session(&fake).title, "");

    // Of the limits, too, those that are not given stay.
    for line in [["set", "demo", "--max-turns", "9"], ["set", "demo", "--max-size", "1MiB"]] {
        assert_eq!(run(&fake, &line).await.unwrap(), "sessions/demo: limits changed\n");
    }
    let limits = session(&fake).limits.unwrap();
    assert_eq!((limits.max_turns, limits.max_bytes), (Some(9), Some(1 << 20)));

    let told = run(&fake, &["set", "demo", "--pin", "1", "--pin", "3"]).await.unwrap();
    assert_eq!(told, "sessions/demo: turn 1 pinned\nsessions/demo: turn 3 pinned\n");
    assert_eq!(run(&fake, &["set", "demo", "--unpin", "3"]).await.unwrap(), "sessions/demo: turn 3 pinned no longer\n");
    let pinned: Vec<bool> = fake.state().sessions["sessions/demo"].1.iter().map(|turn| turn.pinned).collect();
    assert_eq!(pinned, [true, false, false]);
    let told = format!("{:#}", run(&fake, &["set", "demo", "--pin", "9"]).await.unwrap_err());
    assert!(told.starts_with("turn 9: "), "{told}");
}
