//! A body as JSON, before its fields are looked at.

use std::fmt::{Arguments, Display};

use pointsman_errors::{Error, Reason};
use pointsman_proto::{Valid, Validate};

use crate::json::{Given, Shape};
use crate::problems::Problems;

/// Reads a body that is one JSON object; `fields` are those that it must have. A body that is not JSON fails with the
/// line and column where it stops being it.
pub(super) fn read<'de, T: Shape<'de>>(body: &'de [u8], fields: impl Display) -> Result<T, Error> {
    // One check for the whole body lets every string in it be read without another.
    let text = str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        not_json(format_args!("byte {at} is not UTF-8; encode the body as UTF-8"))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(not_json(format_args!("it is empty; send one JSON object")));
    }
    match serde_json::from_str(text) {
        Ok(Given::Value(body)) => Ok(body),
        Ok(Given::Absent | Given::Wrong) => {
            Err(Error::new(Reason::InvalidRequest, format!("the body must be a JSON object with {fields}")))
        }
        Err(error) if error.is_eof() => Err(not_json(format_args!("{error}; send it whole, with every `{{` closed"))),
        Err(error) => Err(not_json(format_args!("{error}; send one JSON object"))),
    }
}

fn not_json(what: Arguments<'_>) -> Error {
    Error::new(Reason::InvalidRequest, format!("the body is not JSON: {what}"))
}

/// Checks what was made of a body, and adds to its problems the rules that it breaks, in the words of the endpoint.
pub(super) fn check<T: Validate>(
    request: T,
    mut problems: Problems,
    spelled: fn(&str) -> String,
) -> Result<Valid<T>, Error> {
    match Valid::new(request) {
        Ok(request) if problems.is_empty() => return Ok(request),
        Ok(_) => {}
        Err(mut broken) => {
            for violation in &mut broken {
                violation.field = spelled(&violation.field);
            }
            problems.add_rules(broken);
        }
    }
    Err(problems.into_error())
}
