//! The binary as a launcher sees it: exit codes, texts, the admin address file, signals.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(20);

fn sampan() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sampan"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = sampan().args(arguments).output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

/// A running server; killed when the test ends.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config =
            r#"{"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}"#;
        let child = sampan()
            .args([
                "--config-yaml",
                config,
                "--admin-address-path",
                &path("admin"),
                "--log-path",
                &path("log"),
            ])
            .args(extra)
            .spawn()
            .expect("the binary starts");
        Self { child, folder }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn admin(&self, method: &str, target: &str) -> String {
        let address = until("the admin address", || Some(self.file("admin")).filter(|a| !a.is_empty()));
        let mut stream = TcpStream::connect(address).expect("the admin server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        write!(stream, "{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        reply
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a pid");
        kill_process(pid, signal).expect("the process is there");
    }

    fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the exit", || child.try_wait().expect("a child"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn version_help_and_mistakes() {
    let (code, out, _) = output(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with(&format!("\n{}  version: ", env!("CARGO_BIN_EXE_sampan"))), "{out}");
    let (code, out, _) = output(&["-h"]);
    assert!(code == Some(0) && out.starts_with("\nUSAGE: \n"), "{out}");
    let (code, out, err) = output(&["-l", "info", "-l", "debug"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with(
        "PARSE ERROR: Argument: -l (--log-level)\n             Argument already set!\n\nBrief USAGE: \n"
    ));
    let (code, _, err) = output(&["--mode", "foo"]);
    assert_eq!((code, err.as_str()), (Some(1), "error: unknown mode 'foo'\n"));
    let (code, _, err) = output(&["-c", "x", "--log-path", "/nonexistent/log"]);
    assert!(code == Some(1) && err.starts_with("Failed to open log-file '/nonexistent/log'."), "{err}");
}

#[test]
fn admin_headers_and_a_port_of_the_kernels_choice() {
    let server = Server::start(&[]);
    let reply = server.admin("GET", "/ready");
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nLIVE\n"), "{reply}");
    for header in [
        "content-type: text/plain; charset=UTF-8\r\n",
        "cache-control: no-cache, max-age=0\r\n",
        "x-content-type-options: nosniff\r\n",
        "server: envoy\r\n",
        "date: ",
    ] {
        assert!(reply.contains(header), "{header} in {reply}");
    }
    assert!(server.admin("GET", "/quitquitquit").ends_with("Method GET not allowed, POST required."));
    let reply = server.admin("HEAD", "/server_info");
    assert!(reply.contains("content-type: application/json\r\n") && reply.ends_with("\r\n\r\n"), "{reply}");
}

#[test]
fn sigterm_drains_and_exits_with_success() {
    let mut server = Server::start(&["--drain-time-s", "5"]);
    server.admin("GET", "/ready");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let log = server.file("log");
    assert!(log.contains("][warning][main] [proxy/src/process/signals.rs:"), "{log}");
    assert!(log.contains("] caught SIGTERM\n") && log.ends_with("] exiting\n"), "{log}");
}

#[test]
fn quitquitquit_exits_with_success() {
    let mut server = Server::start(&["-l", "error"]);
    assert!(server.admin("POST", "/quitquitquit").ends_with("\r\n\r\nOK\n"));
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.file("log"), "");
}

#[test]
fn sighup_opens_the_log_anew() {
    let server = Server::start(&["--log-format", "%v"]);
    server.admin("GET", "/ready");
    let moved = |name: &str| server.folder.path().join(name);
    fs::rename(moved("log"), moved("old")).expect("a rename");
    server.signal(Signal::HUP);
    until("the new log", || Path::exists(&moved("log")).then_some(()));
    assert!(server.admin("POST", "/logging?level=debug").contains("\n  main: debug\n"));
    until("a line", || server.file("log").contains("change all log levels: level='debug'").then_some(()));
}
