//! The transport beneath TLS. Records have 16 KiB at most, and bodies are many of them: several move in one system call.
//!
//! ```text
//!   reads    a read that was filled is followed by a larger one, from which the next records are taken
//!   writes   between `cork` and `uncork`, records are held back, up to HOLD bytes
//! ```
//! Who writes through a codec that flushes after each frame (HTTP/2) corks while it lets the codec work. Others need not: what they write
//! at once becomes one system call by itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Io, take_from};

/// How much is read ahead at once.
const AHEAD: usize = 64 * 1024;
/// A read that was filled with at least so much shows that more is there.
const FULL: usize = 4 * 1024;
/// How much is held back of what is written.
const HOLD: usize = 64 * 1024;

/// A transport that carries TLS records.
#[derive(Debug)]
pub struct Records {
    io: Io,
    ahead: BytesMut,
    /// The last read was filled.
    full: bool,
    held: BytesMut,
    corked: bool,
}

impl From<Io> for Records {
    fn from(io: Io) -> Self {
        Self { io, ahead: BytesMut::new(), full: false, held: BytesMut::new(), corked: false }
    }
}

impl Records {
    /// The transport itself, to ask it something.
    pub(super) fn io(&self) -> &Io {
        &self.io
    }

    /// Ready when a read would not wait.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() { self.io.poll_readable(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Whether something is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Holds back what is written from now on.
    pub(super) fn cork(&mut self) {
        self.corked = true;
    }

    /// Holds nothing back any more.
    pub(super) fn uncork(&mut self) {
        self.corked = false;
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(self.io.poll_write(cx, &self.held))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(n);
        }
        // Idle connections keep no buffer.
        self.held = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Holds the pieces back, if that is wanted and they find room.
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let all: usize = pieces.iter().map(|piece| piece.len()).sum();
        if !self.corked || self.held.len() + all > HOLD {
            return None;
        }
        if self.held.capacity() == 0 {
            // Small answers need little; what is more than one record is likely to go on.
            self.held.reserve(if all < FULL { FULL } else { HOLD });
        }
        for piece in pieces {
            self.held.extend_from_slice(piece);
        }
        Some(all)
    }
}

impl AsyncRead for Records {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() && !this.full {
            let room = buf.remaining();
            ready!(this.io.poll_read_into(cx, buf))?;
            this.full = room >= FULL && buf.remaining() == 0;
            return Poll::Ready(Ok(()));
        }
        if this.ahead.is_empty() {
            let read = this.io.poll_read(cx, &mut this.ahead, AHEAD);
            if read.is_pending() {
                // Nothing is kept for what may not come.
                this.ahead = BytesMut::new();
            }
            this.full = ready!(read)? == AHEAD;
        }
        take_from(&mut this.ahead, buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Records {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(n) = this.hold(pieces) {
            return Poll::Ready(Ok(n));
        }
        ready!(this.poll_held(cx))?;
        if let Some(n) = this.hold(pieces) {
            return Poll::Ready(Ok(n));
        }
        match pieces {
            [only] => this.io.poll_write(cx, only),
            several => this.io.poll_write_vectored(cx, several),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.corked {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_held(cx))?;
        this.io.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_held(cx))?;
        this.io.poll_shutdown_write(cx)
    }
}

#[cfg(test)]
mod tests;
