//! An answer as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use http_body::Frame;
use pointsman_dialects::openai::{ChatStream, KEEPALIVE, render_error_event};
use pointsman_errors::Error;
use tokio::time::{Instant, Sleep};

use crate::exchange::Answer;

/// How many bytes go into one write at most. Frames that are ready at once leave together.
const WRITE_LIMIT: usize = 16 << 10;

/// A body of events: keepalives until the first piece is there, then the answer, then `[DONE]`; or an
/// `error` event, and nothing after it.
pub(crate) struct Sse {
    state: State,
    events: ChatStream,
    trace: String,
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
    pub(crate) fn flowing(answer: Answer, include_usage: bool, trace: String) -> Self {
        Self { state: State::Flowing(Box::new(answer)), events: ChatStream::new(include_usage), trace }
    }

    /// The first keepalive is due now.
    pub(crate) fn waiting(
        answer: BoxFuture<'static, Result<Answer, Error>>,
        include_usage: bool,
        trace: String,
        interval: Duration,
    ) -> Self {
        let next = Box::pin(tokio::time::sleep(interval));
        let state = State::Waiting { answer, next, interval, greeted: false };
        Self { state, events: ChatStream::new(include_usage), trace }
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
                    Poll::Ready(Some(Ok(frame))) => self.events.push(&frame, out),
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
        out.extend_from_slice(&render_error_event(error, &self.trace));
        self.state = State::Ended;
    }
}

impl http_body::Body for Sse {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut out = Vec::new();
        match this.write_ready(context, &mut out) {
            _ if !out.is_empty() => Poll::Ready(Some(Ok(Frame::data(out.into())))),
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
