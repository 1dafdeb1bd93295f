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
    use proptest::prelude::*;

    use super::{EventId, Generation, Token};

    #[test]
    fn what_is_no_token_and_no_id_is_none() {
        let tokens = ["", "zz", "61", "610a62", "610a620a63", "610a620a30"];
        assert!(tokens.iter().all(|token| token.parse::<Token>().is_err()));
        let ids = ["", "12", "12-", "12-0", "-1", "x-1", "1-2-3"];
        assert!(ids.iter().all(|id| id.parse::<EventId>().is_err()));
        let id = EventId { number: 12, generation: Generation::MIN };
        assert_eq!(id.to_string(), "12-00000001");
    }

    proptest! {
        #[test]
        fn tokens_and_ids_are_read_as_they_were_written(
            owner in "[^\n]{0,40}", request_id in "[!-~]{0,128}", generation in 1_u32.., number in any::<u64>(),
        ) {
            let generation = Generation::new(generation).unwrap();
            let (token, id) = (Token { owner, request_id, generation }, EventId { number, generation });
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
}
