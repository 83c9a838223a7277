//! Addresses that never answer: one that refuses connections, and one whose handshake is never completed.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// A port that is taken but not listened on, so that connecting to it is refused for as long as this lives.
pub struct Refused {
    _socket: OwnedFd,
    /// The port.
    pub port: u16,
}

impl Refused {
    /// Reserves a port.
    pub fn new() -> Self {
        let (socket, port) = bound();
        Self { _socket: socket, port }
    }
}

impl Default for Refused {
    fn default() -> Self {
        Self::new()
    }
}

/// A listening port whose accept queue is full, so that a further SYN gets no answer.
pub struct BlackHole {
    _socket: OwnedFd,
    _fill: Vec<TcpStream>,
    /// The port.
    pub port: u16,
}

impl BlackHole {
    /// Reserves a port and fills its queue.
    pub fn new() -> Self {
        let (socket, port) = bound();
        listen(&socket, 0).expect("listening on loopback");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let fill =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok());
        let fill = fill.take(16).collect();
        Self { _socket: socket, _fill: fill, port }
    }
}

impl Default for BlackHole {
    fn default() -> Self {
        Self::new()
    }
}

fn bound() -> (OwnedFd, u16) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback");
    let address: SocketAddr =
        getsockname(&socket).ok().and_then(|any| any.try_into().ok()).expect("a bound socket has an address");
    (socket, address.port())
}
