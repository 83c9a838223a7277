//! The upstreams of the demo: HTTP/1.1 with keep-alive on one thread, saying who they are.
//!
//! They answer every request alike. Bodies with a length are read past; after a chunked one the connection is closed.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Their names: the version, and which of its instances.
pub(super) const NAMES: [&str; 3] = ["v1", "v2-a", "v2-b"];
/// Connections at a time, to each.
const CONNECTIONS: usize = 256;
/// The largest request head that is read, in bytes.
const HEAD: usize = 64 * 1024;

/// How many requests each has served.
pub(super) type Served = Arc<[AtomicU64; 3]>;

/// The running upstreams. They end with the process.
pub(super) struct Upstreams {
    /// Their ports.
    pub(super) ports: [u16; 3],
    /// Their counters.
    pub(super) served: Served,
}

impl Upstreams {
    /// Starts them.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Served::default();
        let listeners = runtime.block_on(async {
            let any = (Ipv4Addr::LOCALHOST, 0);
            let bind = || TcpListener::bind(any);
            Ok::<_, io::Error>([bind().await?, bind().await?, bind().await?])
        })?;
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(&listeners) {
            *port = listener.local_addr()?.port();
        }
        let counters = served.clone();
        std::thread::Builder::new().name("demo_upstreams".to_owned()).spawn(move || {
            let [v1, a, b] = listeners;
            let all = async {
                tokio::join!(serve(v1, 0, &counters), serve(a, 1, &counters), serve(b, 2, &counters))
            };
            runtime.block_on(all)
        })?;
        Ok(Self { ports, served })
    }
}

async fn serve(listener: TcpListener, which: usize, served: &Served) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        // A failed accept (no file descriptor) gives way to the connections that hold them.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let served = served.clone();
        tokio::spawn(async move {
            // A peer that goes away ends its connection, and nothing else.
            let _ = converse(stream, which, &served).await;
            drop(permit);
        });
    }
}

/// Answers requests until the peer is done.
async fn converse(mut stream: TcpStream, which: usize, served: &Served) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    while let Some(request) = next_request(&mut stream, &mut buffer).await? {
        served[which].fetch_add(1, Relaxed);
        skip(&mut stream, &mut buffer, request.body).await?;
        let name = NAMES[which];
        let version = name.split('-').next().unwrap_or(name);
        let body = format!("hello from {name}\n");
        let end = if request.last { "connection: close\r\n" } else { "" };
        let length = body.len();
        let shown = if request.head_only { "" } else { &body };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-version: {version}\r\n{end}content-length: {length}\r\n\r\n{shown}"
        );
        stream.write_all(answer.as_bytes()).await?;
        if request.last {
            return Ok(());
        }
    }
    Ok(())
}

/// What must be known of a request to answer it.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Bytes of the head.
    length: usize,
    /// Bytes of body behind it.
    body: u64,
    /// Whether it is HEAD.
    head_only: bool,
    /// Whether the connection ends with it.
    last: bool,
}

/// Reads to the end of the next head; none at the end of the connection.
async fn next_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some(request) = parse(buffer)? {
            buffer.drain(..request.length);
            return Ok(Some(request));
        }
        if buffer.len() > HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let value = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let body = value("content-length").and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok());
    let close = value("connection").is_some_and(|v| v.eq_ignore_ascii_case(b"close"));
    Ok(Some(Request {
        length,
        body: body.unwrap_or(0),
        head_only: head.method == Some("HEAD"),
        last: close || value("transfer-encoding").is_some(),
    }))
}

/// Reads past `left` bytes, those in the buffer first.
async fn skip(stream: &mut TcpStream, buffer: &mut Vec<u8>, mut left: u64) -> io::Result<()> {
    loop {
        let here = left.min(buffer.len() as u64);
        buffer.drain(..here as usize);
        left -= here;
        if left == 0 {
            return Ok(());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn heads() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\nho").unwrap(), None);
        let request = parse(b"HEAD / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").unwrap().unwrap();
        assert_eq!(request, Request { length: 38, body: 3, head_only: true, last: false });
        assert!(parse(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap().last);
        assert!(parse(b"\x00\r\n\r\n").is_err());
    }

    #[test]
    fn all_answer_and_count() {
        let upstreams = Upstreams::start().unwrap();
        for (port, name) in upstreams.ports.into_iter().zip(NAMES) {
            let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let first = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
            let second = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(format!("{first}{second}").as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text.matches(&format!("hello from {name}\n")).count(), 2, "{text}");
        }
        assert!(upstreams.served.iter().all(|count| count.load(Relaxed) == 2));
    }
}
