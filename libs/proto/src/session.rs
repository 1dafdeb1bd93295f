//! How sessions are called, and what belongs to them.

/// What is said of a name that is none.
pub const SESSION_RULE: &str =
    "must be `sessions/{id}`, or the id alone: 1 to 128 letters, digits, `-`, `_`, `.`, `~`, `@`, `+` or `:`";

/// Returns the id in a session's name, which is `sessions/{id}` or the id alone; `None` if it is no such name.
pub fn session_id(name: &str) -> Option<&str> {
    let id = name.strip_prefix("sessions/").unwrap_or(name);
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@+:".contains(&byte);
    ((1..=128).contains(&id.len()) && id.bytes().all(is_known)).then_some(id)
}

/// What is said of a channel or a group of consumers that is called otherwise.
pub const LABEL_RULE: &str = "must have 1 to 63 letters, digits, `-`, `_`, `.` or `:`";

/// Whether a text may name a channel, or a group of consumers.
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}
