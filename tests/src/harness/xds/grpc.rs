//! Length-prefixed messages of gRPC on an HTTP/2 stream, without compression.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response};

/// The compressed flag and the length.
const PREFIX: usize = 5;

/// The messages that arrive on a stream.
pub(crate) struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    pub(crate) fn new(body: RecvStream) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; none when the stream is over. Safe to abandon half-way: what has come is kept.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.take() {
                return Some(message);
            }
            let data = self.body.data().await?.ok()?;
            self.body.flow_control().release_capacity(data.len()).ok()?;
            self.buffer.extend_from_slice(&data);
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.buffer.get(1..PREFIX)?.try_into().ok()?) as usize;
        if self.buffer.len() < PREFIX + length {
            return None;
        }
        self.buffer.advance(PREFIX);
        Some(self.buffer.split_to(length).freeze())
    }
}

/// The head of a response that messages follow.
pub(crate) fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The head of a response that is nothing but a status.
pub(crate) fn refusal(status: u8, message: &'static str) -> Response<()> {
    let mut response = head();
    response.headers_mut().extend(trailers(status, message));
    response
}

/// The trailers that end a call.
pub(crate) fn trailers(status: u8, message: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from(u16::from(status)));
    fields.insert("grpc-message", HeaderValue::from_static(message));
    fields
}

/// Sends one message. The codec keeps what the peer's window does not take yet, so this never waits.
pub(crate) fn send(stream: &mut SendStream<Bytes>, message: &[u8]) -> Result<(), h2::Error> {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    stream.send_data(framed.freeze(), false)
}
