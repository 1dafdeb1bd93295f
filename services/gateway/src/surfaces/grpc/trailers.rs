//! Tells the attempts at a request when all of them are over: in the trailers of a stream that went well,
//! which tonic itself leaves to the status.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use pointsman_proto::metadata::ATTEMPTS;

use crate::exchange::Origins;
use crate::surfaces::named::Named;

/// In the extensions of a response: what its trailers are to say.
#[derive(Clone, Debug)]
pub(crate) struct Trailers(Origins);

impl Trailers {
    pub(super) fn of(named: &Named) -> Self {
        Self(named.origins.clone())
    }
}

/// Adds the trailers to a response that has some to add.
pub(crate) async fn add(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Trailers>() {
        Some(trailers) => response.map(|inner| Body::new(WithTrailers { inner, trailers })),
        None => response,
    }
}

pin_project! {
    struct WithTrailers {
        #[pin]
        inner: Body,
        trailers: Trailers,
    }
}

impl http_body::Body for WithTrailers {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        let next = std::task::ready!(this.inner.poll_frame(context));
        Poll::Ready(next.map(|frame| {
            frame.map(|mut frame| {
                let line = frame.trailers_mut().and_then(|_| this.trailers.0.trail.line());
                if let (Some(trailers), Some(Ok(line))) = (frame.trailers_mut(), line.map(HeaderValue::try_from)) {
                    trailers.insert(ATTEMPTS, line);
                }
                frame
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
