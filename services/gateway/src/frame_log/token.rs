//! Resume tokens: which gateway has the frames of which request. Nobody but a gateway needs to read one, and
//! nobody gains by making one: it opens requests of the caller's own tenant only.

use tonic_types::FieldViolation;

/// Makes a token.
pub(crate) fn write(owner: &str, request_id: &str) -> String {
    hex::encode(format!("{owner}\n{request_id}"))
}

/// Reads a token: the gateway's name and the request's.
pub(crate) fn read(token: &str) -> Result<(String, String), Vec<FieldViolation>> {
    let text = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let named = text.as_deref().and_then(|text| text.split_once('\n'));
    named
        .map(|(owner, id)| (owner.to_owned(), id.to_owned()))
        .ok_or_else(|| vec![FieldViolation::new("resume_token", "must be `Started.resume_token` of a stream")])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{read, write};

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(owner in "[^\n]{0,40}", id in "[!-~]{0,128}", stranger in "\\PC{0,40}") {
            prop_assert_eq!(read(&write(&owner, &id)).unwrap(), (owner, id));
            if let Ok((owner, id)) = read(&stranger) {
                prop_assert_eq!(write(&owner, &id), stranger.to_ascii_lowercase());
            }
        }
    }
}
