use std::time::{Duration, SystemTime};

use clap::{Args, Parser};

use super::{CHANGES, Changes, ListOptions, SessionName, SessionsCommand, Settings, WhatOfSecond, moment_before};
use crate::arguments::{Arguments, Command};

fn parsed(line: &[&str]) -> Result<SessionsCommand, String> {
    let line = ["pointsman", "sessions"].into_iter().chain(line.iter().copied());
    match Arguments::try_parse_from(line).map_err(|error| error.to_string())?.command {
        Command::Sessions(options) => Ok(options.command),
        other => Err(format!("another command: {other:?}")),
    }
}

#[test]
fn a_name_may_have_its_prefix() {
    for text in ["demo", "sessions/demo"] {
        let name: SessionName = text.parse().unwrap();
        assert_eq!((name.id(), name.to_string().as_str()), ("demo", "sessions/demo"));
    }
    for text in ["a", "+49:151@wa~1_2.3-4", &"x".repeat(128)] {
        assert_eq!(text.parse::<SessionName>().unwrap().id(), text);
    }
    for text in ["", "sessions/", "a b", "sessions/a/b", "sessions/sessions/a", "ä", &"x".repeat(129)] {
        let told = text.parse::<SessionName>().unwrap_err();
        assert!(told.starts_with("give 1 to 128 letters"), "{text}: {told}");
    }
}

#[test]
fn a_moment_is_a_time_or_so_long_ago() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for (text, seconds) in [
        ("2h", 1_000_000 - 7_200),
        ("1d 30m", 1_000_000 - 86_400 - 1_800),
        ("1970-01-02T00:00:00Z", 86_400),
        ("1970-01-02T02:00:00+02:00", 86_400),
    ] {
        assert_eq!(moment_before(now, text).unwrap().seconds, seconds, "{text}");
    }
    for text in ["", "yesterday", "2 apples", "1970-13-01T00:00:00Z"] {
        let told = moment_before(now, text).unwrap_err();
        assert!(told.contains("such as 2h"), "{text}: {told}");
    }
}

#[test]
fn lists_are_narrowed_by_labels_and_time() {
    let line = ["list", "--label", "team=a=b", "--label", "urgent=", "--updated-after", "2026-01-01T00:00:00Z"];
    let SessionsCommand::List(ListOptions { labels, updated_after, limit, json, .. }) = parsed(&line).unwrap() else {
        panic!("no list");
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(labels, [pair("team", "a=b"), pair("urgent", "")]);
    assert_eq!((updated_after.unwrap().seconds, limit, json), (1_767_225_600, 100, false));
    for line in [["list", "--label", "team"], ["list", "--label", "=a"], ["list", "--limit", "0"]] {
        assert!(parsed(&line).is_err(), "{line:?}");
    }
}

#[test]
fn set_takes_any_change_and_needs_one() {
    let line = [
        "set",
        "demo",
        "--title",
        "",
        "--retention",
        "30d",
        "--second-turn",
        "supersede",
        "--pin",
        "1",
        "--pin",
        "3",
        "--unpin",
        "2",
        "--remove-label",
        "team",
    ];
    let SessionsCommand::Set(set) = parsed(&line).unwrap() else { panic!("no set") };
    let Changes { settings, pin, unpin, remove_labels } = set.changes;
    let Settings { title, retention, second_turn, system, .. } = settings;
    assert_eq!((title.as_deref(), system), (Some(""), None));
    assert_eq!(retention, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!((second_turn, pin, unpin), (Some(WhatOfSecond::Supersede), vec![1, 3], vec![2]));
    assert_eq!(remove_labels, ["team"]);
    let told = parsed(&["set", "demo"]).unwrap_err();
    assert!(told.contains("--title") && told.contains("--unpin"), "{told}");
    assert!(parsed(&["set", "demo", "--retention", "soon"]).is_err());
    // Each of them is a change by itself.
    let command = Changes::augment_args(clap::Command::new("it"));
    let all: Vec<_> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
    assert_eq!(all, CHANGES);
    assert!(parsed(&["set", "demo", "--max-size", "1MiB"]).is_ok());
}

#[test]
fn a_session_is_made_with_and_without_a_name() {
    let line = ["create", "demo", "--data-class", "restricted", "--merge-window", "2s", "--max-size", "1MiB"];
    let SessionsCommand::Create(create) = parsed(&line).unwrap() else { panic!("no create") };
    assert_eq!(create.name.unwrap().id(), "demo");
    assert_eq!(create.settings.merge_window, Some(Duration::from_secs(2)));
    assert_eq!(create.settings.max_size.unwrap().bytes(), 1 << 20);
    let SessionsCommand::Create(create) = parsed(&["create"]).unwrap() else { panic!("no create") };
    assert!(create.name.is_none());
    for line in [["create", "--data-class", "secret"], ["create", "--max-size", "much"], ["create", "--max-turns", "0"]]
    {
        assert!(parsed(&line).is_err(), "{line:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for line in [
        &["show"][..],
        &["show", "a b"],
        &["fork", "demo", "--as", "a/b"],
        &["append", "demo", "--role", "tool", "--text", "hi"],
        &["append", "demo", "--role", "user", "--text", ""],
        &["append", "demo", "--text", "hi"],
    ] {
        assert!(parsed(line).is_err(), "{line:?}");
    }
    let SessionsCommand::Fork(fork) = parsed(&["fork", "demo", "--at", "0", "--as", "sessions/copy"]).unwrap() else {
        panic!("no fork");
    };
    assert_eq!((fork.at, fork.new.unwrap().id()), (Some(0), "copy"));
}
