//! A proxy under test: started on its core, watched until it serves, ended with all its children.

use crate::affinity::{Cores, pin};
use crate::binaries::ProxyKind;
use crate::config::{self, Job, Setup};
use crate::procfs::Memory;
use crate::{interrupt, procfs};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a proxy may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a proxy may take to end by itself; draining is not waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Where ports to listen on come from; the kernel's own range begins at 32768 by default.
const PORTS: Range<u16> = 20_000..32_000;
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(2);

/// Why a proxy has no figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// The proxy cannot do this job at all.
    Unsupported(String),
    /// It should, but was not found or did not start.
    Unavailable(String),
}

/// A running proxy. Dropping it ends the process tree.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    log: PathBuf,
    /// The proxy it sends to, where the two are measured as one.
    behind: Option<Box<Proxy>>,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to the first answer (HTTP/1.1) or accepted connection (all else).
    pub started_in: Duration,
}

impl Proxy {
    /// Starts `kind` for `setup.job` on the proxy core and waits until it serves.
    pub fn start(kind: ProxyKind, setup: &Setup, cores: &Cores) -> Result<Self, Absent> {
        let text = config::render(kind, setup).map_err(Absent::Unsupported)?;
        let unavailable = |error: anyhow::Error| Absent::Unavailable(format!("{error:#}"));
        let binary = kind.locate().map_err(unavailable)?;
        Self::spawn(kind, &binary, &text, setup, cores).map_err(unavailable)
    }

    fn spawn(kind: ProxyKind, binary: &Path, text: &str, setup: &Setup, cores: &Cores) -> Result<Self> {
        fs::create_dir_all(setup.dir)?;
        let extension = if matches!(kind, ProxyKind::Sampan | ProxyKind::Envoy) { "yaml" } else { "cfg" };
        let config = setup.dir.join(format!("config.{extension}"));
        fs::write(&config, text)?;
        let log = setup.dir.join("process.log");
        let output = File::create(&log)?;
        let mut command = kind.command(binary, &config);
        command.stdin(std::process::Stdio::null()).stdout(output.try_clone()?).stderr(output);
        pin(&[cores.proxy])?;
        let started = Instant::now();
        let child = command.spawn();
        pin(&cores.load)?;
        let child = child.with_context(|| format!("starting {}", binary.display()))?;
        interrupt::started(child.id());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, setup.listen));
        let mut proxy = Self { child, log, behind: None, address, started_in: Duration::ZERO };
        proxy.wait_until_serving(setup.job, started)?;
        proxy.started_in = started.elapsed();
        Ok(proxy)
    }

    /// Makes one of two: what the other uses is counted here from now on, and it ends with this one.
    pub fn in_front_of(mut self, other: Self) -> Self {
        self.behind = Some(Box::new(other));
        self
    }

    /// The process id of the tree's root.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its processes so far.
    pub fn cpu_time(&self) -> Duration {
        procfs::cpu_time(self.pid()) + self.behind.as_ref().map_or(Duration::ZERO, |other| other.cpu_time())
    }

    /// Memory of all its processes now.
    pub fn memory(&self) -> Memory {
        let other = self.behind.as_ref().map_or_else(Memory::default, |other| other.memory());
        let own = procfs::memory(self.pid());
        Memory { rss_kib: own.rss_kib + other.rss_kib, pss_kib: own.pss_kib + other.pss_kib }
    }

    fn wait_until_serving(&mut self, job: Job, started: Instant) -> Result<()> {
        loop {
            let served = match job {
                Job::Http1 | Job::FilterChain | Job::MutualTlsPair => responds(self.address, "bench.example"),
                Job::ManyClusters(count) => responds(self.address, &format!("c{}.example", count - 1)),
                Job::Http2 | Job::Http2ToHttp1 | Job::Tcp | Job::MutualTlsServer => {
                    TcpStream::connect(self.address).is_ok()
                }
            };
            if served {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("failed to start ({status}): {}", self.last_words());
            }
            if started.elapsed() > START_TIMEOUT {
                bail!("not serving after {} s: {}", START_TIMEOUT.as_secs(), self.last_words());
            }
            std::thread::sleep(POLL);
        }
    }

    /// The end of what the process has printed, on one line.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(3)..].join(" | ");
        if tail.is_empty() { "it printed nothing".into() } else { tail.chars().take(400).collect() }
    }
}

impl Drop for Proxy {
    /// Asks first, so that a master takes its workers along; what is left then is killed.
    fn drop(&mut self) {
        interrupt::ended(self.child.id());
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        kill_tree(self.child.id());
        // Fails only when it has been waited for already.
        let _ = self.child.wait();
    }
}

/// Kills a process and its descendants, the descendants first.
pub fn kill_tree(pid: u32) {
    for pid in procfs::tree(pid).into_iter().rev() {
        signal(pid, Signal::KILL);
    }
}

/// A port that was free a moment ago, from below the range the kernel takes local ports from: nobody's outgoing
/// connection can take it in between, and probing it before the proxy listens cannot connect to itself.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 8_000;
    for _ in 0..PORTS.len() {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % PORTS.len() as u16;
        let port = PORTS.start + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
}

/// Sends one small request on a connection and reads the whole answer; an error unless it is 200.
pub fn exchange(stream: &mut TcpStream, host: &str) -> Result<()> {
    let path = crate::backend::SMALL_PATH;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())?;
    let mut response = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(anyhow!("closed before the response was whole"));
        }
        response.extend_from_slice(&chunk[..count]);
        if let Some(head) = memchr::memmem::find(&response, b"\r\n\r\n") {
            if !response.starts_with(b"HTTP/1.1 200") {
                bail!("answered {}", String::from_utf8_lossy(&response[..head.min(40)]));
            }
            if response.len() >= head + 4 + crate::backend::SMALL_BODY {
                return Ok(());
            }
        }
    }
}

fn responds(address: SocketAddr, host: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    exchange(&mut stream, host).is_ok()
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The process may be gone by now.
        let _ = kill_process(pid, signal);
    }
}
