//! The answer to a request, wherever its frames come from.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateResponse};
use pointsman_server::Answering;

use super::operation::{FINISHED, Operation};
use super::turn::Turning;
use crate::attempt::Attempts;
use crate::frame_log::relay::Relay;
use crate::frame_log::{Counted, Extent, Reader};

/// An answer, as it comes. It ends after `Finished`, or with one error.
pub(crate) struct Answer {
    frames: Frames,
    /// `None`: whoever writes the frames has it, or it has ended.
    operation: Option<Operation>,
    /// Of an answer that comes from elsewhere: attempts of one's own see to it themselves.
    watched: Option<Watched>,
}

/// A request that operators see here, and that ends when they or the drain say so.
pub(super) struct Watched {
    pub(super) answering: Answering,
    pub(super) ends: BoxFuture<'static, Error>,
}

impl Watched {
    /// Waits for something, unless the request ends before.
    pub(super) async fn unless_ended<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => done,
            error = &mut self.ends => Err(error),
        }
    }
}

enum Frames {
    Own(Box<Attempts>),
    Kept(Reader),
    Elsewhere(Box<Relay>),
    Turn(Box<Turning>),
    /// Of a turn that was committed before.
    Stored(std::vec::IntoIter<Frame>),
}

impl Answer {
    /// The answer of attempts whose first piece is there.
    pub(super) fn own(attempts: Box<Attempts>, operation: Operation) -> Self {
        Self { frames: Frames::Own(attempts), operation: Some(operation), watched: None }
    }

    /// The answer of a turn whose first piece is there.
    pub(super) fn turn(turning: Box<Turning>, operation: Operation) -> Self {
        Self { frames: Frames::Turn(turning), operation: Some(operation), watched: None }
    }

    /// The answer of a turn that was committed before.
    pub(super) fn stored(frames: Vec<Frame>, operation: Operation) -> Self {
        Self { frames: Frames::Stored(frames.into_iter()), operation: Some(operation), watched: None }
    }

    pub(super) async fn kept(mut reader: Reader, operation: Option<Operation>) -> Result<Self, Error> {
        let first = reader.first().await;
        Self::begun(first.map(|()| Frames::Kept(reader)), operation, None)
    }

    pub(super) fn elsewhere(
        relay: Result<Relay, Error>,
        operation: Operation,
        watched: Option<Watched>,
    ) -> Result<Self, Error> {
        Self::begun(relay.map(|relay| Frames::Elsewhere(Box::new(relay))), Some(operation), watched)
    }

    fn begun(
        frames: Result<Frames, Error>,
        mut operation: Option<Operation>,
        watched: Option<Watched>,
    ) -> Result<Self, Error> {
        match (&frames, &mut operation) {
            (Ok(_), Some(operation)) => operation.first_chunk(None),
            (Err(error), Some(operation)) => operation.end(error.reason().name()),
            (_, None) => {}
        }
        Ok(Self { frames: frames?, operation, watched })
    }

    /// Whether it is a policy's fixed text, and no model's.
    pub(crate) fn is_static(&self) -> bool {
        let says_so = |frame: Option<&Frame>| matches!(frame, Some(Frame { body: Some(Body::Started(started)), .. }) if started.static_answer);
        match &self.frames {
            Frames::Own(attempts) => attempts.is_static(),
            Frames::Kept(reader) => says_so(reader.beginning().as_ref()),
            Frames::Elsewhere(relay) => says_so(relay.first()),
            Frames::Turn(turning) => turning.attempts().is_some_and(Attempts::is_static),
            Frames::Stored(_) => false,
        }
    }

    /// Reads up to the event that the caller says to have got last, and shows each frame on the way. Fails if the
    /// answer has no such event: at once where its frames are kept here; of those that another gateway keeps, when
    /// they have ended without it.
    pub(crate) async fn read_to(&mut self, event: u64, shown: impl FnMut(&Frame)) -> Result<(), Error> {
        let read = self.try_read_to(event, shown).await;
        if let (Err(error), Some(operation)) = (&read, &mut self.operation) {
            operation.end(error.reason().name());
        }
        read
    }

    async fn try_read_to(&mut self, event: u64, mut shown: impl FnMut(&Frame)) -> Result<(), Error> {
        if let Frames::Kept(reader) = &self.frames {
            let extent = reader.extent();
            if event > extent.last {
                return Err(Counted::Events.beyond(extent));
            }
        }
        let mut last = 0;
        while last < event {
            // Not as a stream: the end of this answer is no good end of the operation.
            match poll_fn(|context| self.poll_frame(context)).await {
                Some(frame) => {
                    let frame = frame?;
                    self.note(&frame);
                    last = frame.sequence;
                    shown(&frame);
                }
                None => return Err(Counted::Events.beyond(Extent { last, is_whole: true })),
            }
        }
        Ok(())
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Error>>> {
        let next = match &mut self.frames {
            Frames::Own(attempts) => attempts.poll_next_unpin(context),
            Frames::Kept(reader) => reader.poll_next_unpin(context),
            Frames::Elsewhere(relay) => relay.poll_next_unpin(context),
            Frames::Turn(turning) => turning.poll_next_unpin(context),
            Frames::Stored(frames) => Poll::Ready(frames.next().map(Ok)),
        };
        match (next, &mut self.watched) {
            (Poll::Pending, Some(watched)) => watched.ends.as_mut().poll(context).map(|error| Some(Err(error))),
            (next, _) => next,
        }
    }

    /// Says of a frame what operators and the operation's span want to know.
    fn note(&mut self, frame: &Frame) {
        if let (Some(Body::Delta(piece)), Some(watched)) = (&frame.body, &self.watched) {
            watched.answering.piece(piece.token_count);
        }
        if let Some(operation) = &mut self.operation {
            operation.note(frame);
        }
    }

    /// Reads the answer to its end, as one response.
    pub(crate) async fn fold(mut self) -> Result<GenerateResponse, Error> {
        let mut fold = Fold::default();
        while let Some(frame) = self.next().await {
            fold.push(frame?);
        }
        fold.finish().ok_or_else(|| Error::new(Reason::StreamTruncated, "the answer has no end"))
    }
}

impl Stream for Answer {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.operation.as_ref().is_some_and(|operation| operation.ended) {
            return Poll::Ready(None);
        }
        let next = ready!(this.poll_frame(context));
        match (&next, &mut this.operation) {
            (Some(Ok(frame)), _) => this.note(frame),
            (Some(Err(error)), Some(operation)) => operation.end(error.reason().name()),
            (None, Some(operation)) => operation.end(FINISHED),
            (_, None) => {}
        }
        Poll::Ready(next)
    }
}
