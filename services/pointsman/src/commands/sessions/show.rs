//! `pointsman sessions show`

use std::io::Write;

use anyhow::Result;
use humantime_serde::re::humantime;
use pointsman_proto::inference::v1::DataClass;
use pointsman_proto::json;
use pointsman_proto::sessions::v1::{
    ChannelBinding, ListChannelBindingsRequest, SecondTurn, Session, SessionState, Turn,
};
use pointsman_types::counted;
use prost_types::Duration;
use serde::Serialize;
use serde_json::value::RawValue;

use super::draw::{self, printable};
use super::{SESSION, TURN, time};
use crate::arguments::sessions::ShowOptions;
use crate::client::sessions::Sessions;

const BINDING: &str = "pointsman.sessions.v1.ChannelBinding";

/// Prints a session: what it is first, then its turns as they come.
pub(super) async fn run(sessions: &mut Sessions, options: &ShowOptions, out: &mut impl Write) -> Result<()> {
    let session = sessions.get(&options.name).await?;
    let request = ListChannelBindingsRequest { name: options.name.to_string() };
    let bound = sessions.call(request, async |client, request| client.list_channel_bindings(request).await).await?;
    let mut turns = sessions.turns_after(&options.name, 0);
    if options.json {
        let mut all = Vec::new();
        while let Some(page) = turns.next().await? {
            all.extend(page);
        }
        writeln!(out, "{}", as_json(&session, &bound.bindings, &all)?)?;
    } else {
        out.write_all(render(&session, &bound.bindings).as_bytes())?;
        while let Some(page) = turns.next().await? {
            for turn in &page {
                write!(out, "\n{}", draw::turn(turn))?;
            }
        }
    }
    Ok(out.flush()?)
}

/// A session with all that belongs to it.
#[derive(Serialize)]
struct Shown {
    session: Box<RawValue>,
    bindings: Vec<Box<RawValue>>,
    turns: Vec<Box<RawValue>>,
}

fn as_json(session: &Session, bindings: &[ChannelBinding], turns: &[Turn]) -> Result<String> {
    let bindings: Result<_> = bindings.iter().map(|binding| raw(BINDING, binding)).collect();
    let turns: Result<_> = turns.iter().map(|turn| raw(TURN, turn)).collect();
    let shown = Shown { session: raw(SESSION, session)?, bindings: bindings?, turns: turns? };
    Ok(serde_json::to_string(&shown)?)
}

fn raw<M: prost::Message>(name: &str, message: &M) -> Result<Box<RawValue>> {
    let mut json = Vec::new();
    json::write(name, message, &mut serde_json::Serializer::new(&mut json))?;
    Ok(RawValue::from_string(String::from_utf8(json)?)?)
}

/// Draws what is set, and where the session stands.
fn render(session: &Session, bindings: &[ChannelBinding]) -> String {
    let mut rows =
        vec![("session", session.name.clone()), ("uid", session.uid.clone()), ("title", session.title.clone())];
    rows.push(("turns", session.revision.to_string()));
    rows.push(("state", state(session)));
    rows.push(("system prompt", session.system_prompt.clone()));
    rows.push((
        "labels",
        session.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", "),
    ));
    rows.extend(settings(session));
    if !session.forked_from.is_empty() {
        rows.push(("forked from", format!("{} at {}", session.forked_from, session.forked_at_revision)));
    }
    rows.push(("made", time(session.create_time)));
    rows.push(("changed", time(session.update_time)));
    if session.expire_time.is_some() {
        rows.push(("erased", format!("{} unless it changes before", time(session.expire_time))));
    }
    let belongs = |binding: &ChannelBinding| {
        ("belongs to", format!("{} in {}, since {}", binding.external_user, binding.channel, time(binding.create_time)))
    };
    rows.extend(bindings.iter().map(belongs));
    let shown = rows.into_iter().filter(|(_, value)| !value.is_empty());
    // Further lines stand under the first, where no name of a row can be.
    shown
        .map(|(name, value)| format!("{name:<16}{}\n", printable(&value).replace('\n', "\n                ")))
        .collect()
}

fn settings(session: &Session) -> Vec<(&'static str, String)> {
    let name = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
    let mut rows = Vec::new();
    if session.data_class() != DataClass::Unspecified {
        rows.push(("data class", name(session.data_class().as_str_name(), "DATA_CLASS_")));
    }
    rows.push(("home zone", session.home_zone.clone()));
    rows.push(("retention", duration(session.retention)));
    if session.second_turn() != SecondTurn::Unspecified {
        rows.push(("second turn", name(session.second_turn().as_str_name(), "SECOND_TURN_")));
    }
    rows.push(("merge window", duration(session.merge_window)));
    rows.push(("tool timeout", duration(session.tool_timeout)));
    let limits = session.limits.unwrap_or_default();
    let bounds =
        [limits.max_turns.map(|turns| counted(turns, "turn")), limits.max_bytes.map(|bytes| counted(bytes, "byte"))];
    rows.push(("limits", bounds.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    if session.keep_partial_output {
        rows.push(("partial output", "is kept".to_owned()));
    }
    rows
}

fn state(session: &Session) -> String {
    match session.state() {
        SessionState::Unspecified => String::new(),
        SessionState::Idle => "idle".to_owned(),
        SessionState::AwaitingTools => {
            let calls = session.awaited_tool_call_ids.join(", ");
            format!("awaits the results of {calls} until {}", time(session.tool_expire_time))
        }
    }
}

fn duration(duration: Option<Duration>) -> String {
    let duration = duration.and_then(|it| std::time::Duration::try_from(it).ok());
    duration.map(|it| humantime::format_duration(it).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pointsman_proto::sessions::v1::{ChannelBinding, Session, SessionLimits};
    use prost_types::{Duration, Timestamp};

    use super::render;

    #[test]
    fn what_is_set_is_shown_and_nothing_else() {
        let bare = Session { name: "sessions/a".into(), uid: "u".into(), state: 1, ..Session::default() };
        let want = "session         sessions/a\nuid             u\nturns           0\nstate           idle\nmade            -\nchanged         -\n";
        assert_eq!(render(&bare, &[]), want);
        let time = |seconds| Some(Timestamp { seconds, nanos: 1 });
        let full = Session {
            title: "Two\nlines".into(),
            system_prompt: "Be kind.\n\u{1b}".into(),
            labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())].into(),
            data_class: 3,
            home_zone: "eu-west".into(),
            retention: Some(Duration { seconds: 2 * 86_400, nanos: 0 }),
            second_turn: 4,
            tool_timeout: Some(Duration { seconds: 90, nanos: 0 }),
            limits: Some(SessionLimits { max_turns: Some(1), max_bytes: Some(1 << 20) }),
            keep_partial_output: true,
            revision: 7,
            state: 2,
            awaited_tool_call_ids: vec!["c1".into(), "c2".into()],
            tool_expire_time: time(60),
            forked_from: "sessions/z".into(),
            forked_at_revision: 3,
            create_time: time(0),
            update_time: time(1),
            expire_time: time(86_400),
            ..bare
        };
        let binding = ChannelBinding {
            channel: "sms".into(),
            external_user: "+49".into(),
            create_time: time(0),
            ..ChannelBinding::default()
        };
        let want = "\
session         sessions/a
uid             u
title           Two
                lines
turns           7
state           awaits the results of c1, c2 until 1970-01-01T00:01:00Z
system prompt   Be kind.
                \\u{1b}
labels          a=1, b=
data class      confidential
home zone       eu-west
retention       2days
second turn     supersede
tool timeout    1m 30s
limits          1 turn, 1048576 bytes
partial output  is kept
forked from     sessions/z at 3
made            1970-01-01T00:00:00Z
changed         1970-01-01T00:00:01Z
erased          1970-01-02T00:00:00Z unless it changes before
belongs to      +49 in sms, since 1970-01-01T00:00:00Z
";
        assert_eq!(render(&full, &[binding]), want);
    }
}
