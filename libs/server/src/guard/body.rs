//! gRPC bodies that end before their time, in a status in their trailers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tonic::Status;

use super::End;

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

fn trailers(status: &Status) -> Polled {
    let mut trailers = HeaderMap::new();
    Poll::Ready(Some(match status.add_header(&mut trailers) {
        Ok(()) => Ok(Frame::trailers(trailers)),
        Err(status) => Err(axum::Error::new(status)),
    }))
}

/// A body that ends when somebody polls it after its end has come.
pub(super) struct Ended {
    inner: Body,
    end: Option<End>,
}

impl Ended {
    pub(super) fn new(inner: Body, end: End) -> Self {
        Self { inner, end: Some(end) }
    }
}

impl http_body::Body for Ended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        // First, so that frames which wait for a slow reader do not go on either.
        if let Poll::Ready(status) = end.as_mut().poll(context) {
            self.end = None;
            return trailers(&status);
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that ends at its end even if nobody polls it, as nobody does while a reader leaves the window
/// of its stream closed: what it holds is dropped then. A task of its own sees to that.
pub(super) struct Timed {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

enum State {
    Running { inner: Body, waker: Option<Waker> },
    Over(Status),
    Told,
}

impl Timed {
    pub(super) fn new(inner: Body, end: End) -> Self {
        let state = Arc::new(Mutex::new(State::Running { inner, waker: None }));
        let task = tokio::spawn(finish(Arc::downgrade(&state), end)).abort_handle();
        Self { state, task }
    }
}

/// Weak, so that a body which is dropped before its end goes at once, not when this task does.
async fn finish(state: Weak<Mutex<State>>, end: End) {
    let status = end.await;
    let Some(state) = state.upgrade() else { return };
    let before = std::mem::replace(&mut *lock(&state), State::Over(status));
    // The lock is free again: what ends here may take its time, and who is woken polls.
    if let State::Running { inner, waker } = before {
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Running { inner, waker } => {
                let polled = Pin::new(inner).poll_frame(context);
                if polled.is_pending() {
                    match waker {
                        Some(waker) => waker.clone_from(context.waker()),
                        None => *waker = Some(context.waker().clone()),
                    }
                }
                polled
            }
            State::Over(status) => {
                let trailers = trailers(status);
                *state = State::Told;
                trailers
            }
            State::Told => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*lock(&self.state) {
            State::Running { inner, .. } => inner.is_end_stream(),
            State::Over(_) => false,
            State::Told => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*lock(&self.state) {
            State::Running { inner, .. } => inner.size_hint(),
            State::Over(_) | State::Told => SizeHint::default(),
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
