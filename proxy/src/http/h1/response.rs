//! A complete response head -> [`ResponseHead`] and how to go on reading.
//!
//! The upstream is not trusted with framing: what a request may not do, a response may not do either.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};
use sampan_filters_api::{Known, Protocol, ResponseHead};

use super::{CodecError, Framing, HeadLimits, MAX_FIELDS, syntax};

/// What the framing of a response depends on beside its own head (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKind {
    /// HEAD: no body whatever the head says.
    pub head: bool,
    /// CONNECT: a 2xx turns the connection into a tunnel.
    pub connect: bool,
    /// The request asked for an upgrade, so a 101 is welcome.
    pub upgrade: bool,
}

/// What a response head says about the connection and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseMeta {
    /// HTTP/1.0 or HTTP/1.1
    pub version: Protocol,
    /// The body's framing.
    pub framing: Framing,
    /// Whether the connection may serve another request once the body is read.
    pub persistent: bool,
    /// Whether the connection now carries another protocol (101, or 2xx to CONNECT).
    pub switched: bool,
}

/// Parses a complete head into `head`, which must be clear.
pub fn parse(
    bytes: &[u8],
    limits: HeadLimits,
    kind: RequestKind,
    head: &mut ResponseHead,
) -> Result<ResponseMeta, CodecError> {
    let mut fields = [const { MaybeUninit::<Header>::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let allowed = limits.fields.min(MAX_FIELDS);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields[..allowed],
    );
    match parsed {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(CodecError::malformed("the head ends within a line")),
        Err(Error::TooManyHeaders) => {
            return Err(CodecError::new(502, "http1.too_many_headers", "more fields than max_headers_count"));
        }
        Err(_) => return Err(CodecError::malformed("the response head is malformed")),
    }
    head.status = response.code.unwrap_or_default();
    if head.status < 100 {
        return Err(CodecError::malformed("the status is below 100"));
    }
    let version = if response.version == Some(0) { Protocol::Http10 } else { Protocol::Http11 };
    let mut seen = Seen::default();
    for field in response.headers.iter() {
        seen.take(field.name.as_bytes(), syntax::trim(field.value), head)?;
    }
    seen.finish(version, kind, head)
}

#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Seen {
    fn take(&mut self, name: &[u8], value: &[u8], head: &mut ResponseHead) -> Result<(), CodecError> {
        match Known::classify(name) {
            Some(Known::ContentLength) => {
                let length = syntax::content_length(value)
                    .ok_or(CodecError::malformed("content-length is not one decimal number"))?;
                if self.length.replace(length).is_some() {
                    return Err(CodecError::malformed("more than one content-length"));
                }
                head.headers.append_known(Known::ContentLength, itoa::Buffer::new().format(length));
            }
            Some(Known::TransferEncoding) => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(CodecError::malformed("transfer-encoding other than one `chunked`"));
                }
                self.chunked = true;
            }
            Some(Known::Connection) => {
                self.close |= syntax::has_token(value, b"close");
                self.keep_alive |= syntax::has_token(value, b"keep-alive");
            }
            Some(Known::KeepAlive | Known::ProxyConnection) => {}
            known => head.headers.append_classified(known, name, value),
        }
        Ok(())
    }

    fn finish(
        self,
        version: Protocol,
        kind: RequestKind,
        head: &ResponseHead,
    ) -> Result<ResponseMeta, CodecError> {
        if self.chunked && self.length.is_some() {
            return Err(CodecError::malformed("content-length beside transfer-encoding"));
        }
        let status = head.status;
        let bodiless = status < 200 || status == 204;
        if bodiless && (self.chunked || self.length.is_some_and(|n| n > 0)) && status != 101 {
            return Err(CodecError::malformed("a 1xx or 204 has a body"));
        }
        if status == 101 && !kind.upgrade {
            return Err(CodecError::malformed("a 101 that was not asked for"));
        }
        let switched = status == 101 || (kind.connect && (200..300).contains(&status));
        let framing = if switched {
            Framing::UntilClose
        } else if kind.head || bodiless || status == 304 {
            Framing::None
        } else if self.chunked {
            Framing::Chunked
        } else {
            self.length.map_or(Framing::UntilClose, Framing::Length)
        };
        let keep = !self.close && (version == Protocol::Http11 || self.keep_alive);
        Ok(ResponseMeta { version, framing, persistent: keep && framing != Framing::UntilClose, switched })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RequestKind = RequestKind { head: false, connect: false, upgrade: false };

    fn parse_text(text: &str, kind: RequestKind) -> Result<(ResponseHead, ResponseMeta), CodecError> {
        let mut head = ResponseHead::default();
        let limits = HeadLimits { bytes: 80 * 1024, fields: 100 };
        parse(text.as_bytes(), limits, kind, &mut head).map(|meta| (head, meta))
    }

    #[test]
    fn framings() {
        for (text, kind, framing, persistent) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", PLAIN, Framing::Length(3), true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", PLAIN, Framing::Chunked, true),
            ("HTTP/1.1 200 OK\r\n\r\n", PLAIN, Framing::UntilClose, false),
            ("HTTP/1.1 204 No\r\n\r\n", PLAIN, Framing::None, true),
            ("HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", PLAIN, Framing::None, true),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", PLAIN, Framing::Length(1), false),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n",
                PLAIN,
                Framing::Length(1),
                true,
            ),
            (
                "HTTP/1.1 999 Odd\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                PLAIN,
                Framing::Length(0),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
                RequestKind { head: true, ..PLAIN },
                Framing::None,
                true,
            ),
        ] {
            let (_, meta) = parse_text(text, kind).expect(text);
            assert_eq!(
                (meta.framing, meta.persistent, meta.switched),
                (framing, persistent, false),
                "{text}"
            );
        }
    }

    #[test]
    fn refusals() {
        for text in [
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
            "HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
        ] {
            assert!(parse_text(text, PLAIN).is_err(), "{text:?}");
        }
    }

    #[test]
    fn switches() {
        let upgrade = RequestKind { upgrade: true, ..PLAIN };
        assert!(parse_text("HTTP/1.1 101 S\r\nupgrade: x\r\n\r\n", upgrade).unwrap().1.switched);
        let connect = RequestKind { connect: true, ..PLAIN };
        assert!(parse_text("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", connect).unwrap().1.switched);
    }
}
