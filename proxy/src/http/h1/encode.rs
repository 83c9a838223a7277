//! Writes heads and frames of HTTP/1.1 into a buffer.
//!
//! Field names go out in lower case, as Envoy's codec does, unless `preserve_case` keeps the case in which they
//! came. Framing fields are written from [`Framing`] alone: what a filter left in the headers cannot contradict it.

use bytes::BufMut;
use sampan_filters_api::{Headers, Known, Protocol, RequestHead, ResponseHead};

use super::Framing;

/// How to write names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NameCase {
    /// `content-type`
    #[default]
    Lower,
    /// As they came.
    Preserve,
    /// `Content-Type`
    Proper,
}

/// What a head says about the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection {
    /// Nothing; HTTP/1.1 persists.
    Keep,
    /// `connection: keep-alive`, for HTTP/1.0 peers
    KeepAlive,
    /// `connection: close`
    Close,
    /// `connection: Upgrade`
    Upgrade,
    /// `connection: upgrade`, as HTTP/2 is translated
    UpgradeFromHttp2,
}

impl Connection {
    /// An upgrade that came in a protocol.
    pub fn upgrade(from: Protocol) -> Self {
        if from == Protocol::Http2 { Connection::UpgradeFromHttp2 } else { Connection::Upgrade }
    }

    fn upgrades(self) -> bool {
        matches!(self, Connection::Upgrade | Connection::UpgradeFromHttp2)
    }
}

/// Writes a request head.
pub fn request(
    head: &RequestHead,
    framing: Framing,
    connection: Connection,
    case: NameCase,
    out: &mut Vec<u8>,
) {
    out.reserve(head.headers.byte_size() + head.headers.len() * 4 + head.path().len() + 128);
    out.put_slice(head.method());
    out.push(b' ');
    out.put_slice(if head.has_path() { head.path() } else { head.authority() });
    out.put_slice(b" HTTP/1.1\r\n");
    if !head.authority().is_empty() || head.has_path() {
        name(head.host_name(), case, out);
        out.put_slice(b": ");
        out.put_slice(head.authority());
        out.put_slice(b"\r\n");
    }
    fields(&head.headers, request_framing(head, framing, connection), case, out);
    if let (true, Some(protocol)) = (connection.upgrades(), head.upgrade()) {
        field(b"upgrade", protocol, case, out);
    }
    finish(connection, case, out);
}

/// A request without a body says so, unless its method never has one.
fn request_framing(head: &RequestHead, framing: Framing, connection: Connection) -> Framing {
    let bodiless = matches!(head.method(), b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT");
    if framing == Framing::None && !bodiless && !connection.upgrades() { Framing::Length(0) } else { framing }
}

/// Writes a response head.
pub fn response(
    head: &ResponseHead,
    framing: Framing,
    connection: Connection,
    case: NameCase,
    out: &mut Vec<u8>,
) {
    out.reserve(head.headers.byte_size() + head.headers.len() * 4 + 128);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.put_slice(reason_phrase(head.status).as_bytes());
    out.put_slice(b"\r\n");
    fields(&head.headers, framing, case, out);
    finish(connection, case, out);
}

/// Writes the line before a chunk's data; the data and `\r\n` follow.
pub fn chunk_header(len: usize, out: &mut Vec<u8>) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut left = len;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left % 16];
        left /= 16;
        if left == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
}

/// Writes the last chunk with trailers.
pub fn last_chunk(trailers: Option<&Headers>, case: NameCase, out: &mut Vec<u8>) {
    out.put_slice(b"0\r\n");
    for (n, v) in trailers.into_iter().flat_map(Headers::iter) {
        field(n, v, case, out);
    }
    out.put_slice(b"\r\n");
}

fn fields(headers: &Headers, framing: Framing, case: NameCase, out: &mut Vec<u8>) {
    let mut framed = !matches!(framing, Framing::Length(_) | Framing::Chunked);
    for (known, n, v) in headers.iter_known() {
        // A known name needs not be made lower.
        let (n, case) = match known {
            Some(known) if case == NameCase::Lower => (known.name().as_bytes(), NameCase::Preserve),
            _ => (n, case),
        };
        match known {
            Some(Known::ContentLength | Known::TransferEncoding) => {
                if framed && framing == Framing::None && known == Some(Known::ContentLength) {
                    // A response to HEAD, or a 304, tells the length of the body that it does not have.
                    field(n, v, case, out);
                } else if !framed {
                    framed = true;
                    framing_field(framing, case, out);
                }
            }
            Some(Known::Connection) => {}
            _ => field(n, v, case, out),
        }
    }
    if !framed {
        framing_field(framing, case, out);
    }
}

fn framing_field(framing: Framing, case: NameCase, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(n) => field(b"content-length", itoa::Buffer::new().format(n).as_bytes(), case, out),
        Framing::Chunked => field(b"transfer-encoding", b"chunked", case, out),
        Framing::None | Framing::UntilClose => {}
    }
}

fn finish(connection: Connection, case: NameCase, out: &mut Vec<u8>) {
    match connection {
        Connection::Keep => {}
        Connection::KeepAlive => field(b"connection", b"keep-alive", case, out),
        Connection::Close => field(b"connection", b"close", case, out),
        Connection::Upgrade => field(b"connection", b"Upgrade", case, out),
        Connection::UpgradeFromHttp2 => field(b"connection", b"upgrade", case, out),
    }
    out.put_slice(b"\r\n");
}

#[inline]
fn field(n: &[u8], v: &[u8], case: NameCase, out: &mut Vec<u8>) {
    name(n, case, out);
    out.put_slice(b": ");
    out.put_slice(v);
    out.put_slice(b"\r\n");
}

#[inline]
fn name(n: &[u8], case: NameCase, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_slice(n);
    let written = &mut out[start..];
    match case {
        NameCase::Preserve => {}
        NameCase::Lower => written.make_ascii_lowercase(),
        NameCase::Proper => {
            let mut upper = true;
            for byte in written {
                if upper {
                    byte.make_ascii_uppercase();
                } else {
                    byte.make_ascii_lowercase();
                }
                upper = *byte == b'-';
            }
        }
    }
}

/// The reason phrase of a status, as Envoy writes it.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        418 => "Unknown",
        425 => "Unknown",
        _ => http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_by_framing_alone() {
        let mut head = RequestHead::default();
        head.set_method(b"POST");
        head.set_path(b"/p");
        head.set_authority(b"h");
        head.headers.append("X-A", "1");
        head.headers.append("Content-Length", "77");
        head.headers.append("Transfer-Encoding", "chunked");
        let mut out = Vec::new();
        request(&head, Framing::Length(3), Connection::Keep, NameCase::Lower, &mut out);
        assert_eq!(out, b"POST /p HTTP/1.1\r\nhost: h\r\nx-a: 1\r\ncontent-length: 3\r\n\r\n");
        out.clear();
        request(&head, Framing::Chunked, Connection::Close, NameCase::Preserve, &mut out);
        assert_eq!(out, b"POST /p HTTP/1.1\r\nhost: h\r\nX-A: 1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn a_response_to_head_keeps_its_length() {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        head.headers.append("content-length", "9");
        let mut out = Vec::new();
        response(&head, Framing::None, Connection::Keep, NameCase::Proper, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    }

    #[test]
    fn chunk_lines() {
        let mut out = Vec::new();
        for n in [1, 15, 16, 65_536] {
            chunk_header(n, &mut out);
        }
        assert_eq!(out, b"1\r\nf\r\n10\r\n10000\r\n");
    }
}
