//! An answer as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use pointsman_dialects::openai::{Endpoint, KEEPALIVE, render_error_event};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::Frame;
use pointsman_proto::inference::v1::frame::Body;
use tokio::time::{Instant, Sleep};

use super::KEEPALIVE_INTERVAL;
use super::form::{Form, Stream};
use crate::exchange::Answer;
use crate::frame_log::token::{EventId, Generation, Token};

/// How many bytes go into one write at most. Frames that are ready at once leave together.
const WRITE_LIMIT: usize = 16 << 10;

/// A body of events: keepalives until the first piece is there, then the answer, then `[DONE]`; or an
/// `error` event, and nothing after it.
pub(crate) struct Sse {
    state: State,
    endpoint: Endpoint,
    trace: String,
}

/// What a caller wants of events.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) form: Form,
    /// Whether they have the numbers of their frames, and after which of them they begin.
    pub(super) numbered: Option<u64>,
}

/// An answer that is written as events.
pub(crate) struct Flow {
    answer: Answer,
    /// Whether it is a policy's fixed text, and no model's.
    pub(crate) is_static: bool,
    writer: Writer,
    /// What is to be written first.
    begun: Vec<u8>,
}

impl Flow {
    /// Begins after the event that a reader has got last, which must be one of this answer. Who has got them all is
    /// sent the last one again, so that no stream is without an end.
    pub(super) async fn begin(mut answer: Answer, events: Events) -> Result<Self, Error> {
        let is_static = answer.is_static();
        let mut writer = Writer { stream: events.form.stream(), numbered: events.numbered.is_some(), generation: None };
        let mut begun = Vec::new();
        // Read again for what later events need to know.
        let rewrite = |frame: &Frame| {
            writer.write(frame, &mut begun);
            if !matches!(frame.body, Some(Body::Finished(_))) {
                begun.clear();
            }
        };
        answer.read_to(events.numbered.unwrap_or_default(), rewrite).await?;
        Ok(Self { answer, is_static, writer, begun })
    }
}

/// Writes frames as events.
struct Writer {
    stream: Stream,
    numbered: bool,
    /// Which answer it is, as its beginning says.
    generation: Option<Generation>,
}

impl Writer {
    fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let begin = out.len();
        self.stream.push(frame, out);
        if !self.numbered {
            return;
        }
        if let Some(Body::Started(started)) = &frame.body {
            self.generation = started.resume_token.parse().ok().and_then(|token: Token| token.generation);
        }
        if let Some(generation) = self.generation.filter(|_| out.len() > begin) {
            let id = EventId { number: frame.sequence, generation };
            let last = last_event(out, begin);
            out.splice(last..last, format!("id: {id}\n").into_bytes());
        }
    }
}

enum State {
    Waiting { flow: BoxFuture<'static, Result<Flow, Error>>, next: Pin<Box<Sleep>>, greeted: bool },
    Flowing(Box<Flow>),
    Ended,
}

impl Sse {
    pub(crate) fn flowing(flow: Flow, endpoint: Endpoint, trace: String) -> Self {
        Self { state: State::Flowing(Box::new(flow)), endpoint, trace }
    }

    /// The first keepalive is due now.
    pub(crate) fn waiting(flow: BoxFuture<'static, Result<Flow, Error>>, endpoint: Endpoint, trace: String) -> Self {
        let next = Box::pin(tokio::time::sleep(KEEPALIVE_INTERVAL));
        Self { state: State::Waiting { flow, next, greeted: false }, endpoint, trace }
    }

    /// Writes what is ready. Pending with an empty `out` means that nothing is.
    fn write_ready(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        while out.len() < WRITE_LIMIT {
            match &mut self.state {
                State::Waiting { flow, next, greeted } => match flow.as_mut().poll(context) {
                    Poll::Ready(Ok(flow)) => self.state = State::Flowing(Box::new(flow)),
                    Poll::Ready(Err(error)) => self.fail(&error, out),
                    Poll::Pending => {
                        if *greeted && next.as_mut().poll(context).is_pending() {
                            return Poll::Pending;
                        }
                        *greeted = true;
                        next.as_mut().reset(Instant::now() + KEEPALIVE_INTERVAL);
                        // Polled again, so that the timer wakes us.
                        let _ = next.as_mut().poll(context);
                        out.extend_from_slice(KEEPALIVE);
                        return Poll::Ready(());
                    }
                },
                State::Flowing(flow) if !flow.begun.is_empty() => out.append(&mut flow.begun),
                State::Flowing(flow) => match flow.answer.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(frame))) => flow.writer.write(&frame, out),
                    Poll::Ready(Some(Err(error))) => self.fail(&error, out),
                    Poll::Ready(None) => self.state = State::Ended,
                    Poll::Pending => return Poll::Pending,
                },
                State::Ended => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        out.extend_from_slice(&render_error_event(self.endpoint, error, &self.trace));
        self.state = State::Ended;
    }
}

/// Where the last event begins of those that a frame has added. It has the number: whoever has got an event before it
/// only gets that one again, and misses nothing.
fn last_event(out: &[u8], begin: usize) -> usize {
    let before = out[begin..].strip_suffix(b"\n\n").unwrap_or_default();
    before.windows(2).rposition(|ends| ends == b"\n\n").map_or(begin, |end| begin + end + 2)
}

impl http_body::Body for Sse {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut out = Vec::new();
        match this.write_ready(context, &mut out) {
            _ if !out.is_empty() => Poll::Ready(Some(Ok(http_body::Frame::data(out.into())))),
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
