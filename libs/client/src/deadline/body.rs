//! The body of an answer that fails at its deadline.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::exceeded;

/// A body with or without a deadline. Without one it costs nothing.
pub(crate) enum Limited<B> {
    Free(B),
    Timed(Timed<B>),
}

/// A body that is dropped at its deadline even if nobody polls: the call is cancelled and gives its place back
/// while its reader does something else. A task of its own sees to that.
pub(crate) struct Timed<B> {
    state: Arc<Mutex<State<B>>>,
    task: AbortHandle,
}

enum State<B> {
    Running { inner: B, waker: Option<Waker> },
    Over,
    Told,
}

impl<B: Send + 'static> Limited<B> {
    pub(super) fn until(deadline: Instant, inner: B) -> Self {
        let state = Arc::new(Mutex::new(State::Running { inner, waker: None }));
        let task = tokio::spawn(finish(Arc::downgrade(&state), deadline)).abort_handle();
        Self::Timed(Timed { state, task })
    }
}

/// Weak, so that a body which is dropped before its deadline goes at once, not when this task does.
async fn finish<B>(state: Weak<Mutex<State<B>>>, deadline: Instant) {
    sleep_until(deadline).await;
    let Some(state) = state.upgrade() else { return };
    let before = std::mem::replace(&mut *lock(&state), State::Over);
    // The lock is free again: what ends here may take its time, and who is woken polls.
    if let State::Running { inner, waker } = before {
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }
}

fn lock<B>(state: &Mutex<State<B>>) -> MutexGuard<'_, State<B>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Error = Status> + Unpin> Body for Limited<B> {
    type Data = B::Data;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Status>>> {
        let timed = match &mut *self {
            Self::Free(inner) => return Pin::new(inner).poll_frame(context),
            Self::Timed(timed) => timed,
        };
        let mut state = lock(&timed.state);
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
            State::Over => {
                *state = State::Told;
                Poll::Ready(Some(Err(exceeded())))
            }
            State::Told => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Free(inner) => inner.is_end_stream(),
            Self::Timed(timed) => match &*lock(&timed.state) {
                State::Running { inner, .. } => inner.is_end_stream(),
                State::Over => false,
                State::Told => true,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Free(inner) => inner.size_hint(),
            Self::Timed(timed) => match &*lock(&timed.state) {
                State::Running { inner, .. } => inner.size_hint(),
                State::Over | State::Told => SizeHint::default(),
            },
        }
    }
}

impl<B> Drop for Timed<B> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
