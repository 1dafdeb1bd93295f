use std::fmt;

use crate::store::SessionKey;

/// Every key that we have in Redis.
///
/// What belongs to one session has one hash tag, what stands in braces: a cluster keeps it on one node, where one script
/// may touch all of it. No tenant has a `/` in its name, and neither tenants nor ids have braces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    /// Who runs a turn: a string with the holder of the lease.
    Lease(&'a SessionKey),
    /// What is remembered of a session: a list (see `window.rs`).
    Window(&'a SessionKey),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, what) = match self {
            Self::Lease(key) => (key, "lease"),
            Self::Window(key) => (key, "window"),
        };
        write!(f, "pm:{{{}/{}}}:{what}", key.tenant, key.id)
    }
}

#[cfg(test)]
mod tests {
    use super::Key;
    use crate::store::SessionKey;

    #[test]
    fn keys_are_what_they_have_always_been() {
        for (tenant, id, lease, window) in [
            ("acme", "s1", "pm:{acme/s1}:lease", "pm:{acme/s1}:window"),
            ("local", "a:b@c+d~e", "pm:{local/a:b@c+d~e}:lease", "pm:{local/a:b@c+d~e}:window"),
        ] {
            let key = SessionKey { tenant: tenant.into(), id: id.into() };
            assert_eq!(Key::Lease(&key).to_string(), lease);
            assert_eq!(Key::Window(&key).to_string(), window);
        }
    }
}
