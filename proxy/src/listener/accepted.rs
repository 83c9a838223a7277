//! A socket that was accepted and that no chain has yet: listener filters look at its first bytes without taking them.
//!
//! Bytes are peeked, so whatever comes after reads (or splices) from the socket itself. To look again costs a system call only
//! when more has arrived: a look that shows nothing new tells the runtime that the socket is not readable, and with
//! edge-triggered events it says so again for each arrival.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{RecvFlags, recv};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::net::io::Io;

/// An accepted socket.
pub struct Accepted {
    socket: Socket,
    /// The runtime was told that there is nothing to read although there may be.
    unready: bool,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What a look at the first bytes says.
pub enum Look<T> {
    /// They suffice.
    Enough(T),
    /// More of them are needed.
    More,
}

/// Why there is nothing more to look at.
#[derive(Debug)]
pub enum Unseen {
    /// The client has closed its half, having sent this many bytes: they are all there will be.
    Ended(usize),
    /// There are as many bytes as the caller wants to see at most.
    TooMany,
    /// The connection broke.
    Broken(io::Error),
}

impl From<TcpStream> for Accepted {
    fn from(stream: TcpStream) -> Self {
        Self { socket: Socket::Tcp(stream), unready: false }
    }
}

impl From<UnixStream> for Accepted {
    fn from(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), unready: false }
    }
}

impl Accepted {
    /// Shows `look` the first bytes, at most `most`, in `scratch`, and again whenever there are more.
    ///
    /// # Errors
    /// The bytes come to an end before `look` has seen enough.
    pub async fn look<T>(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        most: usize,
        mut look: impl FnMut(&[u8]) -> Look<T>,
    ) -> Result<T, Unseen> {
        let mut seen = 0;
        loop {
            let ready = self.readable().await.map_err(Unseen::Broken)?;
            let mut buffer = scratch.borrow_mut();
            if buffer.len() < most {
                buffer.resize(most, 0);
            }
            let room = &mut buffer[..most];
            self.unready = false;
            let peeked = self.try_read(|fd| {
                let (n, _) = recv(fd, &mut *room, RecvFlags::PEEK)?;
                if n == seen && n > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
            });
            match peeked {
                Ok(0) => return Err(Unseen::Ended(0)),
                Ok(n) => {
                    if let Look::Enough(found) = look(&room[..n]) {
                        return Ok(found);
                    }
                    if n == most {
                        return Err(Unseen::TooMany);
                    }
                    seen = n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unready = true;
                    if ready.is_read_closed() {
                        return Err(Unseen::Ended(seen));
                    }
                }
                Err(error) => return Err(Unseen::Broken(error)),
            }
        }
    }

    /// Takes the first `n` bytes away, which have been looked at.
    ///
    /// # Errors
    /// The connection broke meanwhile.
    pub fn consume(&self, mut n: usize, scratch: &RefCell<Vec<u8>>) -> io::Result<()> {
        let mut buffer = scratch.borrow_mut();
        let length = buffer.len();
        while n > 0 {
            let room = &mut buffer[..n.min(length)];
            match self.try_read(|fd| Ok(recv(fd, &mut *room, RecvFlags::empty())?.0)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(taken) => n -= taken,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The socket.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }

    /// The connection, for whoever reads its bytes.
    ///
    /// # Errors
    /// The runtime cannot watch it any more.
    pub fn into_io(self) -> io::Result<Io> {
        // Bytes that were shown are still there, but nothing new would announce them: it is registered afresh.
        Ok(match self.socket {
            Socket::Tcp(stream) if self.unready => TcpStream::from_std(stream.into_std()?)?.into(),
            Socket::Unix(stream) if self.unready => UnixStream::from_std(stream.into_std()?)?.into(),
            Socket::Tcp(stream) => stream.into(),
            Socket::Unix(stream) => stream.into(),
        })
    }

    /// Closes with a reset; see [`Io::reset_on_close`].
    pub fn reset_on_close(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            // Failing to set it leaves an orderly close, which is the next best thing.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    async fn readable(&self) -> io::Result<Ready> {
        match &self.socket {
            Socket::Tcp(stream) => stream.ready(Interest::READABLE).await,
            Socket::Unix(stream) => stream.ready(Interest::READABLE).await,
        }
    }

    fn try_read<T>(&self, mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        match &self.socket {
            Socket::Tcp(stream) => stream.try_io(Interest::READABLE, || call(stream.as_fd())),
            Socket::Unix(stream) => stream.try_io(Interest::READABLE, || call(stream.as_fd())),
        }
    }
}
