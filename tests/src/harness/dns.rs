//! A DNS server on a loopback UDP port whose answers depend on the name asked for, and on how often it was.
//!
//! | name | A record |
//! |---|---|
//! | `good.…` | 127.0.0.1 |
//! | `missing.…` | NXDOMAIN |
//! | `empty.…` | no record, no error |
//! | `failing.…` | SERVFAIL |
//! | `late-missing.…`, `late-empty.…`, `late-failing.…` | 127.0.0.1 at first, then as above |
//! | `recovering.…` | SERVFAIL at first, then 127.0.0.1 |
//!
//! AAAA questions are answered with no record.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::poll;

/// How many A questions a name that changes answers in its first way.
const AT_FIRST: usize = 2;

/// The server; it stops when this is dropped.
pub struct DnsServer {
    /// The UDP port.
    pub port: u16,
    asked: Arc<Mutex<HashMap<String, usize>>>,
    stopped: Arc<AtomicBool>,
}

impl DnsServer {
    /// Starts a server.
    pub fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let server = Self { port, asked: Arc::default(), stopped: Arc::default() };
        let (asked, stopped) = (Arc::clone(&server.asked), Arc::clone(&server.stopped));
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(answer) = answer(&packet[..length], &asked) {
                    socket.send_to(&answer, client).ok();
                }
            }
        });
        server
    }

    /// Waits until the A record of `name` has been asked for so often.
    pub fn await_asked(&self, name: &str, count: usize, limit: Duration) -> bool {
        let enough = || (lock(&self.asked).get(name).copied().unwrap_or_default() >= count).then_some(());
        poll(limit, enough).is_some()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) {
            socket.send_to(&[], ("127.0.0.1", self.port)).ok();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Address,
    Nothing,
    NoSuchName,
    Failure,
}

fn kind_of(name: &str, times: usize) -> Kind {
    let early = times <= AT_FIRST;
    match name.split('.').next().unwrap_or_default() {
        "good" => Kind::Address,
        "late-missing" | "late-empty" | "late-failing" if early => Kind::Address,
        "recovering" if early => Kind::Failure,
        "recovering" => Kind::Address,
        "failing" | "late-failing" => Kind::Failure,
        "empty" | "late-empty" => Kind::Nothing,
        _ => Kind::NoSuchName,
    }
}

fn answer(question: &[u8], asked: &Mutex<HashMap<String, usize>>) -> Option<Vec<u8>> {
    let (name, end) = name_at(question, 12)?;
    let kind_asked = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let kind = if kind_asked == 1 {
        let mut asked = lock(asked);
        let times = asked.entry(name.clone()).or_default();
        *times += 1;
        kind_of(&name, *times)
    } else {
        // Only the A record decides whether a name exists at all.
        match kind_of(&name, usize::MAX) {
            Kind::NoSuchName if !name.starts_with("late") => Kind::NoSuchName,
            _ => Kind::Nothing,
        }
    };
    let code = match kind {
        Kind::Failure => 2,
        Kind::NoSuchName => 3,
        Kind::Address | Kind::Nothing => 0,
    };
    let answers = u8::from(kind == Kind::Address);
    let mut reply = question[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(&question[12..end + 4]);
    if answers == 1 {
        // A pointer to the question's name; type A, class IN, a TTL of one second, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}

/// The name that starts at `at`, in lower case, and where it ends.
fn name_at(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}
