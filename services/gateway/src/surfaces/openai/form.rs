//! The two forms of a completion: of a chat, and of a text.

use pointsman_dialects::openai::{
    ChatRequest, ChatStream, Endpoint, TextRequest, TextStream, parse_chat, parse_text, render_chat, render_text,
};
use pointsman_errors::Error;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{Frame, GenerateRequest, GenerateResponse};

/// A completion that was asked for.
pub(super) struct Wanted {
    pub(super) request: Valid<GenerateRequest>,
    /// Whether the answer goes out as it is made.
    pub(super) stream: bool,
    pub(super) form: Form,
}

/// How its answer is written.
#[derive(Debug)]
pub(super) enum Form {
    Chat { include_usage: bool },
    Text { include_usage: bool, echo: String },
}

impl Wanted {
    /// Reads the body of a request to `/v1/completions`, or else to `/v1/chat/completions`.
    pub(super) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, Error> {
        if endpoint == Endpoint::Completions {
            let TextRequest { request, stream, include_usage, echo } = parse_text(body)?;
            return Ok(Self { request, stream, form: Form::Text { include_usage, echo } });
        }
        let ChatRequest { request, stream, include_usage } = parse_chat(body)?;
        Ok(Self { request, stream, form: Form::Chat { include_usage } })
    }
}

impl Form {
    pub(super) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Chat { .. } => Endpoint::Chat,
            Self::Text { .. } => Endpoint::Completions,
        }
    }

    /// Writes a whole answer.
    pub(super) fn render(&self, response: &GenerateResponse) -> Vec<u8> {
        match self {
            Self::Chat { .. } => render_chat(response),
            Self::Text { echo, .. } => render_text(response, echo),
        }
    }

    /// Begins a stream of events.
    pub(super) fn stream(self) -> Stream {
        match self {
            Self::Chat { include_usage } => Stream::Chat(ChatStream::new(include_usage)),
            Self::Text { include_usage, echo } => Stream::Text(TextStream::new(include_usage, echo)),
        }
    }
}

/// Writes frames as events.
pub(super) enum Stream {
    Chat(ChatStream),
    Text(TextStream),
}

impl Stream {
    /// Appends the events of a frame. Some frames have none.
    pub(super) fn push(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match self {
            Self::Chat(stream) => stream.push(frame, out),
            Self::Text(stream) => stream.push(frame, out),
        }
    }
}
