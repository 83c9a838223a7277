//! A TCP socket that may be left out of the event loop for a while.
//!
//! Who moves bytes in bulk and waits for the other side to take them does not want to hear of each segment that comes in meanwhile: the
//! loop would be woken for it and find nothing to do, some twenty times for each time that there is. A socket that dozes is read from
//! without being asked whether it is readable, and wakes up when it has nothing, or as soon as anything else is done with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::net::TcpStream;

/// The socket, in the event loop or not.
#[derive(Debug)]
pub(super) enum Tcp {
    Awake(TcpStream),
    Dozing(std::net::TcpStream),
    /// It could not be taken back into the loop; it is closed.
    Lost,
}

impl Tcp {
    /// The socket in the event loop.
    #[inline]
    pub(super) fn awake(&mut self) -> io::Result<&mut TcpStream> {
        if !matches!(self, Self::Awake(_)) {
            self.wake()?;
        }
        match self {
            Self::Awake(stream) => Ok(stream),
            Self::Dozing(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes it out of the event loop. Whoever waits for it is not told.
    pub(super) fn doze(&mut self) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Awake(stream) => stream.into_std().map_or(Self::Lost, Self::Dozing),
            already => already,
        };
    }

    #[cold]
    fn wake(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Dozing(stream) => Self::Awake(TcpStream::from_std(stream)?),
            already => already,
        };
        Ok(())
    }

    /// Its descriptor.
    pub(super) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Awake(stream) => Ok(stream.as_fd()),
            Self::Dozing(stream) => Ok(stream.as_fd()),
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether it is out of the event loop.
    #[inline]
    pub(super) fn dozes(&self) -> bool {
        matches!(self, Self::Dozing(_))
    }
}
