//! For tests: an answer without an end, which tells when it is dropped.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::oneshot;

struct Endless {
    piece: Option<Bytes>,
    _dropped: oneshot::Sender<Infallible>,
}

/// Fails when the body is dropped.
pub(crate) type Dropped = oneshot::Receiver<Infallible>;

/// Makes a body that has a piece of so many bytes whenever it is asked for one; with 0 it never has.
pub(crate) fn endless(bytes: usize) -> (Body, Dropped) {
    let (sender, dropped) = oneshot::channel();
    let piece = (bytes > 0).then(|| Bytes::from(vec![b'x'; bytes]));
    (Body::new(Endless { piece, _dropped: sender }), dropped)
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &self.piece {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece.clone())))),
            None => Poll::Pending,
        }
    }
}
