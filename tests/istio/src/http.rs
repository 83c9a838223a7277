//! One HTTP request and its answer, over a connection of its own. All that is asked here is local and small: Kubernetes' API through
//! `kubectl proxy`, istiod's debug pages, probes, and the applications' control ports.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; an error with the body's text unless the status is one of success.
    pub fn json(&self) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!((200..300).contains(&self.status), "status {}: {text}", self.status);
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }
}

/// Asks `address` (host:port). HTTP/1.1, since Envoy refuses what is older; the end of the connection is the end of the answer.
pub fn ask(address: &str, request: &Request, patience: Duration) -> Result<Answer> {
    let resolved = address.to_socket_addrs()?.next().with_context(|| format!("no address: {address}"))?;
    let mut stream = TcpStream::connect_timeout(&resolved, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let Request { method, path, kind, body } = request;
    let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{kind}"
    );
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut read = Vec::new();
    stream.read_to_end(&mut read)?;
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        bail!("{address}{path}: no answer: {}", String::from_utf8_lossy(&read))
    };
    let head = String::from_utf8_lossy(&read[..end]);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("{address}{path}: {head}"))?;
    let chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = read.split_off(end + 4);
    let body = if chunked {
        joined(&body).with_context(|| format!("{address}{path}: a body cut short"))?
    } else {
        body
    };
    Ok(Answer { status, body })
}

/// The chunks of a body in one piece; none if the last one is missing.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = line + 2;
        body.extend_from_slice(chunks.get(start..start + size)?);
        chunks = chunks.get(start + size + 2..)?;
    }
}

/// What is asked.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// The content type; empty for none.
    pub kind: &'a str,
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A GET.
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, kind: "", body: b"" }
    }
}
