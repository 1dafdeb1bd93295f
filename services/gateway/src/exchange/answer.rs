//! The answer to a request, wherever its frames come from.

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
use crate::attempt::Attempts;
use crate::frame_log::Reader;
use crate::frame_log::relay::Relay;
use crate::span;

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
}

impl Answer {
    /// The answer of attempts whose first piece is there.
    pub(super) fn own(attempts: Box<Attempts>, operation: Operation) -> Self {
        Self { frames: Frames::Own(attempts), operation: Some(operation), watched: None }
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
            (Ok(_), Some(operation)) => operation.first_chunk(),
            (Err(error), Some(operation)) => operation.end(error.reason().name()),
            (_, None) => {}
        }
        Ok(Self { frames: frames?, operation, watched })
    }

    /// Whether another gateway has it from before; of one's own the origins say it.
    pub(crate) fn is_repeated_elsewhere(&self) -> bool {
        matches!(&self.frames, Frames::Elsewhere(relay) if relay.is_repeated())
    }

    /// Whether it is a policy's fixed text, and no model's.
    pub(crate) fn is_static(&self) -> bool {
        let says_so = |frame: Option<&Frame>| matches!(frame, Some(Frame { body: Some(Body::Started(started)), .. }) if started.static_answer);
        match &self.frames {
            Frames::Own(attempts) => attempts.is_static(),
            Frames::Kept(reader) => says_so(reader.beginning().as_ref()),
            Frames::Elsewhere(relay) => says_so(relay.first()),
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
        let next = match &mut this.frames {
            Frames::Own(attempts) => attempts.poll_next_unpin(context),
            Frames::Kept(reader) => reader.poll_next_unpin(context),
            Frames::Elsewhere(relay) => relay.poll_next_unpin(context),
        };
        let next = match (next, &mut this.watched) {
            (Poll::Pending, Some(watched)) => ready!(watched.ends.as_mut().poll(context).map(|error| Some(Err(error)))),
            (next, _) => ready!(next),
        };
        if let (Some(Ok(Frame { body: Some(Body::Delta(_)), .. })), Some(watched)) = (&next, &this.watched) {
            watched.answering.piece();
        }
        let Some(operation) = &mut this.operation else { return Poll::Ready(next) };
        match &next {
            Some(Ok(Frame { body: Some(Body::Usage(usage)), .. })) => span::usage(&operation.span, usage),
            Some(Ok(Frame { body: Some(Body::ChoiceFinished(choice)), .. })) => {
                span::finish_reason(&operation.span, choice.reason());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => operation.end(error.reason().name()),
            None => operation.end(FINISHED),
        }
        Poll::Ready(next)
    }
}
