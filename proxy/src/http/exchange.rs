//! What a downstream codec hands to the stream: a request's body, and the means to answer.

use std::task::{Context, Poll};
use std::time::Instant;

use ::h2::Reason;
use ::h2::server::SendResponse;
use bytes::Bytes;
use sampan_filters_api::{Known, Protocol, ResponseHead};

use super::body::{BodyError, BodyReader, BodyWriter, H1Writer};
use super::h1::encode::{self, Connection, NameCase};
use super::h1::{CodecError, Framing};
use super::h2;
use crate::failure::Kind;
use crate::net::io::Io;

/// One request on its way in.
pub struct Exchange<'c> {
    /// The protocol it came in.
    pub version: Protocol,
    /// Its body.
    pub body: BodyReader<'c>,
    /// Its framing.
    pub framing: Framing,
    /// The way back.
    pub responder: Responder<'c>,
    /// When its head was complete, if that was later than when it began.
    pub head_complete: Option<Instant>,
    /// Whether the client waits for `100 Continue`.
    pub expects_continue: bool,
    /// The HTTP/1.1 connection, with the bytes that had gone through it before this request.
    pub wire: Option<Wire<'c>>,
}

/// Counts the bytes of one request on its connection.
#[derive(Clone, Copy)]
pub struct Wire<'c> {
    /// The connection.
    pub io: &'c Io,
    /// Bytes received before the request's first.
    pub received: u64,
    /// Bytes sent before the response's first.
    pub sent: u64,
}

impl<'c> Exchange<'c> {
    /// The way back for an answer that does not wait for the request's body. What is left of a body is not read, so an
    /// HTTP/1.1 connection ends with the answer.
    pub fn into_responder(mut self) -> Responder<'c> {
        if !self.framing.is_empty() && !self.body.is_done() {
            self.responder.close_after();
        }
        self.responder
    }
}

/// The way back to the client.
pub enum Responder<'c> {
    /// On an HTTP/1.1 connection.
    H1(H1Responder<'c>),
    /// On an HTTP/2 stream.
    H2(SendResponse<Bytes>),
}

/// What a response needs to know to be written to an HTTP/1.1 connection.
pub struct H1Responder<'c> {
    /// The connection.
    pub io: &'c Io,
    /// Its write buffer.
    pub out: &'c mut Vec<u8>,
    /// HTTP/1.0 has no chunks.
    pub version: Protocol,
    /// A response to HEAD has no body.
    pub head_request: bool,
    /// Case of field names.
    pub case: NameCase,
    /// Whether trailers are forwarded.
    pub trailers: bool,
    /// Whether the client keeps the connection open.
    pub persistent: bool,
}

/// How a response was started.
pub struct Started<'c> {
    /// Where its body goes.
    pub body: BodyWriter<'c>,
    /// Whether the connection may serve another request.
    pub keep: bool,
}

impl<'c> Responder<'c> {
    /// Has an HTTP/1.1 connection closed after the response.
    pub fn close_after(&mut self) {
        if let Responder::H1(h1) = self {
            h1.persistent = false;
        }
    }

    /// Sends an interim (1xx) response.
    pub async fn interim(&mut self, head: &ResponseHead) -> Result<(), BodyError> {
        match self {
            Responder::H1(h1) => {
                encode::response(head, Framing::None, Connection::Keep, h1.case, h1.out);
                h1.io.write_all(h1.out).await?;
                h1.out.clear();
                Ok(())
            }
            Responder::H2(send) => {
                let response = h2::response_into(head)?;
                Ok(send.send_informational(response)?)
            }
        }
    }

    /// Begins the response. Nothing needs to be sent yet: the body's writer carries the head along.
    pub fn start(
        self,
        head: &ResponseHead,
        framing: Framing,
        end: bool,
        close: bool,
    ) -> Result<Started<'c>, BodyError> {
        match self {
            Responder::H1(h1) => Ok(h1.start(head, framing, close)),
            Responder::H2(mut send) => {
                let response = h2::response_into(head)?;
                let stream = send.send_response(response, end)?;
                let body = if end { BodyWriter::Empty } else { BodyWriter::H2(h2::Writer::new(stream)) };
                Ok(Started { body, keep: true })
            }
        }
    }

    /// Begins a response that turns the connection over to another protocol.
    pub fn start_switched(
        self,
        head: &ResponseHead,
        upgrade: Option<&[u8]>,
        connection: Connection,
    ) -> Result<Started<'c>, BodyError> {
        match self {
            Responder::H1(h1) => {
                let mut head = head.clone();
                let connection = if let Some(protocol) = upgrade {
                    head.status = 101;
                    head.headers.set_known(Known::Upgrade, protocol);
                    connection
                } else {
                    Connection::Keep
                };
                head.headers.remove_known(Known::ContentLength);
                encode::response(&head, Framing::UntilClose, connection, h1.case, h1.out);
                let body = H1Writer::new(h1.io, h1.out, Framing::UntilClose, h1.case, false);
                Ok(Started { body: BodyWriter::H1(body), keep: false })
            }
            Responder::H2(mut send) => {
                let mut head = head.clone();
                head.status = 200;
                for gone in [Known::Upgrade, Known::SecWebsocketAccept, Known::ContentLength] {
                    head.headers.remove_known(gone);
                }
                let stream = send.send_response(h2::response_into(&head)?, false)?;
                Ok(Started { body: BodyWriter::H2(h2::Writer::new(stream)), keep: true })
            }
        }
    }

    /// Ready when the client resets the stream. Only while the response has not begun.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Kind> {
        match self {
            Responder::H1(_) => Poll::Pending,
            Responder::H2(send) => send.poll_reset(cx).map(|reason| {
                // Whoever says so: the codec, of the client's frames, or the client.
                let broken = reason.is_ok_and(|reason| {
                    matches!(
                        reason,
                        Reason::PROTOCOL_ERROR | Reason::FLOW_CONTROL_ERROR | Reason::STREAM_CLOSED
                    )
                });
                if broken { Kind::DownstreamBrokeStream } else { Kind::DownstreamReset }
            }),
        }
    }

    /// Resets the stream, or gives the connection up, without an answer.
    pub fn refuse(self, error: &CodecError) {
        match self {
            Responder::H1(h1) => h1.io.reset_on_close(),
            Responder::H2(mut send) => {
                let _ = error;
                send.send_reset(::h2::Reason::PROTOCOL_ERROR);
            }
        }
    }
}

impl<'c> H1Responder<'c> {
    fn start(self, head: &ResponseHead, framing: Framing, close: bool) -> Started<'c> {
        let old = self.version == Protocol::Http10;
        let framing = match framing {
            _ if self.head_request || head.status < 200 || head.status == 204 || head.status == 304 => {
                Framing::None
            }
            Framing::Chunked | Framing::UntilClose if old => Framing::UntilClose,
            Framing::UntilClose => Framing::Chunked,
            Framing::None => Framing::Length(0),
            other => other,
        };
        let keep = self.persistent && !close && framing != Framing::UntilClose;
        let connection = match (keep, old) {
            (false, _) => Connection::Close,
            (true, true) => Connection::KeepAlive,
            (true, false) => Connection::Keep,
        };
        encode::response(head, framing, connection, self.case, self.out);
        let body = H1Writer::new(self.io, self.out, framing, self.case, self.trailers);
        Started { body: BodyWriter::H1(body), keep }
    }
}
