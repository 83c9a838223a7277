//! Upstreams whose answers a test changes as it goes, and a proxy in front of them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::get;
use sampan_tests::harness::wire::Wire;
use sampan_tests::harness::{PATIENCE, poll};

/// An HTTP/1 upstream that answers every request with the status of the moment, and its own name as the body.
pub struct Backend {
    /// Where it listens.
    pub port: u16,
    state: Arc<State>,
}

struct State {
    name: String,
    /// The status of answers; for paths that begin with `/health` the other one.
    status: AtomicU16,
    health: AtomicU16,
    headers: Mutex<String>,
    /// Of answers to other requests.
    more: Mutex<String>,
    asked: Mutex<String>,
    connections: AtomicUsize,
    over: AtomicBool,
}

impl Backend {
    /// Starts one that is well.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            name: name.to_owned(),
            status: AtomicU16::new(200),
            health: AtomicU16::new(200),
            headers: Mutex::default(),
            more: Mutex::default(),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = shared.clone();
                shared.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { port, state }
    }

    /// Changes what it answers.
    pub fn answer(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    /// Changes what it answers to health checks.
    pub fn health(&self, status: u16) {
        self.state.health.store(status, Ordering::Relaxed);
    }

    /// Header lines of its answers to health checks, each with its end.
    pub fn health_headers(&self, lines: &str) {
        lines.clone_into(&mut self.state.headers.lock().unwrap());
    }

    /// Header lines of its answers to other requests.
    pub fn headers(&self, lines: &str) {
        lines.clone_into(&mut self.state.more.lock().unwrap());
    }

    /// The head of the last health check.
    pub fn asked(&self) -> String {
        self.state.asked.lock().unwrap().clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn serve(mut stream: TcpStream, state: &State) {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            let of_health =
                head.split(|byte| *byte == b' ').nth(1).is_some_and(|path| path.starts_with(b"/health"));
            let status = if of_health { &state.health } else { &state.status }.load(Ordering::Relaxed);
            let (length, name) = (state.name.len(), &state.name);
            let lines = if of_health { &state.headers } else { &state.more };
            let more = lines.lock().unwrap().clone();
            if of_health {
                *state.asked.lock().unwrap() = String::from_utf8_lossy(&head).into_owned();
            }
            let answer = format!("HTTP/1.1 {status} X\r\n{more}content-length: {length}\r\n\r\n{name}");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&chunk[..count]),
        }
    }
}

/// A proxy whose listener `http` leads to the cluster `c`.
pub struct Proxy {
    /// The process.
    pub process: Process,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// Starts one: `fields` are the cluster's own, `endpoints` its list of localities.
    pub fn start(program: Program, fields: &str, endpoints: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = format!(
            "- name: c\n  connect_timeout: 1s\n  type: STATIC\n  {fields}\n  load_assignment: {{cluster_name: c, endpoints: [{endpoints}]}}\n"
        );
        let bootstrap = Bootstrap::default().clusters(&cluster).http(
            "http",
            "",
            "- {match: {prefix: /}, route: {cluster: c}}",
        );
        let config = bootstrap.render(&[], &dir.path().join("access.log").to_string_lossy());
        Self { process: Process::start(program, &config, dir.path(), &[]), _dir: dir }
    }

    /// Status and body of a GET.
    pub fn get(&self) -> (u16, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.process.port("http"))).unwrap();
        let message = get(&mut Wire::new(stream, PATIENCE), "/").unwrap();
        (message.status(), String::from_utf8_lossy(&message.body).into_owned())
    }

    /// The flags of the host at a port.
    pub fn flags(&self, port: u16) -> String {
        let (_, text) = self.process.admin("GET", "/clusters");
        let start = format!("c::127.0.0.1:{port}::health_flags::");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
    }

    /// Waits until the flags of a host are these.
    pub fn await_flags(&self, port: u16, flags: &str) {
        let told = poll(PATIENCE, || (self.flags(port) == flags).then_some(()));
        assert!(told.is_some(), "{flags} wanted, not {}:\n{}", self.flags(port), self.process.stderr());
    }

    /// Waits until a stat has a value.
    pub fn await_stat(&self, name: &str, value: u64) {
        let full = format!("cluster.c.{name}");
        let told = poll(PATIENCE, || (self.process.stat(&full) == Some(value)).then_some(()));
        assert!(told.is_some(), "{full}: {value} wanted, not {:?}", self.process.stat(&full));
    }

    /// The stats of the cluster with this in their names that are not zero.
    pub fn stats(&self, part: &str) -> BTreeMap<String, u64> {
        self.process.stats(&format!("cluster.c.{part}")).into_iter().filter(|(_, value)| *value > 0).collect()
    }

    /// Bodies of as many requests, one after the other.
    pub fn bodies(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.get().1).collect()
    }
}

/// An endpoint with more fields, and a comma.
pub fn endpoint(port: u16, more: &str) -> String {
    format!(
        "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}{more}}}}}, "
    )
}

/// A locality of one priority with hosts at these ports.
pub fn locality(priority: u32, ports: &[u16]) -> String {
    let mut hosts = String::new();
    for port in ports {
        hosts += &endpoint(*port, "");
    }
    format!("{{priority: {priority}, lb_endpoints: [{hosts}]}}")
}
