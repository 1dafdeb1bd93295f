//! OpenAI's formats.

pub(crate) mod answers;
pub(crate) mod bodies;
mod client;
mod frames;
mod write;

use pointsman_dialects::openai::{Endpoint, render_error, render_error_event};
use pointsman_errors::{Error, Reason};
use pointsman_proto::Violations;
use serde_json::Value;

/// The longest message of a refusal, in bytes: [`Violations::LIMIT`] times a name and what is wrong with it.
const LONGEST_MESSAGE: usize = Violations::LIMIT * 1024;

/// Holds what is held of every refusal of a body: it names fields, or says that it is no JSON object; it is of a bounded
/// length; its caller can read it.
fn check_refusal(endpoint: Endpoint, error: &Error, body: &[u8]) {
    assert!(matches!(error.reason(), Reason::InvalidRequest | Reason::UnsupportedField), "{error:?}");
    assert!((1..=LONGEST_MESSAGE).contains(&error.message().len()), "{} bytes", error.message().len());
    assert!(error.violations().len() <= Violations::LIMIT);
    for violation in error.violations() {
        assert!(!violation.field.is_empty() && !violation.description.is_empty(), "{error:?}");
    }
    if error.violations().is_empty() {
        assert!(error.message().starts_with("the body "), "{error:?}");
        // The other way round does not hold: what is not looked at need not be right.
        let is_object = matches!(serde_json::from_slice(body), Ok(Value::Object(_)));
        assert!(!is_object, "this is a JSON object: {error:?}");
    }
    check_rendered(endpoint, error);
}

/// Holds that an error is written as JSON that says what it says, before the first byte and after it.
pub(crate) fn check_rendered(endpoint: Endpoint, error: &Error) {
    let (status, body) = render_error(endpoint, error);
    assert!((400..600).contains(&status));
    let mut body: Value = serde_json::from_slice(&body).expect("an error is JSON");
    let first = error.violations().first().map(|violation| endpoint.parameter(&violation.field));
    match first {
        Some(field) => assert_eq!(body["error"]["param"], field),
        None => assert_eq!(body["error"]["message"], error.message()),
    }
    let event = render_error_event(endpoint, error, "abc");
    let event = event.strip_prefix(b"data: ").and_then(|event| event.strip_suffix(b"\n\n")).expect("one event");
    assert!(!event.contains(&b'\n'));
    let event: Value = serde_json::from_slice(event).expect("an event is JSON");
    body["error"]["trace_id"] = "abc".into();
    assert_eq!(event, body);
}
