//! Rows as messages, and back.

use std::time::Duration;

use pointsman_proto::sessions::v1::{Session, SessionState, Turn, TurnKind};
use prost::Message;
use prost_types::Timestamp;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::store::{StoreError, sql};

/// The columns of a session, in the order in which they are read.
pub(super) const SESSION: &str = "id, uid, epoch, revision, awaited, awaited_until, settings, etag, forked_from, forked_at, created, updated, expires";

/// Between the ids of awaited calls: no id has a control character (see `tools.rs`).
pub(super) const SEPARATOR: &str = "\u{1f}";

/// The settings of a session, as they are kept: what is output only has columns of its own.
pub(super) fn settings(session: &Session) -> Vec<u8> {
    Session {
        title: session.title.clone(),
        system_prompt: session.system_prompt.clone(),
        labels: session.labels.clone(),
        data_class: session.data_class,
        home_zone: session.home_zone.clone(),
        retention: session.retention,
        second_turn: session.second_turn,
        merge_window: session.merge_window,
        tool_timeout: session.tool_timeout,
        limits: session.limits,
        keep_partial_output: session.keep_partial_output,
        ..Session::default()
    }
    .encode_to_vec()
}

/// How long the session is kept, in microseconds; 0 where it does not say.
pub(super) fn retention(session: &Session) -> i64 {
    let own = session.retention.and_then(|retention| Duration::try_from(retention).ok()).unwrap_or_default();
    i64::try_from(own.as_micros()).unwrap_or(i64::MAX)
}

/// Reads a session of the columns [`SESSION`], the first of them at this place.
pub(super) fn session(row: &AnyRow, at: usize) -> Result<Session, StoreError> {
    let text = |index: usize| get::<String>(row, at + index);
    let number = |index: usize| get::<i64>(row, at + index);
    let count = |index: usize| Ok::<_, StoreError>(number(index)?.unsigned_abs());
    let settings = Session::decode(get::<Vec<u8>>(row, at + 6)?.as_slice()).map_err(unreadable)?;
    let awaited: Vec<String> = text(4)?.split(SEPARATOR).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let state = if awaited.is_empty() { SessionState::Idle } else { SessionState::AwaitingTools };
    let tool_expire_time = (!awaited.is_empty()).then(|| number(5).map(time)).transpose()?;
    Ok(Session {
        name: format!("sessions/{}", text(0)?),
        uid: text(1)?,
        epoch: count(2)?,
        revision: count(3)?,
        awaited_tool_call_ids: awaited,
        tool_expire_time,
        state: state.into(),
        etag: text(7)?,
        forked_from: text(8)?,
        forked_at_revision: count(9)?,
        create_time: Some(time(number(10)?)),
        update_time: Some(time(number(11)?)),
        expire_time: Some(time(number(12)?)),
        ..settings
    })
}

/// A turn, as it is kept: its revision, name, pin and time have columns.
pub(super) fn content(turn: &Turn) -> Vec<u8> {
    Turn { revision: 0, request_id: String::new(), pinned: false, create_time: None, ..turn.clone() }.encode_to_vec()
}

/// What a turn is found by. What came of one that failed repeats nothing: its request may be sent again.
pub(super) fn request_key(turn: &Turn) -> String {
    match turn.kind() {
        TurnKind::Partial => format!("{}{SEPARATOR}{}", turn.request_id, turn.revision),
        _ => turn.request_id.clone(),
    }
}

/// Reads a turn of the columns `request_id, revision, created, pinned, content`.
pub(super) fn turn(row: &AnyRow, at: [usize; 5]) -> Result<Turn, StoreError> {
    let [request_id, revision, created, pinned, content] = at;
    let turn = Turn::decode(get::<Vec<u8>>(row, content)?.as_slice()).map_err(unreadable)?;
    let mut name: String = get(row, request_id)?;
    name.truncate(name.find(SEPARATOR).unwrap_or(name.len()));
    Ok(Turn {
        request_id: name,
        revision: get::<i64>(row, revision)?.unsigned_abs(),
        create_time: Some(time(get(row, created)?)),
        pinned: get::<i64>(row, pinned)? == 1,
        ..turn
    })
}

pub(super) fn get<'r, T>(row: &'r AnyRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    row.try_get(index).map_err(sql::failure)
}

fn unreadable(error: prost::DecodeError) -> StoreError {
    StoreError::Unreadable(error.to_string())
}

/// Microseconds since 1970 as a message.
pub(crate) fn time(micros: i64) -> Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A message as microseconds since 1970; absent, 0.
pub(crate) fn micros_of(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1000))
}
