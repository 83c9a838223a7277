//! The byte stream that the `h2` crate reads and writes, with somebody reading along.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::io::{Io, take_from};

/// Reads along.
pub trait Watch: Unpin {
    /// These bytes were received; false if the peer has gone too far, and they are not to be passed on.
    fn received(&mut self, bytes: &[u8]) -> bool;
    /// These bytes were sent.
    fn sent(&mut self, bytes: &[u8]);
    /// Whether the peer leaves no room to send.
    fn blocked(&mut self, blocked: bool);
}

/// A transport, of which some bytes may have been read already.
pub struct Transport<W> {
    io: Rc<Io>,
    read: BytesMut,
    watch: W,
}

impl<W: Watch> Transport<W> {
    /// Over `io`, from which `read` was read.
    pub fn new(io: Rc<Io>, read: BytesMut, watch: W) -> Self {
        Self { io, read, watch }
    }
}

impl<W: Watch> AsyncRead for Transport<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.read.is_empty() {
            ready!(this.io.poll_read_into(cx, buf))?;
        } else {
            take_from(&mut this.read, buf);
        }
        if !this.watch.received(&buf.filled()[before..]) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: Watch> AsyncWrite for Transport<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = this.io.poll_write(cx, data);
        this.watch.blocked(written.is_pending());
        let n = ready!(written)?;
        this.watch.sent(&data[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = this.io.poll_write_vectored(cx, pieces);
        this.watch.blocked(written.is_pending());
        let n = ready!(written)?;
        let mut left = n;
        for piece in pieces {
            let of_piece = left.min(piece.len());
            this.watch.sent(&piece[..of_piece]);
            left -= of_piece;
            if left == 0 {
                break;
            }
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown_write(cx)
    }
}
