//! The upstream half of a stream: sends a request head, reads the response head, hands over the bodies.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ::h2::client::{ResponseFuture, SendRequest};
use bytes::{Bytes, BytesMut};
use sampan_filters_api::{Protocol, ResponseHead};
use sampan_model::cluster::Cluster;
use sampan_model::route::Priority;

use super::body::{BodyError, BodyReader, H1Reader};
use super::h1::encode::NameCase;
use super::h1::response::{self, RequestKind};
use super::h1::scan::Scanner;
use super::h1::{Framing, HeadLimits};
use super::h2;
use crate::failure::{Failure, Kind};
use crate::net::io::Io;
use crate::upstream::cluster::WorkerCluster;
use crate::upstream::pool::h2::Lease;
use crate::upstream::pool::{self, HostPool};

/// Reads the response to a request that was sent.
pub enum Receiver<'u> {
    /// From an HTTP/1.1 connection.
    H1(H1Receiver<'u>),
    /// From an HTTP/2 stream.
    H2(H2Receiver),
    /// From a TCP connection: CONNECT is granted as soon as there is one.
    Raw(&'u Io, &'u mut BytesMut),
}

const NO_HEAD: HeadLimits = HeadLimits { bytes: 0, fields: 0 };
const RAW_BUFFER: usize = 256 * 1024;

/// The receiving end of an HTTP/1.1 connection.
pub struct H1Receiver<'u> {
    /// The connection.
    pub io: &'u Io,
    /// Its read buffer.
    pub read: &'u mut BytesMut,
    /// Limits of the head and of trailers.
    pub limits: HeadLimits,
    /// What was asked.
    pub kind: RequestKind,
    /// Bytes of the body that may be read ahead.
    pub buffer: usize,
    /// Whether trailers are passed on.
    pub trailers: bool,
}

/// The receiving end of an HTTP/2 stream.
pub struct H2Receiver {
    response: ResponseFuture,
    body: Option<::h2::RecvStream>,
}

impl H2Receiver {
    /// A receiver for a request's response.
    pub fn new(response: ResponseFuture) -> Self {
        Self { response, body: None }
    }
}

/// What a response head says beside its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body's framing.
    pub framing: Framing,
    /// The connection may serve another request once the body is read.
    pub persistent: bool,
    /// The connection or stream now carries another protocol.
    pub switched: bool,
    /// HTTP/1.0, 1.1 or 2
    pub version: Protocol,
}

impl<'u> Receiver<'u> {
    /// Reads the next head, interim ones included.
    pub async fn head(&mut self, head: &mut ResponseHead) -> Result<Answer, BodyError> {
        head.clear();
        match self {
            Receiver::H1(h1) => h1.head(head).await,
            Receiver::H2(h2) => h2.head(head).await,
            Receiver::Raw(..) => {
                head.status = 200;
                Ok(Answer {
                    framing: Framing::UntilClose,
                    persistent: false,
                    switched: true,
                    version: Protocol::Http11,
                })
            }
        }
    }

    /// Reads heads until a final one; interim ones are dropped.
    pub async fn final_head(&mut self, head: &mut ResponseHead) -> Result<Answer, BodyError> {
        loop {
            let answer = self.head(head).await?;
            if head.status >= 200 || answer.switched {
                return Ok(answer);
            }
        }
    }

    /// The body behind the head that was read last.
    pub fn body(self, framing: Framing) -> BodyReader<'u> {
        match self {
            Receiver::H1(h1) => {
                let reader = H1Reader::new(h1.io, h1.read, framing, h1.limits, h1.buffer);
                BodyReader::H1(reader.with_trailers(h1.trailers))
            }
            Receiver::Raw(io, read) => {
                BodyReader::H1(H1Reader::new(io, read, Framing::UntilClose, NO_HEAD, RAW_BUFFER))
            }
            Receiver::H2(H2Receiver { body: Some(body), .. }) => BodyReader::H2(h2::Reader::new(body)),
            Receiver::H2(_) => BodyReader::Empty,
        }
    }
}

/// Bytes read at once while a head is awaited; small responses come whole.
const HEAD_READ: usize = 16 * 1024;

impl H1Receiver<'_> {
    async fn head(&mut self, head: &mut ResponseHead) -> Result<Answer, BodyError> {
        let mut scanner = Scanner::default();
        let len = loop {
            if let Some(len) = scanner.scan(self.read, self.limits)? {
                break len;
            }
            if self.io.read(self.read, HEAD_READ).await? == 0 {
                // An end within a head is a protocol error, one before it is the connection's.
                if self.read.is_empty() {
                    return Err(BodyError::Closed);
                }
                return Err(super::h1::CodecError::malformed("the response head is cut off").into());
            }
        };
        let meta = response::parse(&self.read[..len], self.limits, self.kind, head)?;
        let _ = self.read.split_to(len);
        Ok(Answer {
            framing: meta.framing,
            persistent: meta.persistent,
            switched: meta.switched,
            version: meta.version,
        })
    }
}

impl H2Receiver {
    async fn head(&mut self, head: &mut ResponseHead) -> Result<Answer, BodyError> {
        let interim = poll_fn(|cx| {
            // Interim responses come before the final one; asked first, none is missed.
            if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
                return Poll::Ready(Ok(Err(interim?)));
            }
            std::pin::Pin::new(&mut self.response).poll(cx).map(|response| response.map(Ok))
        })
        .await
        .map_err(stream_error)?;
        let answer =
            |framing| Answer { framing, persistent: true, switched: false, version: Protocol::Http2 };
        match interim {
            Err(interim) => {
                h2::response_from(&interim.into_parts().0, head);
                Ok(answer(Framing::None))
            }
            Ok(response) => {
                let (parts, body) = response.into_parts();
                h2::response_from(&parts, head);
                let framing = framing_of(head, body.is_end_stream());
                self.body = Some(body);
                Ok(answer(framing))
            }
        }
    }
}

/// The framing that an HTTP/2 message has in HTTP/1.1.
pub fn framing_of(head: &ResponseHead, end: bool) -> Framing {
    if end {
        return Framing::None;
    }
    let length = head.headers.known(sampan_filters_api::Known::ContentLength);
    length.and_then(super::h1::syntax::content_length).map_or(Framing::Chunked, Framing::Length)
}

/// What an error of the upstream side means, before or after the response head was passed on.
pub fn failure(error: BodyError, protocol: Protocol, after_head: bool) -> Failure {
    let kind = match error {
        // HTTP/1.1 cannot tell a cut body from a wrong one, and Envoy calls both a protocol error.
        BodyError::Closed if after_head && protocol != Protocol::Http2 => {
            Kind::UpstreamProtocol("the body is cut off")
        }
        BodyError::Closed => Kind::UpstreamClosed,
        BodyError::Codec(error) => Kind::UpstreamProtocol(error.reason),
        BodyError::Reset(reason) => Kind::UpstreamReset { refused: reason == ::h2::Reason::REFUSED_STREAM },
    };
    Failure { after_head, ..kind.into() }
}

/// What ended a stream before its response began. A connection that its peer is giving up refuses the streams that came too late.
pub fn stream_error(error: ::h2::Error) -> BodyError {
    if error.is_go_away() && error.is_remote() {
        return BodyError::Reset(::h2::Reason::REFUSED_STREAM);
    }
    error.into()
}

/// Finds a connection that takes another stream.
pub async fn open_stream(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    priority: Priority,
) -> Result<(Lease, SendRequest<Bytes>), Failure> {
    loop {
        let lease = pool::h2::take(cluster, pool, priority).await?;
        let reused = lease.connection.has_served();
        match lease.sender().ready().await {
            Ok(sender) => return Ok((lease, sender)),
            // Its peer has left since it was used last, and nothing was sent: another one will do.
            Err(_) if reused => lease.drain(),
            Err(error) => {
                lease.drain();
                return Err(failure(stream_error(error), Protocol::Http2, false));
            }
        }
    }
}

/// How a cluster speaks HTTP/1.1.
#[derive(Clone, Copy)]
pub struct H1Settings {
    /// Limits of heads and trailers.
    pub limits: HeadLimits,
    /// Case of field names.
    pub case: NameCase,
    /// Whether trailers are passed on.
    pub trailers: bool,
    /// Bytes of a body that may be read ahead.
    pub buffer: usize,
}

impl H1Settings {
    /// Those of a cluster.
    pub fn of(config: &Cluster) -> Self {
        let http1 = &config.http.http1;
        let common = &config.http.common;
        Self {
            limits: HeadLimits {
                bytes: common.max_response_headers_kb as usize * 1024,
                fields: common.max_headers_count as usize,
            },
            case: match (http1.preserve_case, http1.proper_case) {
                (true, _) => NameCase::Preserve,
                (_, true) => NameCase::Proper,
                _ => NameCase::Lower,
            },
            trailers: http1.enable_trailers,
            buffer: config.per_connection_buffer_limit as usize,
        }
    }
}
