//! Moves bytes from socket to socket through a buffer of this process.
//!
//! The buffer follows the traffic: reads that fill it make the next one larger, small ones make it smaller again,
//! and a direction that waits gives the memory back to its worker ([`Copier::rest`]).

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use crate::net::io::Io;
use crate::worker::Buffers;

/// The first read, and the least that any later one asks for.
const SMALLEST: usize = 16 * 1024;
/// The most that one read asks for.
const LARGEST: usize = 256 * 1024;

/// A buffer between two sockets.
pub(super) struct Copier {
    buffer: BytesMut,
    /// Bytes of the buffer that the other socket took already.
    written: usize,
    /// What the next read asks for.
    size: usize,
}

/// What a read brought.
pub(super) struct Filled {
    /// Bytes; 0 at the end of the stream.
    pub(super) n: usize,
    /// Whether there was no room for more.
    pub(super) full: bool,
}

impl Copier {
    /// Begins with bytes that were read before.
    pub(super) fn new(early: BytesMut) -> Self {
        Self { buffer: early, written: 0, size: SMALLEST }
    }

    /// Bytes read and not written.
    pub(super) fn held(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// The bytes read last, before any of them is written; for filters, who may change them.
    pub(super) fn bytes_mut(&mut self) -> &mut BytesMut {
        debug_assert_eq!(self.written, 0, "filters see bytes before they are written");
        &mut self.buffer
    }

    /// Reads once, at most `limit` bytes, when everything read before was written.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &Io,
        limit: usize,
        spare: &Buffers,
    ) -> Poll<io::Result<Filled>> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare.take();
        }
        let size = self.size.min(limit);
        self.buffer.reserve(size);
        let n = ready!(from.poll_read(cx, &mut self.buffer, size))?;
        let full = n == size;
        self.size = match n {
            _ if full => (self.size * 4).min(LARGEST),
            n if n < self.size / 4 => (self.size / 4).max(SMALLEST),
            _ => self.size,
        };
        Poll::Ready(Ok(Filled { n, full }))
    }

    /// Writes held bytes once; the number of them.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Io) -> Poll<io::Result<usize>> {
        let n = ready!(to.poll_write(cx, &self.buffer[self.written..]))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += n;
        if self.held() == 0 {
            self.discard();
        }
        Poll::Ready(Ok(n))
    }

    /// Forgets what is held.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
        self.written = 0;
    }

    /// Gives the memory back while there is nothing to hold.
    pub(super) fn rest(&mut self, spare: &Buffers) {
        if self.held() == 0 && self.buffer.capacity() > 0 {
            spare.give(std::mem::take(&mut self.buffer));
        }
    }
}
