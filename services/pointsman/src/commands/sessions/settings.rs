//! `pointsman sessions create` and `set`

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_proto::inference::v1::DataClass;
use pointsman_proto::sessions::v1::{
    CreateSessionRequest, SecondTurn, Session, SessionLimits, UpdateSessionRequest, UpdateTurnRequest,
};
use prost_types::FieldMask;

use crate::arguments::sessions::{
    Changes, CreateOptions, Sensitive, SessionName, SetOptions, Settings, WhatOfSecond, collected,
};
use crate::client::sessions::Sessions;

pub(super) async fn create(sessions: &mut Sessions, options: &CreateOptions, out: &mut impl Write) -> Result<()> {
    let (session, _) = changed(Session::default(), &options.settings)?;
    let session_id = options.name.as_ref().map(|name| name.id().to_owned()).unwrap_or_default();
    let request = CreateSessionRequest { session_id, session: Some(session) };
    let made = sessions.call(request, async |client, request| client.create_session(request).await).await?;
    writeln!(out, "{} is made", made.name)?;
    Ok(out.flush()?)
}

/// Changes the settings, all at once, and then the pins, one after the other.
pub(super) async fn set(sessions: &mut Sessions, options: &SetOptions, out: &mut impl Write) -> Result<()> {
    let (name, changes) = (&options.name, &options.changes);
    // Labels and limits are set as a whole: those that stay must be known, and must still be those when the change is made.
    let current = if touches_a_whole(changes) { sessions.get(name).await? } else { Session::default() };
    let request = update(name, changes, current)?;
    let paths = request.update_mask.iter().flat_map(|mask| mask.paths.clone()).collect::<Vec<_>>().join(", ");
    if !paths.is_empty() {
        sessions.call(request, async |client, request| client.update_session(request).await).await?;
        writeln!(out, "{name}: {paths} changed")?;
    }
    let pins = changes.pin.iter().map(|revision| (*revision, true));
    for (revision, pinned) in pins.chain(changes.unpin.iter().map(|revision| (*revision, false))) {
        pin(sessions, name, revision, pinned).await.with_context(|| format!("turn {revision}"))?;
        writeln!(out, "{name}: turn {revision} {}", if pinned { "pinned" } else { "pinned no longer" })?;
    }
    Ok(out.flush()?)
}

fn touches_a_whole(changes: &Changes) -> bool {
    let Settings { labels, max_turns, max_size, .. } = &changes.settings;
    !labels.is_empty() || !changes.remove_labels.is_empty() || max_turns.is_some() || max_size.is_some()
}

async fn pin(sessions: &mut Sessions, name: &SessionName, revision: u64, pinned: bool) -> Result<()> {
    let request = UpdateTurnRequest { name: name.to_string(), revision, pinned };
    sessions.call(request, async |client, request| client.update_turn(request).await).await?;
    Ok(())
}

/// Makes the request for the settings that are given; its mask is empty where there are none.
fn update(name: &SessionName, changes: &Changes, mut current: Session) -> Result<UpdateSessionRequest> {
    current.labels.retain(|key, _| !changes.remove_labels.contains(key));
    let (session, mut paths) = changed(current, &changes.settings)?;
    if !changes.remove_labels.is_empty() && !paths.contains(&"labels") {
        paths.push("labels");
    }
    let session = Session { name: name.to_string(), ..session };
    let update_mask = Some(FieldMask { paths: paths.into_iter().map(str::to_owned).collect() });
    Ok(UpdateSessionRequest { session: Some(session), update_mask })
}

/// A session with these settings, and the names of those that are given.
fn changed(mut session: Session, settings: &Settings) -> Result<(Session, Vec<&'static str>)> {
    let mut paths = Vec::new();
    if let Some(title) = &settings.title {
        session.title.clone_from(title);
        paths.push("title");
    }
    if let Some(system) = &settings.system {
        session.system_prompt.clone_from(system);
        paths.push("system_prompt");
    }
    if !settings.labels.is_empty() {
        session.labels.extend(collected(&settings.labels));
        paths.push("labels");
    }
    if let Some(class) = settings.data_class {
        session.set_data_class(data_class(class));
        paths.push("data_class");
    }
    if let Some(zone) = &settings.home_zone {
        session.home_zone.clone_from(zone);
        paths.push("home_zone");
    }
    let mut take = |field: &mut Option<prost_types::Duration>, path, option, value: Option<Duration>| {
        let Some(value) = value else { return Ok(()) };
        paths.push(path);
        *field = Some(value.try_into().with_context(|| format!("{option}: is longer than can be said"))?);
        anyhow::Ok(())
    };
    take(&mut session.retention, "retention", "--retention", settings.retention)?;
    take(&mut session.merge_window, "merge_window", "--merge-window", settings.merge_window)?;
    take(&mut session.tool_timeout, "tool_timeout", "--tool-timeout", settings.tool_timeout)?;
    if let Some(second) = settings.second_turn {
        session.set_second_turn(second_turn(second));
        paths.push("second_turn");
    }
    if settings.max_turns.is_some() || settings.max_size.is_some() {
        let SessionLimits { max_turns, max_bytes } = session.limits.unwrap_or_default();
        let max_bytes = settings.max_size.map(|size| size.bytes()).or(max_bytes);
        session.limits = Some(SessionLimits { max_turns: settings.max_turns.or(max_turns), max_bytes });
        paths.push("limits");
    }
    if let Some(keep) = settings.keep_partial_output {
        session.keep_partial_output = keep;
        paths.push("keep_partial_output");
    }
    Ok((session, paths))
}

fn data_class(class: Sensitive) -> DataClass {
    match class {
        Sensitive::Public => DataClass::Public,
        Sensitive::Internal => DataClass::Internal,
        Sensitive::Confidential => DataClass::Confidential,
        Sensitive::Restricted => DataClass::Restricted,
    }
}

fn second_turn(second: WhatOfSecond) -> SecondTurn {
    match second {
        WhatOfSecond::Reject => SecondTurn::Reject,
        WhatOfSecond::Queue => SecondTurn::Queue,
        WhatOfSecond::Merge => SecondTurn::Merge,
        WhatOfSecond::Supersede => SecondTurn::Supersede,
    }
}
