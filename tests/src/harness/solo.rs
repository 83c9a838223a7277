//! One proxy in front of one upstream, for tests of the process itself: start-up, signals, draining, logs, admin.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::PATIENCE;
use super::bootstrap::Bootstrap;
use super::process::{Process, Program};
use super::upstream::Recorder;
use super::upstream::h1::{Manner, RawUpstream};
use super::upstream::refused::Refused;
use super::wire::{Message, Wire};

/// A proxy with a listener `http` and a listener `tcp`, both to one upstream each.
pub struct Solo {
    /// The proxy.
    pub process: Process,
    /// The HTTP/1 upstream behind the listener `http`.
    pub upstream: RawUpstream,
    /// What the upstreams received.
    pub recorder: Recorder,
    dir: tempfile::TempDir,
    _tcp: RawUpstream,
    _refused: Refused,
}

impl Solo {
    /// Starts the program with more arguments than the usual ones.
    pub fn start(program: Program, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let recorder = Recorder::default();
        let upstream = RawUpstream::start("a", Manner::Http, recorder.clone());
        let tcp = RawUpstream::start("tcp", Manner::Tcp, recorder.clone());
        let refused = Refused::new();
        let bootstrap = Bootstrap::default()
            .cluster("a", "a", "")
            .cluster("tcp", "tcp", "")
            .cluster("refused", "refused", "")
            .http(
                "http",
                "",
                "- {match: {prefix: /refused}, route: {cluster: refused}}\n\
                 - {match: {prefix: /direct}, direct_response: {status: 418}}\n\
                 - {match: {prefix: /by-header}, route: {cluster_header: x-cluster}}\n\
                 - {match: {prefix: /, headers: [{name: x-nothing, present_match: false}]}, route: {cluster: a}}",
            )
            .tcp("tcp", "cluster: tcp");
        let ports = [("a", upstream.port), ("tcp", tcp.port), ("refused", refused.port)];
        let log = dir.path().join("access.log");
        let config = bootstrap.render(&ports, &log.to_string_lossy());
        let process = Process::start(program, &config, dir.path(), arguments);
        Self { process, upstream, recorder, dir, _tcp: tcp, _refused: refused }
    }

    /// Where the proxy's files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The access log.
    pub fn access_log(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }

    /// A connection to the listener `http`; none if it is refused.
    pub fn connect(&self) -> Option<Wire> {
        connect(self.process.port("http"))
    }
}

/// A connection to a port; none if it is refused.
pub fn connect(port: u16) -> Option<Wire> {
    TcpStream::connect(("127.0.0.1", port)).ok().map(|stream| Wire::new(stream, PATIENCE))
}

/// One GET on a connection; none if no complete response comes.
pub fn get(wire: &mut Wire, path: &str) -> Option<Message> {
    wire.stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).ok()?;
    let mut message = wire.head().ok()?;
    wire.body(&mut message, true, false);
    message.cut.is_none().then_some(message)
}
