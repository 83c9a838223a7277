//! Thousands of mutated HTTP/1 requests, from a fixed seed: whatever a client sends, the upstream sees exactly the requests the
//! proxy says it forwarded, and each of them is beyond doubt.
//!
//! Each connection carries three requests run together: one that is mutated, one hidden in its body, one behind it. Where a proxy
//! and an upstream do not agree on where one ends, the paths seen and the paths logged do not agree either.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::solo::Solo;
use sampan_tests::harness::upstream::Received;
use sampan_tests::harness::{PATIENCE, poll};
use serde_json::Value;

const CONNECTIONS: usize = 2_000;
const CLIENTS: usize = 16;

#[test]
fn the_upstream_sees_what_the_proxy_says_it_forwarded() {
    for program in programs() {
        let solo = Solo::start(program, &[]);
        let port = solo.process.port("http");
        let next = AtomicUsize::new(0);
        let play = || {
            let mut accepted = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= CONNECTIONS {
                    return accepted;
                }
                let mut random = Random(0x5eed_0000 + number as u64);
                accepted += usize::from(converse(port, &mutated(number, &mut random)));
            }
        };
        let accepted: usize = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(play)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        // A corpus that is refused whole, or taken whole, shows nothing.
        assert!((CONNECTIONS / 10..CONNECTIONS * 9 / 10).contains(&accepted), "{program:?} took {accepted}");
        check(program, &solo);
    }
}

fn check(program: Program, solo: &Solo) {
    solo.recorder.settle(PATIENCE);
    let log = settled_log(solo);
    let seen = solo.recorder.snapshot();
    let mut forwarded: BTreeMap<&str, isize> = BTreeMap::new();
    let mut answered: BTreeMap<&str, isize> = BTreeMap::new();
    for line in &log {
        let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or("-");
        if text("host") != "-" {
            *forwarded.entry(text("path")).or_default() += 1;
        }
        if text("details") == "via_upstream" {
            *answered.entry(text("path")).or_default() += 1;
        }
    }
    for request in &seen {
        assert_eq!(doubts(request), None, "{program:?} let through {:?}", request.message);
        let path = request.message.line.split(' ').nth(1).unwrap_or_default();
        let left = forwarded.entry(path).or_default();
        *left -= 1;
        assert!(*left >= 0, "{program:?}: the upstream saw {path} once more than the log says");
        *answered.entry(path).or_default() -= 1;
    }
    let unseen: Vec<_> = answered.iter().filter(|(_, left)| **left > 0).collect();
    assert!(unseen.is_empty(), "{program:?} answered what no upstream saw: {unseen:?}");
}

/// Why a request that reached the upstream could be read in two ways, if it could.
fn doubts(request: &Received) -> Option<String> {
    let message = &request.message;
    let mut line = message.line.split(' ');
    let (method, path, version) = (line.next()?, line.next().unwrap_or_default(), line.next());
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(&b))
    };
    if !is_token(method) || !path.starts_with('/') || version != Some("HTTP/1.1") || line.next().is_some() {
        return Some("its request line is odd".into());
    }
    let count = |name: &str| message.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    let framings = (count("content-length"), count("transfer-encoding"));
    if count("host") != 1 || framings.0 + framings.1 > 1 {
        return Some(format!("{} hosts, {framings:?} lengths and encodings", count("host")));
    }
    let odd = message.headers.iter().find(|(name, value)| {
        !is_token(name) || value.replace("\\x09", "").contains("\\x0") || value.contains("\\r")
    });
    odd.map(|(name, value)| format!("{name:?}: {value:?}"))
}

/// The access log once it has stopped to grow.
fn settled_log(solo: &Solo) -> Vec<Value> {
    let mut length = 0;
    poll(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        let now = std::fs::metadata(solo.access_log()).map_or(0, |file| file.len());
        let same = now == length && now > 0;
        length = now;
        same.then_some(())
    });
    let bytes = std::fs::read(solo.access_log()).unwrap();
    String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Sends the bytes and reads until the proxy closes or falls silent; whether the first answer was a success.
fn converse(port: u16, bytes: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    if stream.write_all(bytes).is_err() {
        return false;
    }
    let mut answers = Vec::new();
    let mut chunk = [0; 4096];
    // The last request asks for the connection to be closed; one that is cut short is ended from here.
    stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    let mut ended = false;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answers.extend_from_slice(&chunk[..count]),
            Err(_) if ended => break,
            Err(_) => {
                ended = true;
                stream.shutdown(Shutdown::Write).ok();
            }
        }
    }
    answers.starts_with(b"HTTP/1.1 200")
}

/// Header lines that say how long a body is, in good ways and bad; `{n}` stands for the body's length.
const FRAMINGS: &[&str] = &[
    "content-length: {n}",
    "content-length: {n}",
    "transfer-encoding: chunked",
    "transfer-encoding: chunked",
    "Content-Length:{n}",
    "content-length: +{n}",
    "content-length: 0{n}",
    "content-length: {n},{n}",
    "content-length: {n} ",
    "content-length: 0",
    "content-length: 5",
    "content-length:\t{n}",
    "content-length : {n}",
    "content-length: {n}\r\ncontent-length: 0",
    "content-length: {n}\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 0",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "Transfer-Encoding:\x0bchunked",
    "transfer-encoding:\r\n chunked",
    " transfer-encoding: chunked",
    "x: y\rtransfer-encoding: chunked",
    "x: y\ntransfer-encoding: chunked",
    "transfer_encoding: chunked",
    "transfer-encoding: \"chunked\"",
    "connection: content-length\r\ncontent-length: {n}",
    "connection: transfer-encoding\r\ntransfer-encoding: chunked",
    "",
];

/// Bytes that parsers have disagreed about.
const ODD: &[&[u8]] = &[
    b"\0", b"\t", b" ", b"\x0b", b"\x0c", b"\r", b"\n", b"\r\n", b":", b";", b",", b"\x7f", b"\x80", b"\xff",
    b"0", b"g",
];

fn mutated(number: usize, random: &mut Random) -> Vec<u8> {
    let inner = format!("POST /inner-{number} HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc");
    let framing = random.of(FRAMINGS);
    let chunked = framing.contains("chunked");
    let body = if chunked { format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()) } else { inner };
    let framing = framing.replace("{n}", &body.len().to_string());
    let lines = if framing.is_empty() { String::new() } else { format!("{framing}\r\n") };
    let mut bytes =
        format!("POST /first-{number} HTTP/1.1\r\nhost: test\r\n{lines}x-end: 1\r\n\r\n{body}").into_bytes();
    // The path stays whole, so that whatever arrives can be traced back.
    let movable = bytes.iter().position(|b| *b == b'1').unwrap_or_default() + 12;
    for _ in 0..random.below(3) {
        let at = movable + random.below(bytes.len() - movable);
        match random.below(4) {
            0 => {
                bytes.remove(at);
            }
            1 => bytes[at] = random.of(ODD)[0],
            _ => {
                bytes.splice(at..at, random.of(ODD).iter().copied());
            }
        }
    }
    bytes.extend(format!("GET /second-{number} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").bytes());
    bytes
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}
