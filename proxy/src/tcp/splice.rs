//! Moves bytes from socket to socket through a pipe, without taking them into the process.
//!
//! A direction that turns out to be bulky ([`super::direction`]) takes a [`Pipe`] from its worker's [`Pipes`], fills it
//! from one socket and drains it into the other. It is filled only while it is empty: a full pipe and an empty
//! socket give the same EAGAIN, and so it can only mean the socket. Between bursts the pipe goes back, so a
//! connection that waits holds none.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::net::io::Io;

/// The size to ask for. Larger ones gain nothing; the system's default of 64 KiB costs a third more.
const SIZE: usize = 1024 * 1024;
/// What a pipe must hold to be worth it: the system grants less once a user has many.
const SMALLEST: usize = 64 * 1024;
/// Pipes that wait for use.
const MOST_SPARE: usize = 64;
/// Pipes in all: what they hold is memory, and each takes two descriptors.
const MOST: usize = 256;

/// A worker's pipes.
#[derive(Default)]
pub struct Pipes {
    spare: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
}

/// One pipe, and how much is in it.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
    held: usize,
}

impl Pipes {
    /// An empty pipe; none if there are too many or the system grants none of a useful size.
    pub(super) fn take(&self) -> Option<Pipe> {
        if self.lent.get() >= MOST {
            return None;
        }
        let spare = self.spare.borrow_mut().pop();
        let pipe = spare.or_else(|| Pipe::new().ok())?;
        if pipe.size < SMALLEST {
            return None;
        }
        self.lent.set(self.lent.get() + 1);
        Some(pipe)
    }

    /// Takes a pipe back. One that still holds bytes is closed: they belong to a connection that is gone.
    pub(super) fn give(&self, pipe: Pipe) {
        self.lent.set(self.lent.get().saturating_sub(1));
        let mut spare = self.spare.borrow_mut();
        if pipe.held == 0 && spare.len() < MOST_SPARE {
            spare.push(pipe);
        }
    }

    /// Pipes in use and pipes that wait.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.lent.get(), self.spare.borrow().len())
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Over the user's soft limit the system refuses, and the pipe keeps the size it has.
        let size = match fcntl_setpipe_size(&write, SIZE) {
            Ok(size) => size,
            Err(_) => rustix::pipe::fcntl_getpipe_size(&write)?,
        };
        Ok(Self { read, write, size, held: 0 })
    }

    /// The bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `limit` bytes from a socket into the empty pipe; 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &Io,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "only an empty pipe tells an empty socket from a full pipe");
        let limit = limit.min(self.size);
        let n = ready!(from.poll_read_with(cx, |fd| {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            splice(fd, None, self.write.as_fd(), None, limit, flags).map_err(io::Error::from)
        }))?;
        self.held += n;
        Poll::Ready(Ok(n))
    }

    /// Moves held bytes into a socket, once; the number of them.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Io) -> Poll<io::Result<usize>> {
        let n = ready!(to.poll_write_with(cx, |fd| {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            splice(self.read.as_fd(), None, fd, None, self.held, flags).map_err(io::Error::from)
        }))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.held -= n.min(self.held);
        Poll::Ready(Ok(n))
    }
}
