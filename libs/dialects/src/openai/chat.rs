use pointsman_errors::Error;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::GenerateRequest;

use self::body::ChatBody;
use super::parameter;
use super::read::{check, read};
use crate::problems::Problems;

pub(super) mod body;
mod content;
pub(super) mod messages;
mod options;
pub(super) mod tools;
pub(super) mod uncarried;

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
    let body: ChatBody<'_> = read(body, "`model` and `messages`")?;
    let mut problems = Problems::default();
    let (request, delivery) = options::convert(body, &mut problems);
    let request = check(request, problems, parameter)?;
    Ok(ChatRequest { request, stream: delivery.stream, include_usage: delivery.include_usage })
}
