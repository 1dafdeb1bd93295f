//! A body that ends at its time even if nobody polls it.
//!
//! Nobody polls a body while the window of its stream is closed by a reader that stands still, so that a timer
//! inside the body is not heard. Here a task of its own hears it, and drops what the body holds. Both ends of the seam
//! between services need that (`libs/server`, `libs/client`), and neither sees the other. Floor 0: depends on nothing
//! of ours.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// A body, and what is told in its place when its end has come: `T`, once.
#[derive(Debug)]
pub struct Timed<B, T> {
    state: Arc<Mutex<State<B, T>>>,
    task: AbortHandle,
}

#[derive(Debug)]
enum State<B, T> {
    Running { inner: B, waker: Option<Waker> },
    Over(T),
    Told,
}

impl<B, T> Timed<B, T>
where
    B: Body + Unpin + Send + 'static,
    T: Send + 'static,
{
    /// Lets a body run until `end` comes. Must be called within a tokio runtime.
    pub fn new(inner: B, end: impl Future<Output = T> + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::Running { inner, waker: None }));
        let task = tokio::spawn(finish(Arc::downgrade(&state), end)).abort_handle();
        Self { state, task }
    }

    /// Polls the body; after its end, makes the last frame of what is to be told.
    pub fn poll_frame(
        &self,
        context: &mut Context<'_>,
        last: impl FnOnce(T) -> Result<Frame<B::Data>, B::Error>,
    ) -> Polled<B> {
        let mut state = lock(&self.state);
        if let State::Running { inner, waker } = &mut *state {
            let polled = Pin::new(inner).poll_frame(context);
            if polled.is_pending() {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
            }
            if is_last(&polled) {
                // Its end is told: another one that comes before it is dropped would be a second.
                let over = std::mem::replace(&mut *state, State::Told);
                drop(state);
                drop(over);
            }
            return polled;
        }
        Poll::Ready(match std::mem::replace(&mut *state, State::Told) {
            State::Over(told) => Some(last(told)),
            State::Running { .. } | State::Told => None,
        })
    }

    /// Whether nothing more comes.
    pub fn is_end_stream(&self) -> bool {
        match &*lock(&self.state) {
            State::Running { inner, .. } => inner.is_end_stream(),
            State::Over(_) => false,
            State::Told => true,
        }
    }

    /// How much more comes, as far as is known.
    pub fn size_hint(&self) -> SizeHint {
        match &*lock(&self.state) {
            State::Running { inner, .. } => inner.size_hint(),
            State::Over(_) | State::Told => SizeHint::default(),
        }
    }
}

/// Whether nothing follows what a poll of a body gave: trailers, an error, or the end itself.
pub fn is_last<D, E>(polled: &Poll<Option<Result<Frame<D>, E>>>) -> bool {
    match polled {
        Poll::Pending => false,
        Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
        Poll::Ready(Some(Err(_)) | None) => true,
    }
}

/// Weak, so that a body which is dropped before its end goes at once, not when this task does.
async fn finish<B, T>(state: Weak<Mutex<State<B, T>>>, end: impl Future<Output = T>) {
    let told = end.await;
    let Some(state) = state.upgrade() else { return };
    let before = {
        let mut state = lock(&state);
        match *state {
            State::Running { .. } => std::mem::replace(&mut *state, State::Over(told)),
            State::Over(_) | State::Told => return,
        }
    };
    // The lock is free again: what ends here may take its time, and who is woken polls.
    if let State::Running { inner, waker } = before {
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }
}

fn lock<B, T>(state: &Mutex<State<B, T>>) -> MutexGuard<'_, State<B, T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B, T> Drop for Timed<B, T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
