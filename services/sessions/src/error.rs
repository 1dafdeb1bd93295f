//! What callers are told of what went wrong.

use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_types::counted;

use crate::places::Leave;
use crate::store::{SessionKey, StoreError, Who};

/// What a caller is told of a store that failed. What the store said is for the log.
pub(crate) fn of_store(error: &StoreError) -> Error {
    let detail = error as &dyn std::error::Error;
    match error {
        StoreError::Unavailable(_) | StoreError::TooSlow(_) => {
            tracing::debug!(error = detail, "a store cannot be asked");
            let message = "conversations cannot be read or written at the moment; nothing was changed, try again";
            Error::new(Reason::SessionsUnavailable, message).retry_after(Duration::from_secs(1))
        }
        StoreError::Busy => {
            let message = "the session store has too much to do at the moment; nothing was changed, try again";
            Error::new(Reason::Overloaded, message).retry_after(Duration::from_secs(1))
        }
        StoreError::Failed(_) | StoreError::Unreadable(_) => {
            tracing::error!(error = detail, "the session store failed");
            Error::new(Reason::Internal, "the session store failed; give its operators the request id")
        }
    }
}

/// What a caller is told where what is remembered of a session cannot be forgotten: a copy would outlive the truth.
pub(crate) fn of_copies(error: &StoreError) -> Error {
    let told = of_store(error);
    if told.reason() != Reason::SessionsUnavailable {
        return told;
    }
    told.with_message("Redis has a copy of the session's turns, and does not answer; nothing was changed, try again")
}

/// Whether the turn is kept is not known where a commit was not answered.
pub(crate) fn of_commit(error: &StoreError) -> Error {
    let told = of_store(error);
    if told.reason() != Reason::SessionsUnavailable {
        return told;
    }
    told.with_message(NOT_KNOWN)
}

/// What is told to whoever is answered with a turn of which nobody knows whether it will be kept.
pub(crate) fn not_known() -> Error {
    Error::new(Reason::SessionsUnavailable, NOT_KNOWN).retry_after(Duration::from_secs(5))
}

const NOT_KNOWN: &str = "the answer is whole, but it is not known whether its turn is kept; send the request again with its request id, and it is kept once";

pub(crate) fn not_found(key: &SessionKey) -> Error {
    Error::new(Reason::SessionNotFound, format!("there is no session `sessions/{}`", key.id))
}

/// There is no session, and none is made: the caller believes that there is one, or it was erased at this moment.
pub(crate) fn not_there_to_go_on(key: &SessionKey, expected: Option<u64>) -> Error {
    let Some(expected) = expected.filter(|expected| *expected > 0) else { return not_found(key) };
    let message = format!(
        "there is no session `sessions/{}`, and none is made, since {} of it are expected; to begin it, leave the expected revision out or give 0",
        key.id,
        counted(expected, "turn")
    );
    Error::new(Reason::SessionNotFound, message)
}

pub(crate) fn not_bound(who: &Who<'_>) -> Error {
    let message = format!("`{}` has no session in the channel `{}`", who.external_user, who.channel);
    Error::new(Reason::BindingNotFound, message)
}

pub(crate) fn exists(key: &SessionKey) -> Error {
    let message = format!("there is a session `sessions/{}` already; choose another id, or leave it out", key.id);
    Error::new(Reason::SessionExists, message)
}

pub(crate) fn in_progress() -> Error {
    let message = "another turn of this session is running; send this one again when it has ended";
    Error::new(Reason::TurnInProgress, message).retry_after(Duration::from_secs(1))
}

/// The same where the session wants no second turn: it is not to be sent again by a library of its own accord.
pub(crate) fn rejected() -> Error {
    let message = "another turn of this session is running, and the session rejects a second one (`second_turn`); send it when that has ended";
    Error::new(Reason::TurnInProgress, message)
}

pub(crate) fn conflict() -> Error {
    let message = "the session has changed since this turn began, and nothing of it is kept; read the session and send the turn again";
    Error::new(Reason::TurnConflict, message)
}

pub(crate) fn superseded() -> Error {
    let message = "a later turn of this session has taken the place of this one, of which nothing is kept";
    Error::new(Reason::TurnSuperseded, message)
}

pub(crate) fn merged(request_id: &str, revision: u64) -> Error {
    let message = format!(
        "the messages are kept, and answered in turn {revision} of the session, with those of the request `{request_id}`; do not send them again"
    );
    Error::new(Reason::TurnMerged, message)
}

pub(crate) fn not_answered() -> Error {
    let message = "the turn that was to answer these messages with others has ended without an answer, and nothing of it is kept; send them again";
    Error::new(Reason::TurnConflict, message)
}

/// What somebody is told who was asked to leave.
pub(crate) fn left(leave: Leave) -> Error {
    match leave {
        Leave::Superseded => superseded(),
        Leave::Erased => Error::new(Reason::SessionNotFound, "the session was erased while it was answered"),
        Leave::Cancelled => run_cancelled(),
        Leave::Interrupted => {
            let message = "the turn was broken off; what was heard of its answer is kept";
            Error::new(Reason::TurnInterrupted, message)
        }
    }
}

pub(crate) fn run_cancelled() -> Error {
    Error::new(Reason::RunCancelled, "the run was cancelled, and no turn is kept of it")
}

pub(crate) fn other_revision(expected: u64, found: u64) -> Error {
    let message =
        format!("the session has revision {found}, not {expected}; read the turns since and send this one again");
    Error::new(Reason::TurnConflict, message)
}

pub(crate) fn reused() -> Error {
    let message = "another request with this id is a turn of this session; choose an id of its own for each request";
    Error::new(Reason::RequestIdReused, message)
}

pub(crate) fn changed() -> Error {
    let message = "the session has another etag by now; read it, and send the change again with the one that it has";
    Error::new(Reason::TurnConflict, message)
}

pub(crate) fn changed_meanwhile() -> Error {
    Error::new(Reason::TurnConflict, "the session was changed at this moment, and nothing is forked; try again")
}

pub(crate) fn turn_not_found(revision: u64, last: u64) -> Error {
    Error::new(Reason::TurnNotFound, format!("the session has no turn {revision}; its last is {last}"))
}

pub(crate) fn not_the_last(request_id: &str) -> Error {
    let message = format!(
        "the turn of `{request_id}` does not run, and is not the last of its session: there is nothing to break off"
    );
    Error::new(Reason::TurnNotFound, message)
}
