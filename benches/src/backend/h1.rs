//! HTTP/1.1: requests without a body, answered from memory.

use super::{LARGE_BODY, LARGE_PATH, SMALL_BODY, SMALL_PATH};
use anyhow::{Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest request head that is read.
const MAX_HEAD: usize = 64 * 1024;

/// Whole responses, head and body.
#[derive(Debug, Clone)]
pub struct Responses {
    small: Bytes,
    large: Bytes,
    not_found: Bytes,
}

impl Responses {
    /// Builds them once, for all connections.
    pub fn prepare() -> Self {
        Self {
            small: response("200 OK", SMALL_BODY),
            large: response("200 OK", LARGE_BODY),
            not_found: response("404 Not Found", 0),
        }
    }

    /// The response for a request head. A request with a body is not part of any scenario and gets 404, which
    /// every load tool counts as an error.
    fn answer(&self, head: &[u8]) -> &Bytes {
        let Some(target) = head.strip_prefix(b"GET ") else { return &self.not_found };
        if target.starts_with(SMALL_PATH.as_bytes()) {
            &self.small
        } else if target.starts_with(LARGE_PATH.as_bytes()) {
            &self.large
        } else {
            &self.not_found
        }
    }
}

/// Serves one connection until the peer closes it.
pub async fn serve(mut stream: TcpStream, responses: Responses) -> Result<()> {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        while let Some(end) = head_end(&buffer) {
            let response = responses.answer(&buffer[..end]);
            buffer.advance(end);
            stream.write_all(response).await?;
        }
        ensure!(buffer.len() < MAX_HEAD, "request head too long");
        buffer.reserve(2048);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The length of the first complete head, empty line included.
fn head_end(buffer: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let first = memmem::find(buffer, END)?;
    Some(first + END.len())
}

fn response(status: &str, body: usize) -> Bytes {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nserver: bench\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(head_end(b"GET / HTTP/1.1\r\n\r\nGET /"), Some(18));
    }

    #[test]
    fn paths_choose_the_body_and_anything_else_is_an_error() {
        let responses = Responses::prepare();
        let length = |head: &[u8]| responses.answer(head).len();
        assert!(length(b"GET /large HTTP/1.1") > LARGE_BODY);
        assert!((SMALL_BODY..SMALL_BODY + 200).contains(&length(b"GET /small HTTP/1.1")));
        assert!(responses.answer(b"POST /small HTTP/1.1").starts_with(b"HTTP/1.1 404"));
    }
}
