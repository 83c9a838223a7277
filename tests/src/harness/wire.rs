//! Reads HTTP/1 messages off a blocking socket, leniently: the reader of a test must be able to describe what a proxy sent even
//! when it is wrong. Used by the fake upstream (requests) and the raw client (responses).

use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How a byte stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed in order.
    Eof,
    /// The peer reset the connection.
    Reset,
    /// Nothing more came within the time allowed.
    Silence,
}

impl End {
    /// The word used in observations.
    pub fn word(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Reset => "reset",
            Self::Silence => "silence",
        }
    }
}

/// One HTTP/1 message as it was on the wire.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Request line or status line.
    pub line: String,
    /// Header fields in order, names in the case they had.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// `none`, `length`, `chunked` or `close`.
    pub framing: &'static str,
    /// Set when the message did not come to its proper end.
    pub cut: Option<End>,
}

impl Message {
    /// The first value of a header, name compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The code of a status line, 0 if there is none.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// A socket with what has been read from it and not been used yet.
pub struct Wire {
    /// The socket, for writing.
    pub stream: TcpStream,
    buffer: Vec<u8>,
    patience: Duration,
}

impl Wire {
    /// Wraps a socket; every wait on it ends after `patience`.
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        stream.set_nodelay(true).ok();
        Self { stream, buffer: Vec::new(), patience }
    }

    /// Reads a head (start line and fields), or says why there is none. Leading empty lines are skipped.
    pub fn head(&mut self) -> Result<Message, End> {
        loop {
            let skip = self.buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            self.buffer.drain(..skip);
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(parse_head(&head));
            }
            self.fill()?;
        }
    }

    /// Reads the body that `message`'s head announces. `response_to_head` and bodiless statuses have none.
    pub fn body(&mut self, message: &mut Message, is_response: bool, response_to_head: bool) {
        let status = message.status();
        let bodiless =
            is_response && (response_to_head || status / 100 == 1 || status == 204 || status == 304);
        let chunked = message.header("transfer-encoding").is_some_and(|te| te.contains("chunked"));
        let length = message.header("content-length").and_then(|v| v.trim().parse::<usize>().ok());
        let outcome = if bodiless {
            message.framing = "none";
            Ok(())
        } else if chunked {
            message.framing = "chunked";
            self.chunks(message)
        } else if let Some(length) = length {
            message.framing = "length";
            self.exactly(length, &mut message.body)
        } else if is_response {
            message.framing = "close";
            match self.rest(&mut message.body) {
                End::Eof => Ok(()),
                end => Err(end),
            }
        } else {
            message.framing = "none";
            Ok(())
        };
        message.cut = outcome.err();
    }

    /// Reads exactly `count` bytes into `into`; on an early end what came is kept.
    pub fn exactly(&mut self, count: usize, into: &mut Vec<u8>) -> Result<(), End> {
        let mut missing = count;
        loop {
            let take = missing.min(self.buffer.len());
            into.extend(self.buffer.drain(..take));
            missing -= take;
            if missing == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Reads until the stream ends.
    pub fn rest(&mut self, into: &mut Vec<u8>) -> End {
        loop {
            into.append(&mut self.buffer);
            if let Err(end) = self.fill() {
                return end;
            }
        }
    }

    /// Takes what has come so far, reading once if nothing has.
    pub fn some(&mut self) -> Result<Vec<u8>, End> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    fn chunks(&mut self, message: &mut Message) -> Result<(), End> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(digits, 16) else {
                return Err(End::Silence);
            };
            if size == 0 {
                break;
            }
            self.exactly(size, &mut message.body)?;
            self.line()?;
        }
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(()) };
            message.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n") {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(printable(line.trim_ascii_end()));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), End> {
        let mut chunk = [0; 16 * 1024];
        let deadline = Instant::now() + self.patience;
        self.stream.set_read_timeout(Some(self.patience)).ok();
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(End::Eof),
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted && Instant::now() < deadline => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(End::Silence);
                }
                Err(_) => return Err(End::Reset),
            }
        }
    }
}

/// Text for an observation: printable ASCII as it is, everything else escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            0x20..=0x7e => text.push(byte as char),
            _ => write!(text, "\\x{byte:02x}").unwrap_or_default(),
        }
    }
    text
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse_head(head: &[u8]) -> Message {
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = printable(lines.next().unwrap_or_default());
    let headers = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            (printable(&line[..colon]), printable(value.trim_ascii()))
        })
        .collect();
    Message { line, headers, ..Message::default() }
}
