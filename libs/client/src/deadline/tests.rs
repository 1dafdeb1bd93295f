use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body as _, Frame};
use pointsman_errors::{Error, Reason};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::Bytes;
use tower::{Service, service_fn};

use super::Deadline;

/// A body that has a piece whenever it is asked for one, or never; what waits for its drop learns of it.
struct Endless {
    ready: bool,
    _dropped: oneshot::Sender<Infallible>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ready { Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))) } else { Poll::Pending }
    }
}

/// Calls with this `grpc-timeout`; returns the answer's body, and what waits for the drop of that beneath.
async fn call(timeout: Option<&str>, is_ready: bool) -> (impl http_body::Body<Error = Status> + Unpin, Dropped) {
    let (sender, dropped) = oneshot::channel();
    let mut body = Some(Endless { ready: is_ready, _dropped: sender });
    let mut service = Deadline::new(service_fn(move |_: Request<()>| {
        ready(body.take().map(Response::new).ok_or_else(|| Status::internal("called twice")))
    }));
    let mut request = Request::new(());
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    (service.call(request).await.unwrap().into_body(), dropped)
}

type Dropped = oneshot::Receiver<Infallible>;

async fn frame<B: http_body::Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

fn reason(frame: Option<Result<Frame<impl Sized>, Status>>) -> Option<Reason> {
    Some(Error::ours(&frame?.err()?)?.reason())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_dropped_at_the_deadline() {
    let (mut body, dropped) = call(Some("5S"), true).await;
    assert!(frame(&mut body).await.unwrap().is_ok());
    let begun = Instant::now();
    // Nobody polls the body here.
    dropped.await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(reason(frame(&mut body).await), Some(Reason::DeadlineExceeded));
    assert!(body.is_end_stream() && frame(&mut body).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_told_at_the_deadline() {
    let (mut body, _dropped) = call(Some("5S"), false).await;
    let begun = Instant::now();
    assert_eq!(reason(frame(&mut body).await), Some(Reason::DeadlineExceeded));
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_nothing_ends_an_answer_but_its_drop() {
    let (body, mut dropped) = call(None, true).await;
    tokio::time::timeout(Duration::from_secs(1 << 20), &mut dropped).await.unwrap_err();
    drop(body);
    dropped.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_dropped_before_its_deadline_goes_at_once() {
    let (body, mut dropped) = call(Some("5S"), true).await;
    drop(body);
    assert!(dropped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
}
