//! The upstream of a load: answers each request with its own name and the request's path, and counts connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What upstreams put in front of the path.
pub(super) const GREETING: &str = "load:";

/// An HTTP/1.1 upstream on a loopback port.
pub struct LoadUpstream {
    /// The port.
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl LoadUpstream {
    /// Starts one.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a loopback port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket));
            }
        });
        Self { port, accepted, runtime: Some(runtime) }
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for LoadUpstream {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Requests of a load have no body, so one ends where its head does.
async fn serve(mut socket: TcpStream) {
    socket.set_nodelay(true).ok();
    let (mut buffer, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let path = head.split(|&b| b == b' ').nth(1).unwrap_or_default();
            let path = String::from_utf8_lossy(path);
            let length = GREETING.len() + path.len();
            let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{GREETING}{path}");
            if socket.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
        match socket.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}
