//! The rules of names, pages and messages in requests.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use pointsman_errors::Error;
use pointsman_proto::inference::v1::{GenerateRequest, Message};
use pointsman_proto::sessions::v1::{InterruptTurnRequest, Session};
use pointsman_proto::{LABEL_RULE, SESSION_RULE, Validate, Violations, is_label, session_id};
use sha2::{Digest, Sha256};
use tonic_types::FieldViolation;

use crate::store::{SessionKey, Who, micros};

fn invalid<T>(field: &str, message: &str) -> Result<T, Error> {
    Err(Error::invalid(vec![FieldViolation::new(field, message)]))
}

/// The session that a field names, with or without `sessions/` before its id.
pub(super) fn key(tenant: &Arc<str>, field: &str, name: &str) -> Result<SessionKey, Error> {
    match session_id(name) {
        Some(id) => Ok(SessionKey { tenant: Arc::clone(tenant), id: id.into() }),
        None => invalid(field, SESSION_RULE),
    }
}

/// The session that is to be made; without an id it gets a new one.
pub(super) fn new_key(tenant: &Arc<str>, field: &str, id: &str) -> Result<SessionKey, Error> {
    match id {
        "" => Ok(SessionKey { tenant: Arc::clone(tenant), id: uuid::Uuid::now_v7().to_string().into() }),
        id => key(tenant, field, id),
    }
}

/// The settings of a session that is to be made: its name stands beside them.
pub(super) fn check_unnamed(session: Option<&Session>, name: Option<&str>) -> Result<(), Error> {
    match session.map(|session| session.name.as_str()).unwrap_or_default() {
        "" => Ok(()),
        given if name.is_some_and(|name| session_id(given) == session_id(name)) => Ok(()),
        _ => invalid("session.name", "must be left out: a new session is named by `session_id`, or gets a name"),
    }
}

pub(super) fn check_channel(channel: &str, is_required: bool) -> Result<(), Error> {
    if channel.is_empty() && !is_required {
        return Ok(());
    }
    check_label("channel", channel)
}

/// A channel, or a group of consumers.
pub(super) fn check_label(field: &str, label: &str) -> Result<(), Error> {
    if is_label(label) { Ok(()) } else { invalid(field, LABEL_RULE) }
}

/// The request that a turn or a run answers.
pub(super) fn check_request_id(id: &str) -> Result<(), Error> {
    if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    invalid("request_id", "must be that of a request: 1 to 128 visible ASCII characters")
}

pub(super) fn check_heard(message: &InterruptTurnRequest) -> Result<(), Error> {
    check_request_id(&message.request_id)?;
    if message.heard_text.len() > 4 << 20 {
        return invalid("heard_text", "must have at most 4 MiB");
    }
    Ok(())
}

pub(super) fn check_person(field: &str, name: &str) -> Result<(), Error> {
    // PostgreSQL's texts hold no NUL.
    if (1..=256).contains(&name.len()) && !name.contains('\0') {
        return Ok(());
    }
    invalid(field, "must have 1 to 256 bytes, and no NUL")
}

/// The person that a request is about.
pub(super) fn who<'a>(tenant: &'a str, channel: &'a str, external_user: &'a str) -> Result<Who<'a>, Error> {
    check_channel(channel, true)?;
    check_person("external_user", external_user)?;
    Ok(Who { tenant, channel, external_user, time: micros(SystemTime::now()) })
}

/// Holds messages, and the name of what says them, against the rules of a request's.
pub(super) fn check_messages(messages: &[Message], request_id: &str) -> Result<(), Error> {
    let request = GenerateRequest {
        model: "-".to_owned(),
        messages: messages.to_vec(),
        request_id: request_id.to_owned(),
        ..GenerateRequest::default()
    };
    let mut violations = Violations::default();
    request.validate(&mut violations);
    violations.done(()).map_err(Error::invalid)
}

pub(super) fn page_size(size: u32) -> Result<u32, Error> {
    match size {
        0 => Ok(100),
        1..=1000 => Ok(size),
        _ => invalid("page_size", "must be at most 1,000"),
    }
}

/// Where a page ended.
pub(super) struct Page {
    pub(super) time: i64,
    pub(super) id: String,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(format!("{}/{}", self.time, self.id)))
    }
}

/// Cuts what was found, one more than a page may have, and names the page after it. Empty: it is the last.
pub(super) fn cut<T>(found: &mut Vec<T>, limit: u32, end: impl FnOnce(&T) -> Page) -> String {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    last.map_or_else(String::new, |last| end(last).to_string())
}

pub(super) fn page(token: &str) -> Result<Option<Page>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
        let (time, id) = text.split_once('/')?;
        Some(Page { time: time.parse().ok()?, id: id.to_owned() })
    };
    match read() {
        Some(page) => Ok(Some(page)),
        None => invalid("page_token", "must be the `next_page_token` of an answer"),
    }
}

/// Tells requests apart that have one name.
pub(super) fn digest(request: &[u8]) -> u64 {
    let digest = Sha256::digest(request);
    u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::Message;
    use pointsman_proto::sessions::v1::InterruptTurnRequest;

    use super::{Page, check_channel, check_heard, check_messages, check_person, key, new_key, page, page_size};

    #[test]
    fn names_have_rules() {
        let tenant = "t".into();
        for (name, id) in [
            ("sessions/a", Some("a")),
            ("a", Some("a")),
            ("Ab-_.~@+:9", Some("Ab-_.~@+:9")),
            ("sessions/", None),
            ("", None),
            ("a/b", None),
            ("a b", None),
            ("ä", None),
            ("a{b}", None),
            ("a\0", None),
        ] {
            let read = key(&tenant, "name", name).ok().map(|key| key.id.to_string());
            assert_eq!(read.as_deref(), id, "{name:?}");
        }
        assert!(key(&tenant, "name", &"a".repeat(128)).is_ok());
        assert!(key(&tenant, "name", &"a".repeat(129)).is_err());
        assert_ne!(new_key(&tenant, "id", "").unwrap().id, new_key(&tenant, "id", "").unwrap().id);
    }

    #[test]
    fn people_and_channels_have_rules() {
        assert!(check_channel("whats-app_2.eu:x", true).is_ok() && check_channel("", false).is_ok());
        for bad in ["", "a b", "ä", &"c".repeat(64)] {
            assert!(check_channel(bad, true).is_err(), "{bad}");
        }
        assert!(check_person("it", "+49 170 1234").is_ok());
        for bad in ["", "a\0", &"c".repeat(257)] {
            assert!(check_person("it", bad).is_err(), "{bad}");
        }
        let heard = |request_id: &str| {
            check_heard(&InterruptTurnRequest { request_id: request_id.into(), ..Default::default() })
        };
        assert!(heard("a").is_ok() && heard(&"r".repeat(128)).is_ok());
        assert!(["", "a b", "a\0", "ä", &"r".repeat(129)].into_iter().all(|bad| heard(bad).is_err()));
        assert!(check_messages(&[], "").is_err() && check_messages(&[Message::default()], "").is_err());
    }

    #[test]
    fn pages_go_on_where_they_ended() {
        let token = Page { time: -5, id: "a/b:c".to_owned() }.to_string();
        let read = page(&token).unwrap().unwrap();
        assert_eq!((read.time, read.id.as_str()), (-5, "a/b:c"));
        assert!(page("").unwrap().is_none());
        for bad in ["x", "00", "ff2f"] {
            assert!(page(bad).is_err(), "{bad}");
        }
        assert_eq!((page_size(0).unwrap(), page_size(1000).unwrap()), (100, 1000));
        assert!(page_size(1001).is_err());
    }
}
