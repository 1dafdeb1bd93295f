//! `pointsman sessions fork`, `append` and `set`

use std::io::Write;

use anyhow::{Context, Result};
use pointsman_proto::inference::v1::{Message, Part, Role, part};
use pointsman_proto::sessions::v1::{
    AppendMessagesRequest, ForkSessionRequest, SecondTurn, Session, UpdateSessionRequest, UpdateTurnRequest,
};
use pointsman_types::{counted, new_request_id};
use prost_types::FieldMask;

use crate::arguments::sessions::{
    AppendOptions, Changes, ForkOptions, SessionName, SetOptions, Speaker, WhatOfSecond, collected,
};
use crate::client::sessions::Sessions;

pub(super) async fn fork(sessions: &mut Sessions, options: &ForkOptions, out: &mut impl Write) -> Result<()> {
    let session_id = options.new.as_ref().map(|name| name.id().to_owned()).unwrap_or_default();
    let request = ForkSessionRequest { name: options.name.to_string(), revision: options.at, session_id };
    let made = sessions.call(request, async |client, request| client.fork_session(request).await).await?;
    writeln!(out, "{} has {} of {}", made.name, counted(made.revision, "turn"), options.name)?;
    Ok(out.flush()?)
}

pub(super) async fn append(sessions: &mut Sessions, options: &AppendOptions, out: &mut impl Write) -> Result<()> {
    let role = match options.role {
        Speaker::System => Role::System,
        Speaker::Developer => Role::Developer,
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    let part = Part { kind: Some(part::Kind::Text(options.text.clone())) };
    let request = AppendMessagesRequest {
        name: options.name.to_string(),
        messages: vec![Message { role: role.into(), parts: vec![part], ..Message::default() }],
        request_id: new_request_id(),
        pinned: options.pin,
        ..AppendMessagesRequest::default()
    };
    let turn = sessions.call(request, async |client, request| client.append_messages(request).await).await?;
    let pinned = if turn.pinned { ", pinned" } else { "" };
    writeln!(out, "{} has it as turn {}{pinned}", options.name, turn.revision)?;
    Ok(out.flush()?)
}

/// Changes the settings, all at once, and then the pins, one after the other.
pub(super) async fn set(sessions: &mut Sessions, options: &SetOptions, out: &mut impl Write) -> Result<()> {
    let (name, changes) = (&options.name, &options.changes);
    // Labels are set as a whole: those that stay must be known, and must still be those when the change is made.
    let touches_labels = !changes.labels.is_empty() || !changes.remove_labels.is_empty();
    let current = if touches_labels { Some(sessions.get(name).await?) } else { None };
    let request = settings(name, changes, current)?;
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

async fn pin(sessions: &mut Sessions, name: &SessionName, revision: u64, pinned: bool) -> Result<()> {
    let request = UpdateTurnRequest { name: name.to_string(), revision, pinned };
    sessions.call(request, async |client, request| client.update_turn(request).await).await?;
    Ok(())
}

/// Makes the request for the settings that are given; its mask is empty where there are none.
fn settings(name: &SessionName, changes: &Changes, current: Option<Session>) -> Result<UpdateSessionRequest> {
    let mut session = Session { name: name.to_string(), ..Session::default() };
    let mut paths = Vec::new();
    if let Some(title) = &changes.title {
        session.title.clone_from(title);
        paths.push("title");
    }
    if let Some(system) = &changes.system {
        session.system_prompt.clone_from(system);
        paths.push("system_prompt");
    }
    if let Some(current) = current {
        session.labels = current.labels;
        session.labels.retain(|key, _| !changes.remove_labels.contains(key));
        session.labels.extend(collected(&changes.labels));
        session.etag = current.etag;
        paths.push("labels");
    }
    if let Some(retention) = changes.retention {
        session.retention = Some(retention.try_into().context("--retention: is longer than can be said")?);
        paths.push("retention");
    }
    if let Some(second) = changes.second_turn {
        let second = match second {
            WhatOfSecond::Reject => SecondTurn::Reject,
            WhatOfSecond::Queue => SecondTurn::Queue,
            WhatOfSecond::Merge => SecondTurn::Merge,
            WhatOfSecond::Supersede => SecondTurn::Supersede,
        };
        session.set_second_turn(second);
        paths.push("second_turn");
    }
    if let Some(keep) = changes.keep_partial_output {
        session.keep_partial_output = keep;
        paths.push("keep_partial_output");
    }
    let update_mask = Some(FieldMask { paths: paths.into_iter().map(str::to_owned).collect() });
    Ok(UpdateSessionRequest { session: Some(session), update_mask })
}
