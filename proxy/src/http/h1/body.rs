//! Takes a body out of the bytes that follow a head.
//!
//! ```text
//!  Length(n) --n bytes--> Done          UntilClose --eof--> Done
//!  Size --"1a;ext CRLF"--> Data(26) --> DataEnd --CRLF--> Size
//!    \--"0 CRLF"--> Trailers --fields, blank line--> Done
//! ```
//! A chunk's framing is checked to the byte and chunk extensions are dropped, so what goes on is always newly framed.

use bytes::{Bytes, BytesMut};
use sampan_filters_api::{Headers, Known};

use super::scan::Scanner;
use super::{CodecError, Framing, HeadLimits, syntax};

/// The longest line that may announce a chunk, extensions included.
const MAX_CHUNK_LINE: usize = 4096;
/// The most digits of a chunk's size; 16 would overflow only above 2^64.
const MAX_SIZE_DIGITS: usize = 15;
/// A read for which it is not worth while to know how little is to come.
const SMALL_READ: usize = 4096;

/// What [`Decoder::decode`] found.
#[derive(Debug)]
pub enum Decoded {
    /// More bytes are needed.
    Pending,
    /// A piece of the body; `true` if the message ends with it.
    Data(Bytes, bool),
    /// The message is over, with trailers if there were any.
    End(Option<Headers>),
}

/// The state of one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limits: HeadLimits,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Length(u64),
    UntilClose,
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scanner),
    Done,
}

impl Decoder {
    /// A decoder for a body; `limits` hold for its trailers.
    pub fn new(framing: Framing, limits: HeadLimits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits }
    }

    /// Whether the whole body was taken.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the connection's end is the body's end.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// How many bytes there may still be, and no fewer than a small read, where what follows may be of use.
    pub fn at_most(&self) -> usize {
        let State::Length(left) = self.state else { return usize::MAX };
        usize::try_from(left).unwrap_or(usize::MAX).max(SMALL_READ)
    }

    /// Takes the next piece from the front of `buf`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, CodecError> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::End(None)),
                _ if buf.is_empty() => return Ok(Decoded::Pending),
                State::UntilClose => return Ok(Decoded::Data(buf.split().freeze(), false)),
                State::Length(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Decoded::Data(data, left == 0));
                }
                State::Data(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Decoded::Data(data, false));
                }
                State::DataEnd => {
                    if buf[0] != b'\r' || buf.get(1).is_some_and(|b| *b != b'\n') {
                        return Err(CodecError::malformed("a chunk does not end where its size says"));
                    }
                    if buf.len() < 2 {
                        return Ok(Decoded::Pending);
                    }
                    let _ = buf.split_to(2);
                    self.state = State::Size;
                }
                State::Size => match chunk_line(buf)? {
                    None => return Ok(Decoded::Pending),
                    Some((0, len)) => {
                        let _ = buf.split_to(len);
                        self.state = State::Trailers(Scanner::default());
                    }
                    Some((size, len)) => {
                        let _ = buf.split_to(len);
                        self.state = State::Data(size);
                    }
                },
                State::Trailers(scanner) => return self.trailers(buf, scanner),
            }
        }
    }

    fn trailers(&mut self, buf: &mut BytesMut, mut scanner: Scanner) -> Result<Decoded, CodecError> {
        if buf.starts_with(b"\r\n") {
            let _ = buf.split_to(2);
            self.state = State::Done;
            return Ok(Decoded::End(None));
        }
        let Some(len) = scanner.scan(buf, self.limits)? else {
            self.state = State::Trailers(scanner);
            return Ok(Decoded::Pending);
        };
        let trailers = parse_trailers(&buf[..len], self.limits)?;
        let _ = buf.split_to(len);
        self.state = State::Done;
        Ok(Decoded::End(Some(trailers)))
    }
}

fn take(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
    (buf.split_to(n).freeze(), left - n as u64)
}

/// `size [;ext] CRLF` -> the size and the line's length.
fn chunk_line(buf: &[u8]) -> Result<Option<(u64, usize)>, CodecError> {
    let Some(lf) = memchr::memchr(b'\n', &buf[..buf.len().min(MAX_CHUNK_LINE)]) else {
        if buf.len() >= MAX_CHUNK_LINE {
            return Err(CodecError::malformed("a chunk's size line is over 4096 bytes"));
        }
        // What is here already may be wrong, and then waiting for more would be pointless.
        chunk_size(buf.strip_suffix(b"\r").unwrap_or(buf))?;
        return Ok(None);
    };
    let line = buf[..lf]
        .strip_suffix(b"\r")
        .ok_or(CodecError::malformed("a chunk's size line ends in a bare LF"))?;
    let size = chunk_size(line)?.ok_or(CodecError::malformed("a chunk has no size"))?;
    Ok(Some((size, lf + 1)))
}

fn chunk_size(line: &[u8]) -> Result<Option<u64>, CodecError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits > MAX_SIZE_DIGITS {
        return Err(CodecError::malformed("a chunk's size overflows"));
    }
    let ext = syntax::trim(&line[digits..]);
    if !ext.is_empty() && ext[0] != b';' {
        return Err(CodecError::malformed("a chunk's size is not hexadecimal"));
    }
    if !syntax::is_field_value(ext) {
        return Err(CodecError::malformed("a chunk extension has a control byte"));
    }
    if digits == 0 {
        return if line.is_empty() { Ok(None) } else { Err(CodecError::malformed("a chunk has no size")) };
    }
    let size =
        line[..digits].iter().fold(0u64, |n, d| n * 16 + u64::from((*d as char).to_digit(16).unwrap_or(0)));
    Ok(Some(size))
}

/// Trailers, without those that must not be there (RFC 9110 §6.5.1): framing, routing, credentials.
fn parse_trailers(bytes: &[u8], limits: HeadLimits) -> Result<Headers, CodecError> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.fields.min(super::MAX_FIELDS)];
    let parsed = httparse::parse_headers(bytes, &mut fields);
    let Ok(httparse::Status::Complete((_, fields))) = parsed else {
        return Err(CodecError::malformed("the trailers are malformed"));
    };
    let mut trailers = Headers::new();
    for field in fields {
        if !forbidden_trailer(field.name.as_bytes()) {
            trailers.append(field.name, syntax::trim(field.value));
        }
    }
    Ok(trailers)
}

/// Whether a trailer would change framing, routing or identity if a recipient merged it into the head.
pub fn forbidden_trailer(name: &[u8]) -> bool {
    matches!(
        Known::classify(name),
        Some(
            Known::ContentLength
                | Known::TransferEncoding
                | Known::Host
                | Known::Connection
                | Known::Upgrade
                | Known::Te
                | Known::Trailer
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Http2Settings
                | Known::Authorization
                | Known::Cookie
                | Known::XForwardedFor
                | Known::XForwardedProto
                | Known::XForwardedHost
                | Known::XForwardedClientCert
                | Known::Forwarded
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10 };

    type Whole = (Vec<u8>, Option<Headers>, Vec<u8>);

    /// Decodes `wire` in pieces of `step` bytes; the body, the trailers and what is left.
    fn run(framing: Framing, wire: &[u8], step: usize) -> Result<Whole, CodecError> {
        let mut decoder = Decoder::new(framing, LIMITS);
        let (mut buf, mut body, mut rest) = (BytesMut::new(), Vec::new(), wire);
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(data, end) => {
                    body.extend_from_slice(&data);
                    if end {
                        return Ok((body, None, [&buf[..], rest].concat()));
                    }
                }
                Decoded::End(trailers) => return Ok((body, trailers, [&buf[..], rest].concat())),
                Decoded::Pending if rest.is_empty() => return Err(CodecError::malformed("truncated")),
                Decoded::Pending => {
                    let n = step.min(rest.len());
                    buf.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                }
            }
        }
    }

    #[test]
    fn chunks_in_any_pieces() {
        let wire = b"3\r\nabc\r\nA ;x=y\r\n0123456789\r\n0\r\nX-T: 1\r\ncontent-length: 3\r\n\r\nnext";
        for step in 1..wire.len() {
            let (body, trailers, rest) = run(Framing::Chunked, wire, step).unwrap();
            assert_eq!(body, b"abc0123456789");
            let trailers = trailers.unwrap();
            assert_eq!((trailers.len(), trailers.value("x-t")), (1, Some(&b"1"[..])));
            assert_eq!(rest, b"next");
        }
    }

    #[test]
    fn lengths() {
        let (body, _, rest) = run(Framing::Length(3), b"abcdef", 2).unwrap();
        assert_eq!((&body[..], &rest[..]), (&b"abc"[..], &b"def"[..]));
        assert!(run(Framing::Length(7), b"abcdef", 2).is_err());
        assert_eq!(run(Framing::None, b"x", 1).unwrap().0, b"");
    }

    #[test]
    fn funky_chunks_are_refused() {
        for wire in [
            "3\nabc\r\n0\r\n\r\n",
            "3;a\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "3_\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "ffffffffffffffff1\r\nabc",
            "2\r\nhello\r\n0\r\n\r\n",
            "3\r\nabcX\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3;\x01\r\nabc\r\n0\r\n\r\n",
            "\r\n",
            "0\r\n\n",
            "0\r\nbad trailer\r\n\r\n",
            "-1\r\n",
        ] {
            for step in [1, 100] {
                assert!(run(Framing::Chunked, wire.as_bytes(), step).is_err(), "{wire:?} by {step}");
            }
        }
        let long = format!("3;{}\r\n", "x".repeat(5000));
        assert!(run(Framing::Chunked, long.as_bytes(), 100).is_err());
    }

    #[test]
    fn seeded_garbage_never_panics_or_spins() {
        let mut rng = fastrand::Rng::with_seed(7);
        let alphabet = b"0123aF;\r\n x\0:";
        for _ in 0..20_000 {
            let wire: Vec<u8> =
                (0..rng.usize(0..24)).map(|_| alphabet[rng.usize(0..alphabet.len())]).collect();
            let whole = run(Framing::Chunked, &wire, 100).map(|(body, _, rest)| (body, rest));
            let bytes = run(Framing::Chunked, &wire, 1).map(|(body, _, rest)| (body, rest));
            assert_eq!(whole.ok(), bytes.ok(), "{wire:?}");
        }
    }
}
