//! A light, constant load on the demo's proxy: a few connections, one request at a time on each, at a fixed pace.
//!
//! Nothing is retried, so that nothing is hidden: a request that is not answered by 200 is lost. A connection that the proxy
//! closed while it was idle is replaced before the next request goes out.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections.
const CONNECTIONS: u32 = 4;
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
    /// Requests that went out.
    pub(super) sent: u64,
    /// Requests that had no answer, or none with status 200.
    pub(super) lost: u64,
    /// Why the first of them was lost.
    pub(super) why: Option<String>,
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

    /// Starts to send, on a thread for each connection.
    pub(super) fn start(&self) -> io::Result<Vec<JoinHandle<()>>> {
        let Some(pause) = Duration::from_secs(CONNECTIONS.into()).checked_div(self.rate) else {
            return Ok(Vec::new());
        };
        let begin = |index: u32| {
            let (load, first) = (self.clone(), Instant::now() + pause * index / CONNECTIONS);
            let thread = std::thread::Builder::new().name(format!("demo_load{index}"));
            thread.spawn(move || load.run(first, pause))
        };
        (0..CONNECTIONS).map(begin).collect()
    }

    /// Sends requests until it is told to stop, or the proxy takes no more connections.
    fn run(&self, first: Instant, pause: Duration) {
        let (mut connection, mut next) = (None, first);
        loop {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if self.stop.load(Relaxed) || !self.request(&mut connection) {
                return;
            }
            // Time that was lost is not made up for: a burst is no constant load.
            next = (next + pause).max(Instant::now());
        }
    }

    /// One request; false if the proxy is gone.
    fn request(&self, connection: &mut Option<BufReader<TcpStream>>) -> bool {
        let begun = Instant::now();
        let idle = connection.take().filter(|idle| is_open(idle.get_ref()));
        let opened = idle.map_or_else(|| connect(self.address).map(BufReader::new), Ok);
        let outcome = opened.and_then(|mut opened| {
            let keep = exchange(&mut opened)?;
            *connection = keep.then_some(opened);
            Ok(begun.elapsed())
        });
        // A proxy that listens no more has ended: what it cut is no failure of its own.
        let is_gone = outcome.is_err()
            && connect(self.address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !is_gone {
            self.note(outcome);
        }
        !is_gone
    }

    fn note(&self, outcome: io::Result<Duration>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sent += 1;
        match outcome {
            Ok(latency) if seen.latencies.len() < KEPT => seen.latencies.push(latency),
            Ok(_) => {}
            Err(error) => {
                seen.lost += 1;
                seen.why.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Whether an idle connection can be used: nothing came on it, and not its end either.
fn is_open(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
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
        let answer = if line.is_empty() { "the connection was closed" } else { line.trim_end() };
        return Err(io::Error::new(io::ErrorKind::InvalidData, answer.to_owned()));
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
    use std::net::TcpListener;

    use super::super::upstream::Upstreams;
    use super::*;

    #[test]
    fn it_measures_what_is_answered_and_ends_with_the_proxy() {
        let upstreams = Upstreams::start().unwrap();
        let load = Load::new(upstreams.ports[0], 5000, Arc::default());
        let mut connection = None;
        for _ in 0..3 {
            assert!(load.request(&mut connection));
        }
        assert!(connection.is_some(), "the connection is kept");
        let seen = load.take();
        assert_eq!((seen.latencies.len(), seen.sent, seen.lost), (3, 3, 0));
        assert_eq!(upstreams.served[0].load(Relaxed), 3);

        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let load = Load::new(gone, 5000, Arc::default());
        for thread in load.start().unwrap() {
            thread.join().unwrap();
        }
        assert_eq!(load.take().sent, 0);
    }

    #[test]
    fn a_connection_that_is_cut_is_a_request_lost_and_an_idle_one_is_replaced() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let load = Load::new(listener.local_addr().unwrap().port(), 1, Arc::default());
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            let (mut first, _) = listener.accept().unwrap();
            let _ = first.read(&mut buffer).unwrap();
            drop(first);
            // The look whether anybody still listens.
            drop(listener.accept().unwrap());
            let (mut second, _) = listener.accept().unwrap();
            let _ = second.read(&mut buffer).unwrap();
            second.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
            drop(listener.accept().unwrap());
        });
        let mut connection = None;
        assert!(load.request(&mut connection) && connection.is_none());
        assert!(load.request(&mut connection));
        server.join().unwrap();
        let seen = load.take();
        assert_eq!((seen.sent, seen.lost, seen.why.as_deref()), (2, 2, Some("the connection was closed")));
    }
}
