//! `envoy.filters.listener.http_inspector`: whether the client speaks HTTP in plain text, and which version.
//!
//! What it finds is an application protocol as ALPN would name it: `http/1.0`, `http/1.1`, `h2c`.

use sampan_filters_api::ConnectionInfo;
use sampan_filters_api::info::ProtocolList;

use super::{Refusal, refusal};
use crate::http::h1::syntax::is_token;
use crate::http::h2::PREFACE;
use crate::listener::accepted::{Accepted, Look, Unseen};
use crate::telemetry::stats::kinds::HttpInspectorCounter as Counter;
use crate::worker::Worker;

/// The longest request line that is waited for.
const LONGEST: usize = 64 * 1024;
/// A method is no longer; text without a space is told apart by it.
const LONGEST_METHOD: usize = 64;

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Http10,
    Http11,
    Http2,
    Other,
}

/// Waits for the request line, unless the first bytes are something else.
pub(super) async fn inspect(
    worker: &Worker,
    socket: &mut Accepted,
    info: &mut ConnectionInfo,
) -> Result<(), Refusal> {
    if info.facts.as_ref().is_some_and(|facts| facts.transport_protocol.is_some()) {
        // Encrypted, so there is no plain text to look at.
        return Ok(());
    }
    let stats = &worker.filter_stats().http_inspector;
    let look = |bytes: &[u8]| detect(bytes).map_or(Look::More, Look::Enough);
    let found = match socket.look(&worker.first_bytes, LONGEST, look).await {
        Ok(found) => found,
        Err(Unseen::TooMany) => {
            stats.inc(Counter::ReadError);
            return Err(Refusal::Filter);
        }
        Err(unseen) => return Err(refusal(unseen)),
    };
    let (counter, protocol) = match found {
        Found::Http10 => (Counter::Http10Found, "http/1.0"),
        Found::Http11 => (Counter::Http11Found, "http/1.1"),
        Found::Http2 => (Counter::Http2Found, "h2c"),
        Found::Other => {
            stats.inc(Counter::HttpNotFound);
            return Ok(());
        }
    };
    stats.inc(counter);
    info.facts_mut().application_protocols = ProtocolList::one(protocol);
    Ok(())
}

/// What the first bytes are; `None` while they may become a request line.
fn detect(bytes: &[u8]) -> Option<Found> {
    if bytes.starts_with(PREFACE) {
        return Some(Found::Http2);
    }
    if PREFACE.starts_with(bytes) {
        return None;
    }
    let line = memchr::memchr2(b'\r', b'\n', bytes);
    let text = &bytes[..line.unwrap_or(bytes.len())];
    let method = memchr::memchr(b' ', text).unwrap_or(text.len());
    if method > LONGEST_METHOD || !is_token(&text[..method]) {
        return Some(Found::Other);
    }
    let Some(rest) = text.get(method + 1..) else {
        // No space yet, and none to come on a line that has ended.
        return line.map(|_| Found::Other);
    };
    if rest.iter().any(|byte| !matches!(byte, b' '..=b'~' | 0x80..)) {
        return Some(Found::Other);
    }
    line.map(|_| version(&text[..method], rest))
}

/// The version at the end of a whole line, behind its method.
fn version(method: &[u8], rest: &[u8]) -> Found {
    let (target, version) = match memchr::memchr(b' ', rest) {
        Some(space) => (&rest[..space], Some(&rest[space + 1..])),
        None => (rest, None),
    };
    let is_target = matches!(target.first(), Some(b'/' | b'*'))
        || target.windows(3).any(|part| part == b"://")
        || (method == b"CONNECT" && !target.is_empty());
    match version {
        _ if !is_target => Found::Other,
        Some(b"HTTP/1.1") => Found::Http11,
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) | None => Found::Http10,
        Some(_) => Found::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_tell_the_version() {
        for (line, found) in [
            (&b"GET / HTTP/1.1\r\n"[..], Found::Http11),
            (b"get /a?b HTTP/1.1\n", Found::Http11),
            (b"FOO / HTTP/1.1\r\nhost: a\r\n\r\nbody", Found::Http11),
            (b"CONNECT a:1 HTTP/1.1\r\n", Found::Http11),
            (b"OPTIONS * HTTP/1.1\r\n", Found::Http11),
            (b"GET http://a/ HTTP/1.1\r\n", Found::Http11),
            (b"GET / HTTP/1.0\r\n", Found::Http10),
            (b"GET / HTTP/1.2\r\n", Found::Http10),
            (b"GET / HTTP/2.0\r\n", Found::Http10),
            (b"GET /\r\n", Found::Http10),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Found::Http10),
            (PREFACE, Found::Http2),
            (b"GET / http/1.1\r\n", Found::Other),
            (b"GET foo HTTP/1.1\r\n", Found::Other),
            (b"GET HTTP/1.1\r\n", Found::Other),
            (b"GET  / HTTP/1.1\r\n", Found::Other),
            (b"\r\nGET / HTTP/1.1\r\n", Found::Other),
            (b"PING\r\n", Found::Other),
            (b"*1\r\n$4\r\nPING\r\n", Found::Other),
            (b"GET a\0", Found::Other),
            (b"\x16\x03\x01", Found::Other),
            (b"\0", Found::Other),
            (&[b'a'; 65], Found::Other),
        ] {
            assert_eq!(detect(line), Some(found), "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_part_of_a_line_is_waited_for() {
        for whole in [&b"GET / HTTP/1.1\r"[..], PREFACE, b"CONNECT a:1 HTTP/1.0\n"] {
            for end in 0..whole.len() {
                // The preface is a request line as well, until its last bytes tell.
                assert_eq!(detect(&whole[..end]), None, "{end} of {:?}", String::from_utf8_lossy(whole));
            }
            assert!(detect(whole).is_some());
        }
    }
}
