//! A connection that does not wait for its peer for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::patience::Patience;
use crate::config::ConnectionConfig;

/// How a peer says that it speaks HTTP/2 (RFC 9113, section 3.4). The protocol is known when it has been read,
/// or something else has.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fails where the peer does not say what it speaks, and where what is written to it does not get on.
pub(super) struct Impatient<S> {
    stream: S,
    greeting: Option<Greeting>,
    writing: Patience,
    /// Apart from `writing`: a stream may be flushed, which takes no time without TLS, between writes that wait.
    flushing: Patience,
}

/// hyper-util waits for the preface without a limit.
struct Greeting {
    read: usize,
    reading: Patience,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, config: &ConnectionConfig) -> Self {
        let greeting = Greeting { read: 0, reading: Patience::new(config.first_byte_timeout) };
        let patience = || Patience::new(config.stall_timeout);
        Self { stream, greeting: Some(greeting), writing: patience(), flushing: patience() }
    }

    /// A write that is pending may be so for as long as the limit; each one that is not begins it anew.
    fn written<T>(&mut self, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.writing.is_over(&polled, context) { reads_nothing() } else { polled }
    }

    /// The same for what a layer below has taken, and has to get out.
    fn flushed<T>(&mut self, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.flushing.is_over(&polled, context) { reads_nothing() } else { polled }
    }
}

fn reads_nothing<T>() -> Poll<Result<T>> {
    Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer reads nothing")))
}

impl Greeting {
    /// Takes what was read; returns whether the protocol is known.
    fn is_whole(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.read..];
        let common = bytes.len().min(rest.len());
        self.read += common;
        bytes.is_empty() || bytes[..common] != rest[..common] || self.read == PREFACE.len()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let Some(greeting) = &mut this.greeting else { return Pin::new(&mut this.stream).poll_read(context, buffer) };
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        // Ready only when the protocol is known: a byte now and then is no greeting.
        let known = match &polled {
            Poll::Ready(Ok(())) => greeting.is_whole(&buffer.filled()[before..]),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if known {
            this.greeting = None;
        } else if greeting.reading.is_over(&Poll::<()>::Pending, context) {
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer does not say what it speaks")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.flushed(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.flushed(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncWrite, AsyncWriteExt};

    use super::{Impatient, Result};
    use crate::config::ConnectionConfig;

    /// Takes everything, and gets nothing of it out: TLS above a connection that is full.
    struct Full;

    impl AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_and_does_not_get_out_is_given_up() {
        let mut stream = Impatient::new(Full, &ConnectionConfig::default());
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(stream.shutdown().await.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
