//! HTTP/2 on both sides, by the `h2` crate: bodies as frames, heads to and from our own types.
//!
//! Framing, HPACK and flow control are the crate's; what is decided here is which heads are acceptable, when window is
//! given back (when the other side has taken the bytes), and how streams and connections end.

mod frames;
mod head;
pub mod keepalive;
mod meter;
pub mod server;
pub mod transport;

use std::task::{Context, Poll, ready};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
pub use head::{request_from, request_into, response_from, response_into, trailers_from, trailers_into};

use super::body::{BodyError, Frame};

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the body of a stream.
pub struct Reader {
    recv: RecvStream,
    /// Bytes handed out whose window has not been given back yet.
    taken: usize,
}

impl Reader {
    /// A reader for a stream's body.
    pub fn new(recv: RecvStream) -> Self {
        Self { recv, taken: 0 }
    }

    /// Whether nothing more comes.
    pub fn is_done(&self) -> bool {
        self.recv.is_end_stream()
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyError>> {
        if self.taken > 0 {
            // The writer has taken the last piece, so the peer may send as much again. Failing means that the stream is over.
            let _ = self.recv.flow_control().release_capacity(self.taken);
            self.taken = 0;
        }
        if let Some(data) = ready!(self.recv.poll_data(cx)) {
            let data = data?;
            self.taken = data.len();
            return Poll::Ready(Ok(Frame::Data(data, self.recv.is_end_stream())));
        }
        Poll::Ready(Ok(match ready!(self.recv.poll_trailers(cx))? {
            Some(map) => Frame::Trailers(trailers_from(&map)),
            None => Frame::End,
        }))
    }
}

/// Writes the body of a stream.
pub struct Writer {
    send: SendStream<Bytes>,
    data: Bytes,
    end: End,
}

enum End {
    /// More may come.
    Open,
    /// The stream ends behind `data`.
    Data,
    /// The stream ends with trailers behind `data`.
    Trailers(Box<http::HeaderMap>),
    /// The end was sent.
    Sent,
}

impl Writer {
    /// A writer for a stream's body.
    pub fn new(send: SendStream<Bytes>) -> Self {
        Self { send, data: Bytes::new(), end: End::Open }
    }

    /// Whether the message is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.end, End::Sent)
    }

    /// Bytes that the peer has no window for.
    pub(super) fn left(&self) -> usize {
        self.data.len()
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Ready when the peer resets the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        self.send.poll_reset(cx).map(|reset| reset.unwrap_or(Reason::CANCEL))
    }

    pub(super) fn start(&mut self, frame: Frame) {
        match frame {
            Frame::Data(data, end) => {
                self.data = data;
                if end {
                    self.end = End::Data;
                }
            }
            Frame::End => self.end = End::Data,
            Frame::Trailers(trailers) => self.end = End::Trailers(Box::new(trailers_into(&trailers))),
        }
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while !self.data.is_empty() {
            self.send.reserve_capacity(self.data.len());
            let mut room = self.send.capacity();
            if room == 0 {
                room = match ready!(self.send.poll_capacity(cx)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Err(BodyError::Closed)),
                };
            }
            let piece = self.data.split_to(room.min(self.data.len()));
            let last = self.data.is_empty() && matches!(self.end, End::Data);
            self.send.send_data(piece, last)?;
            if last {
                self.end = End::Sent;
            }
        }
        match std::mem::replace(&mut self.end, End::Sent) {
            End::Open => self.end = End::Open,
            End::Sent => {}
            End::Data => self.send.send_data(Bytes::new(), true)?,
            End::Trailers(map) => self.send.send_trailers(*map)?,
        }
        Poll::Ready(Ok(()))
    }
}
