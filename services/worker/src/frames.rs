//! The reader's end of a generation, and the work behind it, which does not wait for the reader.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures::future::{BoxFuture, FutureExt, poll_fn};
use futures::stream::Stream;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::Frame;
use pointsman_proto::inference::v1::frame::Body;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tonic::Status;

/// Where the work puts what it has made. Nothing is lost on a reader that is slow, and nobody waits for it.
///
/// The channel has no bound of its own: an answer has a piece for each of at most `max_output_tokens` tokens, and
/// four frames around them. It is what the engine would have to keep otherwise.
pub(crate) type Reader = UnboundedSender<Result<Body, Status>>;

/// What `GenerateStream` answers. Dropping it ends the work before it returns.
pub(crate) struct Frames {
    bodies: UnboundedReceiver<Result<Body, Status>>,
    /// The number of the last frame.
    sequence: u64,
    ended: bool,
    _work: Option<Work>,
}

impl Frames {
    /// Begins the work.
    pub(crate) fn of<F>(work: impl FnOnce(Reader) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (reader, bodies) = unbounded_channel();
        Self { bodies, sequence: 0, ended: false, _work: Work::begin(work(reader).boxed()) }
    }
}

impl Stream for Frames {
    type Item = Result<Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let next = match ready!(this.bodies.poll_recv(context)) {
            Some(Ok(body)) => {
                this.ended = matches!(body, Body::Finished(_));
                this.sequence += 1;
                return Poll::Ready(Some(Ok(Frame { sequence: this.sequence, body: Some(body) })));
            }
            Some(Err(status)) => status,
            // Only a panic leaves the reader without a last word.
            None => Error::new(Reason::Internal, "the worker failed; give its operators the trace id").into(),
        };
        this.ended = true;
        Poll::Ready(Some(Err(next)))
    }
}

/// Work that goes on by itself. Dropping it drops the work, and all that the work holds, there and then: an
/// aborted task would be dropped a moment later, on another thread.
struct Work {
    shared: Arc<Mutex<Running>>,
    task: AbortHandle,
}

/// Until it is dropped.
type Running = Option<BoxFuture<'static, ()>>;

impl Work {
    /// Does at once what can be done at once. If that is all, there is no task and nothing is left to hold.
    fn begin(mut work: BoxFuture<'static, ()>) -> Option<Self> {
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return None;
        }
        let shared = Arc::new(Mutex::new(Some(work)));
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(poll_fn(move |context| match lock(&of_task).as_mut() {
            Some(work) => work.as_mut().poll(context),
            None => Poll::Ready(()),
        }));
        Some(Self { shared, task: task.abort_handle() })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let work = lock(&self.shared).take();
        drop(work);
        self.task.abort();
    }
}

fn lock(shared: &Mutex<Running>) -> MutexGuard<'_, Running> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{FutureExt, StreamExt};
    use pointsman_errors::{Error, Reason};
    use pointsman_proto::inference::v1::frame::Body;
    use pointsman_proto::inference::v1::{Delta, Finished};
    use tokio::sync::Notify;

    use super::Frames;

    #[tokio::test]
    async fn what_is_there_at_once_needs_no_task() {
        let mut frames = Frames::of(async |reader| {
            reader.send(Ok(Body::Delta(Delta::default()))).unwrap();
            reader.send(Ok(Body::Finished(Finished::default()))).unwrap();
        });
        assert!(frames._work.is_none());
        for sequence in 1..=2 {
            assert_eq!(frames.next().now_or_never().unwrap().unwrap().unwrap().sequence, sequence);
        }
        assert!(frames.next().now_or_never().unwrap().is_none());
    }

    #[tokio::test]
    async fn the_work_does_not_wait_for_its_reader() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (of_work, told) = (Arc::clone(&go), Arc::clone(&done));
        let frames = Frames::of(async move |reader| {
            of_work.notified().await;
            for _ in 0..10_000 {
                reader.send(Ok(Body::Delta(Delta::default()))).unwrap();
            }
            reader.send(Ok(Body::Finished(Finished::default()))).unwrap();
            told.notify_one();
        });
        go.notify_one();
        done.notified().await;
        assert_eq!(frames.count().await, 10_001);
    }

    #[tokio::test]
    async fn who_drops_the_reader_drops_the_work() {
        let held = Arc::new(());
        let of_work = Arc::clone(&held);
        let frames = Frames::of(async move |_reader| {
            let _held = of_work;
            std::future::pending().await
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(frames);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn work_that_panics_is_no_clean_end() {
        let mut frames = Frames::of(async |reader| {
            reader.send(Ok(Body::Delta(Delta::default()))).unwrap();
            tokio::task::yield_now().await;
            panic!("a mistake of ours");
        });
        assert!(frames.next().await.unwrap().is_ok());
        let status = frames.next().await.unwrap().unwrap_err();
        assert_eq!(Error::from_status(&status).reason(), Reason::Internal);
        assert!(frames.next().await.is_none());
    }
}
