//! A client that writes the bytes it is given, and reads HTTP/1 responses or plain bytes.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::Reply;
use crate::harness::PATIENCE;
use crate::harness::wire::{End, Wire};

/// One move in a conversation.
#[derive(Clone, Debug)]
pub enum Talk {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Read one response, with the informational ones before it.
    Read,
    /// Read only the head of one response (upgrades, streams that do not end).
    ReadHead,
    /// Read exactly so many bytes.
    ReadBytes(usize),
    /// Read until the peer ends the stream; says how it did.
    ReadToEnd,
    /// Wait until the peer closes, in order or not; any bytes that still come are recorded.
    AwaitClose,
    /// Close the writing side.
    Fin,
    /// Reset the connection.
    Reset,
    /// Close the connection.
    Close,
    /// Wait until the upstreams have seen so many requests.
    AwaitUpstream(usize),
    /// Wait until the DNS server has been asked so often for a name.
    AwaitLookups(String, usize),
    /// Wait until a counter or gauge of the proxy has this value.
    AwaitStat(&'static str, u64),
}

/// A raw connection to a proxy.
pub struct RawClient {
    wire: Wire,
    /// Our port, which the proxy logs.
    pub port: u16,
    /// Whether what was sent last is a HEAD request.
    head_request: bool,
}

impl RawClient {
    /// Connects to a port of the loopback.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy accepts connections");
        let local = stream.local_addr().expect("a connected socket has an address").port();
        Self { wire: Wire::new(stream, PATIENCE), port: local, head_request: false }
    }

    /// Makes one move; the reply if the move was to read. Moves that wait for others are the caller's.
    pub fn talk(&mut self, talk: &Talk) -> Option<Reply> {
        match talk {
            Talk::Send(bytes) => {
                self.head_request = bytes.starts_with(b"HEAD ");
                self.wire.stream.write_all(bytes).ok();
                None
            }
            Talk::Read => Some(self.read(true)),
            Talk::ReadHead => Some(self.read(false)),
            Talk::ReadBytes(count) => {
                let mut bytes = Vec::new();
                let end = self.wire.exactly(*count, &mut bytes).err().map(|end| end.word().to_owned());
                Some(Reply { raw: Some(bytes), end, ..Reply::default() })
            }
            Talk::ReadToEnd => {
                let mut bytes = Vec::new();
                let end = self.wire.rest(&mut bytes);
                Some(Reply { raw: Some(bytes), end: Some(end.word().to_owned()), ..Reply::default() })
            }
            Talk::AwaitClose => {
                let mut bytes = Vec::new();
                let end = self.wire.rest(&mut bytes);
                let word = if end == End::Silence { "open" } else { "closed" };
                let raw = (!bytes.is_empty()).then_some(bytes);
                Some(Reply { raw, end: Some(word.to_owned()), ..Reply::default() })
            }
            Talk::Fin => {
                self.wire.stream.shutdown(Shutdown::Write).ok();
                None
            }
            Talk::Reset => {
                rustix::net::sockopt::set_socket_linger(&self.wire.stream, Some(Duration::ZERO)).ok();
                self.close();
                None
            }
            Talk::Close => {
                self.close();
                None
            }
            Talk::AwaitUpstream(_) | Talk::AwaitLookups(..) | Talk::AwaitStat(..) => None,
        }
    }

    fn read(&mut self, with_body: bool) -> Reply {
        let mut reply = Reply::default();
        loop {
            let mut message = match self.wire.head() {
                Ok(message) => message,
                Err(end) => {
                    reply.end = Some(end.word().to_owned());
                    return reply;
                }
            };
            let status = message.status();
            if status / 100 == 1 && status != 101 {
                reply.informational.push(status);
                continue;
            }
            if with_body {
                self.wire.body(&mut message, true, self.head_request);
            }
            reply.end = message.cut.map(|end: End| end.word().to_owned());
            reply.message = message;
            return reply;
        }
    }

    /// Replaces the socket by one that is not connected, which closes the real one.
    fn close(&mut self) {
        let idle =
            std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| TcpStream::connect(l.local_addr()?));
        if let Ok(idle) = idle {
            self.wire = Wire::new(idle, PATIENCE);
        }
    }
}
