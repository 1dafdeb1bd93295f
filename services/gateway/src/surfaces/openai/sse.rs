//! An answer as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use pointsman_dialects::openai::{ChatStream, KEEPALIVE, render_error_event};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::Frame;
use tokio::time::{Instant, Sleep};

use crate::exchange::Answer;

/// How many bytes go into one write at most. Frames that are ready at once leave together.
const WRITE_LIMIT: usize = 16 << 10;

/// A body of events: keepalives until the first piece is there, then the answer, then `[DONE]`; or an
/// `error` event, and nothing after it.
pub(crate) struct Sse {
    state: State,
    events: ChatStream,
    numbered: Option<u64>,
    trace: String,
}

/// What a caller wants of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    /// Whether the usage is one.
    pub(crate) include_usage: bool,
    /// Whether they have the numbers of their frames, and after which of them they begin.
    pub(crate) numbered: Option<u64>,
}

enum State {
    Waiting {
        answer: BoxFuture<'static, Result<Answer, Error>>,
        next: Pin<Box<Sleep>>,
        interval: Duration,
        greeted: bool,
    },
    Flowing(Box<Answer>),
    Ended,
}

impl Sse {
    pub(crate) fn flowing(answer: Answer, events: Events, trace: String) -> Self {
        Self::new(State::Flowing(Box::new(answer)), events, trace)
    }

    fn new(state: State, events: Events, trace: String) -> Self {
        Self { state, events: ChatStream::new(events.include_usage), numbered: events.numbered, trace }
    }

    /// The first keepalive is due now.
    pub(crate) fn waiting(
        answer: BoxFuture<'static, Result<Answer, Error>>,
        events: Events,
        trace: String,
        interval: Duration,
    ) -> Self {
        let next = Box::pin(tokio::time::sleep(interval));
        let state = State::Waiting { answer, next, interval, greeted: false };
        Self::new(state, events, trace)
    }

    /// Writes what is ready. Pending with an empty `out` means that nothing is.
    fn write_ready(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        while out.len() < WRITE_LIMIT {
            match &mut self.state {
                State::Waiting { answer, next, interval, greeted } => match answer.as_mut().poll(context) {
                    Poll::Ready(Ok(answer)) => self.state = State::Flowing(Box::new(answer)),
                    Poll::Ready(Err(error)) => self.fail(&error, out),
                    Poll::Pending => {
                        if *greeted && next.as_mut().poll(context).is_pending() {
                            return Poll::Pending;
                        }
                        *greeted = true;
                        next.as_mut().reset(Instant::now() + *interval);
                        // Polled again, so that the timer wakes us.
                        let _ = next.as_mut().poll(context);
                        out.extend_from_slice(KEEPALIVE);
                        return Poll::Ready(());
                    }
                },
                State::Flowing(answer) => match answer.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(frame))) => self.push(&frame, out),
                    Poll::Ready(Some(Err(error))) => self.fail(&error, out),
                    Poll::Ready(None) => self.state = State::Ended,
                    Poll::Pending => return Poll::Pending,
                },
                State::Ended => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }

    fn push(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let begin = out.len();
        self.events.push(frame, out);
        match self.numbered {
            // Read again for what later events need to know, and not sent again.
            Some(after) if frame.sequence <= after => out.truncate(begin),
            Some(_) if out.len() > begin => {
                let number = format!("id: {}\n", frame.sequence);
                let last = last_event(out, begin);
                out.splice(last..last, number.into_bytes());
            }
            _ => {}
        }
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        out.extend_from_slice(&render_error_event(error, &self.trace));
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
