//! One HTTP/1.1 client of a load: a connection that stays open as long as the proxy lets it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::upstream::GREETING;
use super::{LIMIT, Shared, stagger};

/// How a request went wrong.
enum Failure {
    /// The connection was closed before a single byte of the answer.
    Closed,
    Other(String),
}

pub(super) async fn client(
    shared: Arc<Shared>,
    port: u16,
    pace: Duration,
    number: usize,
    paths: &'static [&'static str],
) {
    sleep(stagger(pace, number)).await;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection: Option<TcpStream> = None;
    let mut count = 0_usize;
    while !shared.stopped() {
        ticks.tick().await;
        let path = format!("/{}/{number}-{count}", paths[(number + count) % paths.len()]);
        count += 1;
        let (phase, began) = (shared.current(), Instant::now());
        let mut reused = connection.is_some();
        loop {
            match timeout(LIMIT, request(&mut connection, port, &path)).await {
                Ok(Ok(keep)) => {
                    shared.answered(phase, began.elapsed());
                    if !keep {
                        connection = None;
                        shared.note(|figures| figures.drained += 1);
                    }
                    break;
                }
                Ok(Err(Failure::Closed)) if reused => {
                    reused = false;
                    connection = None;
                    shared.note(|figures| {
                        figures.raced += 1;
                        figures.drained += 1;
                    });
                }
                Ok(Err(failure)) => {
                    connection = None;
                    let why = match failure {
                        Failure::Closed => "closed without an answer".to_owned(),
                        Failure::Other(why) => why,
                    };
                    shared.lost(format!("HTTP/1.1 {path}: {why}"));
                    break;
                }
                Err(_) => {
                    connection = None;
                    shared.lost(format!("HTTP/1.1 {path}: no answer within {LIMIT:?}"));
                    break;
                }
            }
        }
    }
}

/// One exchange; whether the connection stays.
async fn request(connection: &mut Option<TcpStream>, port: u16, path: &str) -> Result<bool, Failure> {
    let socket = if let Some(socket) = connection {
        socket
    } else {
        let opened = TcpStream::connect(("127.0.0.1", port)).await;
        let socket = opened.map_err(|e| Failure::Other(format!("cannot connect: {e}")))?;
        socket.set_nodelay(true).ok();
        connection.insert(socket)
    };
    let head = format!("GET {path} HTTP/1.1\r\nhost: load\r\n\r\n");
    socket.write_all(head.as_bytes()).await.map_err(|_| Failure::Closed)?;
    let mut bytes = Vec::with_capacity(512);
    let mut chunk = [0; 2048];
    loop {
        let count = socket.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            let why = format!("cut after {} bytes", bytes.len());
            return Err(if bytes.is_empty() { Failure::Closed } else { Failure::Other(why) });
        }
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let Some(length) = length.and_then(|text| text.trim().parse::<usize>().ok()) else {
            return Err(Failure::Other(format!("an answer without a length: {head}")));
        };
        let body = &bytes[end + 4..];
        if body.len() < length {
            continue;
        }
        if !head.starts_with("http/1.1 200") || body != format!("{GREETING}{path}").as_bytes() {
            let body = String::from_utf8_lossy(body);
            return Err(Failure::Other(format!("the wrong answer: {head} {body}")));
        }
        return Ok(!head.lines().any(|line| line.replace(' ', "") == "connection:close"));
    }
}
