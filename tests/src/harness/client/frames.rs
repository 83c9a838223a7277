//! HTTP/2 frame by frame, for what a well-behaved library refuses to send.
//!
//! Header blocks are written as literals without indexing or Huffman coding, so any byte can be put anywhere. Of header blocks
//! received only the `:status` is understood, which is all that the cases ask for.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;
use crate::harness::wire::{End, Wire};

/// Frame types of RFC 9113 §6.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PUSH_PROMISE.
pub const PUSH_PROMISE: u8 = 5;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;
/// Flag END_STREAM (and ACK).
pub const END_STREAM: u8 = 1;
/// Flag END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test frame is short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literal fields.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name.as_bytes());
        string(&mut bytes, value.as_bytes());
    }
    bytes
}

/// A HEADERS frame that ends the stream, of the four usual pseudo-headers and `more`.
pub fn get(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)];
    fields.extend(more);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
}

/// A HEADERS frame that ends the stream, of exactly these fields.
pub fn only(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields))
}

/// A HEADERS frame of a POST that leaves the stream open.
pub fn post(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", path)];
    fields.extend(more);
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if length < 127 {
        bytes.push(length as u8);
    } else {
        bytes.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            bytes.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend(text);
}

/// What came back on a connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Stream to its outcome: a status, or `reset <code>`.
    pub streams: BTreeMap<u32, String>,
    /// Error code of a GOAWAY.
    pub goaway: Option<u32>,
    /// `alive` if the peer still answers a PING, else how the connection ended.
    pub end: String,
    /// Our port.
    pub port: u16,
}

/// Sends the preface, SETTINGS and `bytes`, then a PING, and reads until the PING is answered and each of `streams` has an
/// outcome, or the connection ends.
pub fn converse(port: u16, bytes: &[u8], streams: &[u32]) -> Seen {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy accepts connections");
    let mut seen = Seen { port: stream.local_addr().map_or(0, |a| a.port()), ..Seen::default() };
    let mut wire = Wire::new(stream, PATIENCE);
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(SETTINGS, 0, 0, &[]));
    opening.extend(bytes);
    opening.extend(frame(PING, 0, 0, b"sampan??"));
    // A peer that closes early makes the write fail; what it said before is still there to be read.
    wire.stream.set_write_timeout(Some(PATIENCE)).ok();
    wire.stream.write_all(&opening).ok();
    let deadline = Instant::now() + PATIENCE;
    let mut answered = false;
    while Instant::now() < deadline {
        if answered && streams.iter().all(|id| seen.streams.contains_key(id)) {
            "alive".clone_into(&mut seen.end);
            return seen;
        }
        match read_frame(&mut wire) {
            Ok((PING, 1, _, _)) => answered = true,
            Ok((kind, flags, id, payload)) => note(&mut seen, &mut wire, kind, flags, id, &payload),
            Err(end) => {
                end.word().clone_into(&mut seen.end);
                return seen;
            }
        }
    }
    "silence".clone_into(&mut seen.end);
    seen
}

fn note(seen: &mut Seen, wire: &mut Wire, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let code = || payload.get(..4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match kind {
        SETTINGS if flags & 1 == 0 => {
            wire.stream.write_all(&frame(SETTINGS, 1, 0, &[])).ok();
        }
        HEADERS => {
            seen.streams.entry(id).or_insert_with(|| status_of(payload));
        }
        RST_STREAM => {
            seen.streams
                .entry(id)
                .or_insert_with(|| format!("reset {}", h2::Reason::from(code()).description()));
        }
        GOAWAY => {
            let bytes: Option<[u8; 4]> = payload.get(4..8).and_then(|b| b.try_into().ok());
            seen.goaway = bytes.map(u32::from_be_bytes);
        }
        _ => {}
    }
}

fn read_frame(wire: &mut Wire) -> Result<(u8, u8, u32, Vec<u8>), End> {
    let mut head = Vec::new();
    wire.exactly(9, &mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    let mut payload = Vec::new();
    wire.exactly(length, &mut payload)?;
    Ok((head[3], head[4], id, payload))
}

/// The status in a header block: an entry of HPACK's static table, or a literal of digits, plain or Huffman-coded.
fn status_of(block: &[u8]) -> String {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A size update of the dynamic table may come first.
    let block = if block.first().is_some_and(|b| b & 0xe0 == 0x20) { &block[1..] } else { block };
    let first = block.first().copied().unwrap_or_default();
    if let Some(status) = first.checked_sub(0x88).and_then(|i| STATIC.get(usize::from(i))) {
        return status.to_string();
    }
    let length = usize::from(block.get(1).copied().unwrap_or_default());
    let text = block.get(2..2 + (length & 0x7f)).unwrap_or_default();
    if length & 0x80 == 0 { String::from_utf8_lossy(text).into_owned() } else { huffman_digits(text) }
}

/// HPACK's Huffman code for digits: `0`-`2` are 5 bits from 00000, `3`-`9` are 6 bits from 011001.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: Vec<u32> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i & 1))).collect();
    let value = |from: usize, count: usize| {
        bits.get(from..from + count).map(|b| b.iter().fold(0, |v, bit| v * 2 + bit))
    };
    let (mut at, mut text) = (0, String::new());
    while text.len() < 3 {
        let (digit, width) = match (value(at, 5), value(at, 6)) {
            (Some(short), _) if short < 3 => (short, 5),
            (_, Some(long)) if (25..32).contains(&long) => (long - 22, 6),
            _ => break,
        };
        text.push(char::from_digit(digit, 10).unwrap_or('?'));
        at += width;
    }
    text
}

/// How long a frame case lets a proxy take to close a hostile connection.
pub const PATIENT: Duration = PATIENCE;
