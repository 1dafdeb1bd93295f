//! Two layers, so that a connection does not wait for its peer for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::patience::Patience;
use crate::config::ConnectionConfig;

/// How a peer says that it speaks HTTP/2 (RFC 9113, section 3.4). The protocol is known when it has been read,
/// or something else has.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fails where what is written does not get on. It stands directly on the connection: a layer between, such as TLS, takes
/// much at once, and cannot say of a part of it that it got out.
pub(super) struct Outgoing<S> {
    stream: S,
    writing: Patience,
}

impl<S> Outgoing<S> {
    pub(super) fn new(stream: S, config: &ConnectionConfig) -> Self {
        Self { stream, writing: Patience::new(config.stall_timeout) }
    }

    /// A write that is pending may be so for as long as the limit; each one that is not begins it anew.
    fn written<T>(&mut self, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.writing.is_over(&polled, context) {
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer reads nothing")));
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outgoing<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outgoing<S> {
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
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Fails where the peer does not say what it speaks.
pub(super) struct Greeted<S> {
    stream: S,
    greeting: Option<Greeting>,
}

/// hyper-util waits for the preface without a limit.
struct Greeting {
    read: usize,
    reading: Patience,
}

impl<S> Greeted<S> {
    pub(super) fn new(stream: S, config: &ConnectionConfig) -> Self {
        let greeting = Greeting { read: 0, reading: Patience::new(config.first_byte_timeout) };
        Self { stream, greeting: Some(greeting) }
    }
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

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
