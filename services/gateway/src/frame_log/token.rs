//! What takes an answer up again: tokens over gRPC, ids of events over HTTP. Nobody but a gateway needs to read a
//! token, and nobody gains by making one: it opens requests of the caller's own tenant only.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use tonic_types::FieldViolation;

/// Tells an answer from another to the same request: one that is sent again after its answer was forgotten is generated
/// anew, and nobody is to go on in it who has the beginning of the first.
pub(crate) type Generation = NonZeroU32;

/// Which gateway has the frames of which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) owner: String,
    pub(crate) request_id: String,
    pub(crate) generation: Generation,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(format!("{}\n{}\n{}", self.owner, self.request_id, self.generation)))
    }
}

impl Token {
    /// Reads the token of a caller.
    pub(crate) fn read(token: &str) -> Result<Self, Vec<FieldViolation>> {
        token
            .parse()
            .map_err(|()| vec![FieldViolation::new("resume_token", "must be `Started.resume_token` of a stream")])
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(token: &str) -> Result<Self, ()> {
        let text = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(())?;
        let (named, generation) = text.rsplit_once('\n').ok_or(())?;
        let (owner, request_id) = named.split_once('\n').ok_or(())?;
        let generation = generation.parse().map_err(|_| ())?;
        Ok(Self { owner: owner.to_owned(), request_id: request_id.to_owned(), generation })
    }
}

/// The last event that a reader got: `{number of its frame}-{generation}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) number: u64,
    pub(crate) generation: Generation,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.number, self.generation)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(id: &str) -> Result<Self, ()> {
        let (number, generation) = id.split_once('-').ok_or(())?;
        let generation = u32::from_str_radix(generation, 16).ok().and_then(Generation::new).ok_or(())?;
        Ok(Self { number: number.parse().map_err(|_| ())?, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::{EventId, Generation, Token};

    #[test]
    fn tokens_and_events_are_read_as_they_were_written() {
        for generation in [Generation::MIN, Generation::MAX] {
            let token = Token { owner: "gateway-1".to_owned(), request_id: "order-1".to_owned(), generation };
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        assert!(
            ["", "zz", "61", "610a62", "610a620a63", "610a620a30"].iter().all(|token| token.parse::<Token>().is_err())
        );
        let id = EventId { number: 12, generation: Generation::MIN };
        assert_eq!((id.to_string().as_str(), id.to_string().parse()), ("12-00000001", Ok(id)));
        assert!(["", "12", "12-", "12-0", "-1", "x-1", "1-2-3"].iter().all(|id| id.parse::<EventId>().is_err()));
    }
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
