//! What the client sends while its upstream connection is not open yet.
//!
//! A little is read, so that a client that is gone is noticed; the rest waits in the socket. A client that closes its
//! half is not gone: it may have sent all it has to say, or wait for the host to speak first.

use std::future::{pending, poll_fn};
use std::io;

use bytes::BytesMut;

use crate::net::io::Io;
use crate::worker::Buffers;

/// Bytes read at most before the upstream connection is open.
const MOST: usize = 16 * 1024;

/// The first bytes of a connection.
#[derive(Default)]
pub(super) struct Early {
    /// The bytes.
    pub(super) bytes: BytesMut,
    /// Whether the client closed its half.
    pub(super) ended: bool,
}

impl Early {
    /// Reads until the client is gone; for as long as the caller cares to wait.
    pub(super) async fn until_gone(&mut self, client: &Io, spare: &Buffers) -> io::Error {
        while !self.ended && self.bytes.len() < MOST {
            if let Err(error) = poll_fn(|cx| client.poll_readable(cx)).await {
                return error;
            }
            if self.bytes.capacity() == 0 {
                self.bytes = spare.take();
            }
            let room = MOST - self.bytes.len();
            match client.read(&mut self.bytes, room).await {
                Ok(n) => self.ended = n == 0,
                Err(error) => return error,
            }
        }
        pending().await
    }
}
