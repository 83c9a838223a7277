//! A scripted HTTP/1 or TCP upstream: one thread accepts, one thread serves each connection, every byte received is recorded.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Entry, Play, Received, Recorder, Step};
use crate::harness::wire::{End, Wire};

/// What the upstream does once its script is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answer each request with 200 and a body that is the upstream's name.
    Http,
    /// Echo bytes.
    Tcp,
}

/// A scripted upstream on a loopback port.
pub struct RawUpstream {
    /// The port it listens on.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    manner: Manner,
    script: Mutex<VecDeque<Play>>,
    connections: AtomicUsize,
    /// Sockets that are open, by a number of their own, so that a case's end can close them.
    open: Mutex<HashMap<usize, TcpStream>>,
    sockets: AtomicUsize,
    stopped: AtomicBool,
    recorder: Recorder,
}

impl RawUpstream {
    /// Starts an upstream that records to `recorder` under `name`.
    pub fn start(name: &'static str, manner: Manner, recorder: Recorder) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let shared = Arc::new(Shared {
            name,
            manner,
            script: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            sockets: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            recorder,
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let connection = serving.connections.fetch_add(1, Ordering::Relaxed) + 1;
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || Conversation::new(shared, stream, connection).run());
            }
        });
        Self { port, shared }
    }

    /// Replaces the script, closes what connections are left of the last one and starts counting anew.
    pub fn script(&self, plays: impl IntoIterator<Item = Play>) {
        for (_, stream) in self.shared.open_connections().drain() {
            stream.shutdown(Shutdown::Both).ok();
        }
        self.shared.connections.store(0, Ordering::Relaxed);
        *self.shared.lock() = plays.into_iter().collect();
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Play>> {
        self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn open_connections(&self) -> std::sync::MutexGuard<'_, HashMap<usize, TcpStream>> {
        self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next play, if it starts at the moment that `fits` says.
    fn next(&self, fits: impl Fn(&Play) -> bool) -> Option<Vec<Step>> {
        let mut script = self.lock();
        if !script.front().is_some_and(fits) {
            return None;
        }
        match script.pop_front()? {
            Play::AtAccept(steps) | Play::AtHead(steps) | Play::AfterRequest(steps) => Some(steps),
            Play::H2(_) => None,
        }
    }

    fn polite_answer(&self) -> Vec<u8> {
        let body = self.name;
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// One connection and where its entry in the record is.
struct Conversation {
    shared: Arc<Shared>,
    wire: Wire,
    connection: usize,
    socket: usize,
    entry: Option<Entry>,
}

/// Whether a connection goes on after a script.
type Alive = bool;

impl Conversation {
    fn new(shared: Arc<Shared>, stream: TcpStream, connection: usize) -> Self {
        let socket = shared.sockets.fetch_add(1, Ordering::Relaxed);
        if let Ok(clone) = stream.try_clone() {
            shared.open_connections().insert(socket, clone);
        }
        Self { shared, wire: Wire::new(stream, Duration::from_mins(1)), connection, socket, entry: None }
    }

    fn run(mut self) {
        let at_accept = self.shared.next(|play| matches!(play, Play::AtAccept(_)));
        if self.shared.manner == Manner::Tcp {
            self.open_entry(Received::default());
            self.perform(at_accept.unwrap_or_else(|| vec![Step::Echo]));
            self.close_entry();
            return;
        }
        if let Some(steps) = at_accept
            && !self.perform(steps)
        {
            return;
        }
        while self.request() {}
    }

    fn request(&mut self) -> Alive {
        let Ok(mut message) = self.wire.head() else { return false };
        self.open_entry(Received { message: message.clone(), ..Received::default() });
        if let Some(steps) = self.shared.next(|play| matches!(play, Play::AtHead(_))) {
            let alive = self.perform(steps);
            if alive {
                self.wire.body(&mut message, false, false);
            }
            return self.finish_request(message, alive);
        }
        self.wire.body(&mut message, false, false);
        if message.cut.is_some() {
            return self.finish_request(message, false);
        }
        let partial = message.clone();
        self.update(|received| received.message = partial);
        let scripted = self.shared.next(|play| matches!(play, Play::AfterRequest(_)));
        let alive = self.perform(scripted.unwrap_or_else(|| vec![Step::Send(self.shared.polite_answer())]));
        self.finish_request(message, alive)
    }

    fn finish_request(&mut self, message: crate::harness::wire::Message, alive: Alive) -> Alive {
        self.update(|received| received.message = message);
        self.close_entry();
        alive
    }

    fn perform(&mut self, steps: Vec<Step>) -> Alive {
        for step in steps {
            let alive = match step {
                Step::Send(bytes) => self.wire.stream.write_all(&bytes).is_ok(),
                Step::Receive(count) => self.receive(count),
                Step::ReceiveAll => self.receive_all(),
                Step::Echo => self.echo(),
                Step::Fin => self.wire.stream.shutdown(Shutdown::Write).is_ok(),
                Step::Wait(gate) => gate.wait(),
                Step::Reset => self.reset(),
                Step::Close => {
                    self.wire.stream.shutdown(Shutdown::Both).ok();
                    false
                }
                Step::Hang => {
                    self.wire.rest(&mut Vec::new());
                    false
                }
            };
            if !alive {
                return false;
            }
        }
        true
    }

    fn receive(&mut self, count: usize) -> Alive {
        let mut bytes = Vec::new();
        let alive = self.wire.exactly(count, &mut bytes).is_ok();
        self.update(|received| received.raw.append(&mut bytes));
        alive
    }

    fn receive_all(&mut self) -> Alive {
        let mut bytes = Vec::new();
        let end = self.wire.rest(&mut bytes);
        self.update(|received| {
            received.raw.append(&mut bytes);
            received.message.cut = Some(end);
        });
        end == End::Eof
    }

    fn echo(&mut self) -> Alive {
        loop {
            match self.wire.some() {
                Ok(bytes) => {
                    let copy = bytes.clone();
                    self.update(|received| received.raw.extend(copy));
                    if self.wire.stream.write_all(&bytes).is_err() {
                        return false;
                    }
                }
                Err(end) => {
                    self.update(|received| received.message.cut = Some(end));
                    return end == End::Eof;
                }
            }
        }
    }

    fn reset(&mut self) -> Alive {
        rustix::net::sockopt::set_socket_linger(&self.wire.stream, Some(Duration::ZERO)).ok();
        false
    }

    fn open_entry(&mut self, received: Received) {
        let received = Received { upstream: self.shared.name, connection: self.connection, ..received };
        self.entry = Some(self.shared.recorder.add(received));
    }

    fn update(&self, change: impl FnOnce(&mut Received)) {
        if let Some(entry) = self.entry {
            self.shared.recorder.update(entry, change);
        }
    }

    fn close_entry(&mut self) {
        self.update(|received| received.finished = true);
        self.entry = None;
    }
}

impl Drop for Conversation {
    /// Without the clone gone the socket would stay open, and a reset would not be sent.
    fn drop(&mut self) {
        self.shared.open_connections().remove(&self.socket);
        self.close_entry();
    }
}
