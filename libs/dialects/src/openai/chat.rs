use pointsman_errors::{Error, Reason};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::GenerateRequest;

use self::body::ChatBody;
use crate::json::Given;
use crate::openai::parameter;
use crate::problems::Problems;

mod body;
mod content;
mod messages;
mod options;
mod tools;
mod uncarried;

/// A chat completion that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// What to generate.
    pub request: Valid<GenerateRequest>,
    /// Whether the answer goes out as it is made.
    pub stream: bool,
    /// Whether a stream ends with a chunk that says what was consumed.
    pub include_usage: bool,
}

/// Reads the body of `POST /v1/chat/completions`.
///
/// Fails with every mistake in it, named by OpenAI parameter: `INVALID_REQUEST`, or `UNSUPPORTED_FIELD` if the
/// body is right but asks for what no target of the mesh can do. A body that is not JSON fails with the line and
/// column where it stops being it.
pub fn parse_chat(body: &[u8]) -> Result<ChatRequest, Error> {
    let body = read(body)?;
    let mut problems = Problems::default();
    let (request, delivery) = options::convert(body, &mut problems);
    match Valid::new(request) {
        Ok(request) if problems.is_empty() => {
            return Ok(ChatRequest { request, stream: delivery.stream, include_usage: delivery.include_usage });
        }
        Ok(_) => {}
        Err(mut broken) => {
            for violation in &mut broken {
                violation.field = parameter(&violation.field);
            }
            problems.add_rules(broken);
        }
    }
    Err(problems.into_error())
}

fn read(body: &[u8]) -> Result<ChatBody<'_>, Error> {
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
        Ok(Given::Absent | Given::Wrong) => Err(not_an_object()),
        Err(error) if error.is_eof() => Err(not_json(format_args!("{error}; send it whole, with every `{{` closed"))),
        Err(error) => Err(not_json(format_args!("{error}; send one JSON object"))),
    }
}

fn not_json(what: std::fmt::Arguments<'_>) -> Error {
    Error::new(Reason::InvalidRequest, format!("the body is not JSON: {what}"))
}

fn not_an_object() -> Error {
    Error::new(Reason::InvalidRequest, "the body must be a JSON object with `model` and `messages`")
}
