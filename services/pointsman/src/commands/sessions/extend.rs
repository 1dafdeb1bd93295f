//! `pointsman sessions fork` and `append`

use std::io::Write;

use anyhow::Result;
use pointsman_proto::inference::v1::{Message, Part, Role, part};
use pointsman_proto::sessions::v1::{AppendMessagesRequest, ForkSessionRequest};
use pointsman_types::{counted, new_request_id};

use crate::arguments::sessions::{AppendOptions, ForkOptions, Speaker};
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
