//! A real proxy process on ports of the kernel's choice: started, found ready through its admin API, and killed on drop.
//!
//! Envoy and Sampan are started with the same command line, which is itself part of what is tested.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, binaries, poll};

/// Which program a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The oracle.
    Envoy,
    /// Ours.
    Sampan,
}

impl Program {
    /// Where its executable is.
    pub fn path(self) -> PathBuf {
        match self {
            Self::Envoy => binaries::envoy(),
            Self::Sampan => binaries::sampan(),
        }
    }
}

/// A running proxy. Dropping it kills the process.
pub struct Process {
    child: Child,
    /// The admin API's address.
    pub admin: SocketAddr,
    /// Listener name to the port the kernel gave it.
    pub ports: HashMap<String, u16>,
    stderr: PathBuf,
}

impl Process {
    /// Starts `program` on `config` (YAML text) with its files in `dir` and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready in time; the message quotes what the process printed.
    pub fn start(program: Program, config: &str, dir: &Path, extra_args: &[&str]) -> Self {
        Self::start_command(Command::new(executable(program)), program, config, dir, extra_args)
    }

    /// As [`Self::start`], with a limit of open files, which the program cannot raise.
    pub fn start_limited(files: u32, program: Program, config: &str, dir: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\"")).arg(executable(program));
        Self::start_command(shell, program, config, dir, &[])
    }

    fn start_command(
        command: Command,
        program: Program,
        config: &str,
        dir: &Path,
        extra_args: &[&str],
    ) -> Self {
        let mut process = Self::launch_command(command, program, config, dir, extra_args);
        process.await_ready(program);
        process.ports = process.listener_ports();
        process
    }

    /// Starts `program` in `dir` and waits for no more than its admin API: a proxy whose configuration does not come is not ready.
    ///
    /// # Panics
    /// When it does not come up; the message quotes what the process printed.
    pub fn launch(program: Program, config: &str, dir: &Path, extra_args: &[&str]) -> Self {
        Self::launch_command(Command::new(executable(program)), program, config, dir, extra_args)
    }

    fn launch_command(
        mut command: Command,
        program: Program,
        config: &str,
        dir: &Path,
        extra_args: &[&str],
    ) -> Self {
        let config_file = dir.join("bootstrap.yaml");
        std::fs::write(&config_file, config).expect("the test directory is writable");
        let address_file = dir.join("admin.address");
        // One that an earlier process in the same place wrote would be taken for this one's.
        std::fs::remove_file(&address_file).ok();
        let stderr = dir.join("stderr.log");
        let unless_given = |defaults: [&'static str; 2]| {
            if extra_args.contains(&defaults[0]) { Vec::new() } else { defaults.to_vec() }
        };
        let child = command
            .arg("-c")
            .arg(&config_file)
            .arg("--admin-address-path")
            .arg(&address_file)
            .args(["--disable-hot-restart", "--file-flush-interval-msec", "10"])
            .args(unless_given(["--concurrency", "1"]))
            .args(unless_given(["-l", "warning"]))
            .args(unless_given(["--drain-time-s", "1"]))
            .args(extra_args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.join("stdout.log")).expect("a log file"))
            .stderr(std::fs::File::create(&stderr).expect("a log file"))
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.path().display()));
        let mut process = Self { child, admin: ([127, 0, 0, 1], 0).into(), ports: HashMap::new(), stderr };
        process.admin = process.await_address(program, &address_file);
        process
    }

    /// The port of the listener called `name`.
    pub fn port(&self, name: &str) -> u16 {
        *self.ports.get(name).unwrap_or_else(|| panic!("no listener {name:?} among {:?}", self.ports))
    }

    /// The port of a listener that may not be there yet, or has changed; none if it does not come in time.
    pub fn await_port(&self, name: &str, limit: Duration) -> Option<u16> {
        poll(limit, || self.try_listener_ports()?.get(name).copied())
    }

    /// The value of a counter or gauge; none if there is none of that name (yet).
    pub fn stat(&self, name: &str) -> Option<u64> {
        self.stats(name).get(name).copied()
    }

    /// The counters and gauges whose names contain the text, which must need no escaping in a URL.
    pub fn stats(&self, text: &str) -> HashMap<String, u64> {
        let (_, body) = self.admin("GET", &format!("/stats?filter={text}"));
        let pairs = body.lines().filter_map(|line| line.rsplit_once(": "));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
    }

    /// The names of the histograms whose names contain the text, which must need no escaping in a URL.
    pub fn histograms(&self, text: &str) -> Vec<String> {
        let (_, body) = self.admin("GET", &format!("/stats?filter={text}&type=Histograms"));
        body.lines().filter_map(|line| Some(line.rsplit_once(": ")?.0.to_owned())).collect()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The part of it that is in no file, in KiB.
    pub fn anonymous_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by number, through the process id alone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).ok();
    }

    /// Waits for the process to end by itself.
    pub fn await_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        poll(limit, || self.child.try_wait().ok().flatten())
    }

    /// What the process wrote to its standard error; the beginning of the first and the last lines.
    pub fn stderr(&self) -> String {
        let text = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        let start = |line: &str| line.chars().take(600).chain(['\n']).collect::<String>();
        let lines: Vec<&str> = text.lines().collect();
        let (first, last) = lines.split_at(lines.len().min(10));
        let shown = first.iter().chain(last.iter().skip(last.len().saturating_sub(10)));
        shown.copied().map(start).collect()
    }

    /// One admin request; the status and the body.
    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        call(self.admin, method, path).unwrap_or_default()
    }

    fn await_address(&mut self, program: Program, file: &Path) -> SocketAddr {
        poll(PATIENCE, || {
            self.assert_alive(program);
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        })
        .unwrap_or_else(|| panic!("{program:?} wrote no admin address:\n{}", self.stderr()))
    }

    fn await_ready(&mut self, program: Program) {
        poll(PATIENCE, || {
            self.assert_alive(program);
            let (status, body) = call(self.admin, "GET", "/ready")?;
            (status == 200 && body.trim() == "LIVE").then_some(())
        })
        .unwrap_or_else(|| panic!("{program:?} did not become ready:\n{}", self.stderr()));
    }

    fn assert_alive(&mut self, program: Program) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{program:?} ended at start-up ({status}):\n{}", self.stderr());
        }
    }

    fn listener_ports(&self) -> HashMap<String, u16> {
        self.try_listener_ports().unwrap_or_else(|| panic!("no /listeners:\n{}", self.stderr()))
    }

    /// None while the admin API does not answer, as when a proxy is busy with its configuration.
    fn try_listener_ports(&self) -> Option<HashMap<String, u16>> {
        let (_, body) = self.admin("GET", "/listeners?format=json");
        let document: Value = serde_json::from_str(&body).ok()?;
        let statuses = document["listener_statuses"].as_array().cloned().unwrap_or_default();
        let ports = statuses.iter().filter_map(|status| {
            let port = status["local_address"]["socket_address"]["port_value"].as_u64()?;
            Some((status["name"].as_str()?.to_owned(), u16::try_from(port).ok()?))
        });
        Some(ports.collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Where the program is, whatever folder it is started in.
fn executable(program: Program) -> PathBuf {
    let path = program.path();
    path.canonicalize().unwrap_or(path)
}

/// One request to an admin API on `address`; the status and the body.
pub fn call(address: SocketAddr, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut wire = super::wire::Wire::new(stream.try_clone().ok()?, PATIENCE);
    let mut reply = wire.head().ok()?;
    wire.body(&mut reply, true, method == "HEAD");
    drain(&mut stream);
    Some((reply.status(), String::from_utf8_lossy(&reply.body).into_owned()))
}

/// Reads to the end, so that closing does not reset a connection the peer is still writing to.
fn drain(stream: &mut TcpStream) {
    let mut sink = Vec::new();
    stream.set_read_timeout(Some(Duration::from_millis(200))).ok();
    stream.read_to_end(&mut sink).ok();
}
