use pointsman_dialects::openai::Endpoint;
use pointsman_errors::Error;
use tonic::{Code, Status};

use crate::openai::check_rendered;

/// A `google.rpc.Status` of whoever sends one: it becomes an error of ours that survives the way back, a stranger's text
/// stays where it is, and every endpoint can write the error.
///
/// The bytes: the code, a line with the message, the encoded status.
pub fn status(data: &[u8]) {
    let Some((code, rest)) = data.split_first() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let message = String::from_utf8_lossy(&rest[..end]);
    let details = rest.get(end + 1..).unwrap_or_default().to_vec();
    let code = Code::from(i32::from(code % 18));
    let received = Status::with_details(code, message, details.clone().into());

    let error = Error::from_status(&received);
    let again = Error::from_status(&Status::from(error.clone()));
    assert_eq!(format!("{again:?}"), format!("{error:?}"));
    if Error::ours(&received).is_none() && code != Code::OutOfRange {
        let silent = Error::from_status(&Status::with_details(code, "", details.into()));
        assert_eq!(format!("{error:?}"), format!("{silent:?}"), "a stranger's text was given on");
    }
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Tokenize] {
        check_rendered(endpoint, &error);
    }
}
