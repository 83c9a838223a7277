//! A light, constant load on the demo's proxy: one thread, one connection, one request at a time, at a fixed pace.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest response head that is read, in bytes.
const HEAD: u64 = 64 * 1024;
/// The longest response body that is read, in bytes.
const BODY: u64 = 1024 * 1024;
/// The most latencies that are kept until they are taken.
const KEPT: usize = 100_000;

/// What the load saw since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How long each answered request took.
    pub(super) latencies: Vec<Duration>,
    /// Requests that had no answer, or none with status 200.
    pub(super) failed: u64,
}

/// The load. Clones share what was seen.
#[derive(Clone)]
pub(super) struct Load {
    address: SocketAddr,
    rate: u32,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

impl Load {
    /// A load of `rate` requests per second on a port of this machine, until `stop` is set.
    pub(super) fn new(port: u16, rate: u32, stop: Arc<AtomicBool>) -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), rate, stop, seen: Arc::default() }
    }

    /// The rate, in requests per second.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends requests until it is told to stop, or the proxy takes no more connections.
    pub(super) fn run(&self) {
        let Some(pause) = Duration::from_secs(1).checked_div(self.rate) else { return };
        let mut connection = None;
        let mut next = Instant::now();
        while !self.stop.load(Relaxed) {
            let Some(outcome) = self.request(&mut connection) else { return };
            self.note(outcome);
            // Time that was lost is not made up for: a burst is no constant load.
            next = (next + pause).max(Instant::now());
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// One request; none if the proxy is gone. An idle connection that was closed meanwhile is replaced once.
    fn request(&self, connection: &mut Option<BufReader<TcpStream>>) -> Option<io::Result<Duration>> {
        let begun = Instant::now();
        if let Some(mut idle) = connection.take()
            && let Ok(keep) = exchange(&mut idle)
        {
            *connection = keep.then_some(idle);
            return Some(Ok(begun.elapsed()));
        }
        let stream = match connect(self.address) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return None,
            Err(error) => return Some(Err(error)),
        };
        let mut fresh = BufReader::new(stream);
        Some(exchange(&mut fresh).map(|keep| {
            *connection = keep.then_some(fresh);
            begun.elapsed()
        }))
    }

    fn note(&self, outcome: io::Result<Duration>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(latency) if seen.latencies.len() < KEPT => seen.latencies.push(latency),
            Ok(_) => {}
            // A connection that was refused or cut while the demo ends is no failure of a request.
            Err(_) if self.stop.load(Relaxed) => {}
            Err(_) => seen.failed += 1,
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one request and reads its response; whether the connection may be used again.
fn exchange(connection: &mut BufReader<TcpStream>) -> io::Result<bool> {
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: demo\r\nuser-agent: sampan-demo\r\n\r\n")?;
    let mut head = connection.by_ref().take(HEAD);
    let (mut line, mut length, mut keep) = (String::new(), 0, true);
    head.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, line));
    }
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0).min(BODY),
            "connection" => keep = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let read = io::copy(&mut connection.by_ref().take(length), &mut io::sink())?;
    if read == length { Ok(keep) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::upstream::Upstreams;
    use super::*;

    #[test]
    fn it_measures_what_is_answered_and_ends_with_the_proxy() {
        let upstreams = Upstreams::start().unwrap();
        let load = Load::new(upstreams.ports[0], 5000, Arc::default());
        let mut connection = None;
        for _ in 0..3 {
            load.note(load.request(&mut connection).unwrap());
        }
        assert!(connection.is_some(), "the connection is kept");
        let seen = load.take();
        assert_eq!((seen.latencies.len(), seen.failed), (3, 0));
        assert_eq!(upstreams.served[0].load(Relaxed), 3);

        let gone =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let load = Load::new(gone, 5000, Arc::default());
        load.run();
        assert_eq!(load.take().failed, 0);
    }
}
