/// The tenant of every caller that needs no key: a mesh that listens on loopback and has no keys configured.
pub const LOCAL_TENANT: &str = "local";

/// Whether a text may name a tenant: 1 to 63 letters, digits, `-`, `_` and `.`, all of them ASCII.
pub fn is_tenant_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{LOCAL_TENANT, is_tenant_name};

    #[test]
    fn tenants_have_plain_names() {
        for (text, is) in [
            (LOCAL_TENANT, true),
            ("Acme_2.eu-west", true),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\nb", false),
            ("ä", false),
        ] {
            assert_eq!(is_tenant_name(text), is, "{text:?}");
        }
    }
}
