//! The proxy under callgrind: it starts, serves, is scraped, and ends. Callgrind tells which functions ran, and which of them while
//! requests were served.
//!
//! Three runs: HTTP/1.1 and TCP without more, which is also what a proxy does that idles; the filter chain of `http1_filters`; the two
//! sidecars of `mtls_pair`. Of the last two, only what serving requests took is of interest.

use anyhow::{Context, Result, ensure};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::binaries::ProxyKind;
use crate::config::{self, Job, Profile, Setup};

/// Callgrind runs a program some fifty times slower.
const PATIENCE: Duration = Duration::from_mins(2);
/// Requests per connection: more than one, for what happens between them.
const REQUESTS: usize = 3;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// The functions that ran.
pub(super) struct Ran {
    /// While plain HTTP/1.1 and TCP were served.
    pub(super) plain: HashSet<String>,
    /// While filters, HTTP/2 and TLS had their part in it.
    pub(super) mesh: HashSet<String>,
    /// In the first run as a whole, from its start to its end.
    pub(super) whole: HashSet<String>,
}

/// Runs the program, and tells what ran.
pub(super) fn functions(sampan: &Path) -> Result<Ran> {
    let dir = tempfile::tempdir()?;
    let upstream = upstream()?;
    let [http, tcp, chain, client, tls] =
        [free_port()?, free_port()?, free_port()?, free_port()?, free_port()?];
    let proxy =
        |name: &str, config: String, ports: &[u16]| Proxy::start(sampan, dir.path(), name, &config, ports);

    let first = proxy("plain", bootstrap(http, tcp, upstream), &[http, tcp])?;
    let plain = first.serving(&[http, tcp])?;
    ["/ready", "/stats/prometheus"].iter().try_for_each(|path| get(first.admin()?, path, 1))?;
    let whole = first.end()?;

    let certificates = dir.path().join("certificates");
    config::write_certificates(&certificates)?;
    let text = |job, listen, upstream| {
        let (dir, certificates) = (dir.path(), certificates.as_path());
        let setup = Setup { job, profile: Profile::Plain, listen, upstream, dir, certificates };
        config::render(ProxyKind::Sampan, &setup).map_err(anyhow::Error::msg)
    };
    let filters = proxy("filters", text(Job::FilterChain, chain, upstream)?, &[chain])?;
    let mut mesh = filters.serving(&[chain])?;
    filters.end()?;
    let server = proxy("server", text(Job::MutualTlsServer, tls, upstream)?, &[tls])?;
    let caller = proxy("client", text(Job::MutualTlsPair, client, tls)?, &[client])?;
    server.dump()?;
    mesh.extend(caller.serving(&[client])?);
    mesh.extend(server.dump()?);
    caller.end()?;
    server.end()?;
    Ok(Ran { plain, mesh, whole })
}

/// One proxy under callgrind.
struct Proxy {
    child: Child,
    /// The program, as callgrind's files call it.
    program: String,
    out: PathBuf,
    admin: PathBuf,
}

impl Proxy {
    /// Starts it, and waits until it listens.
    fn start(sampan: &Path, dir: &Path, name: &str, config: &str, ports: &[u16]) -> Result<Self> {
        let sampan = sampan.canonicalize()?;
        let file = dir.join(format!("{name}.yaml"));
        std::fs::write(&file, config)?;
        let (out, admin) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.admin")));
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--demangle=no", "--quiet"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(&sampan)
            .args(["--concurrency", "1", "-l", "warn", "--admin-address-path"])
            .arg(&admin)
            .arg("-c")
            .arg(&file)
            .spawn()
            .context("running valgrind: apt-get install valgrind")?;
        let mut proxy = Self { child, program: sampan.to_string_lossy().into_owned(), out, admin };
        let deadline = Instant::now() + PATIENCE;
        for port in ports {
            while TcpStream::connect(("127.0.0.1", *port)).is_err() {
                ensure!(proxy.child.try_wait()?.is_none(), "the proxy did not start");
                ensure!(Instant::now() < deadline, "the proxy does not listen");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(proxy)
    }

    /// Asks it, and tells what that took once it knew its upstreams.
    fn serving(&self, ports: &[u16]) -> Result<HashSet<String>> {
        let ask =
            || ports.iter().try_for_each(|port| get((Ipv4Addr::LOCALHOST, *port).into(), "/", REQUESTS));
        ask()?;
        self.dump()?;
        ask()?;
        self.dump()
    }

    /// What ran since the last time.
    fn dump(&self) -> Result<HashSet<String>> {
        let pid = self.child.id().to_string();
        let told = Command::new("callgrind_control").args(["--dump", &pid]).output()?;
        ensure!(told.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&told.stderr));
        self.parts()?.pop().context("callgrind wrote nothing")
    }

    /// What ran in each part, as far as parts are written.
    fn parts(&self) -> Result<Vec<HashSet<String>>> {
        let part = |number| self.out.with_extension(format!("out.{number}"));
        let files = (1..).map(part).take_while(|file| file.exists());
        files.map(|file| Ok(executed(&std::fs::read_to_string(file)?, &self.program))).collect()
    }

    /// Where its admin server listens.
    fn admin(&self) -> Result<SocketAddr> {
        std::fs::read_to_string(&self.admin)?.trim().parse().context("the admin address")
    }

    /// Ends it; all that ran.
    fn end(mut self) -> Result<HashSet<String>> {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the proxy ended with {status}");
        let last = std::fs::read_to_string(&self.out).context("callgrind wrote nothing")?;
        let parts = self.parts()?.into_iter().flatten();
        Ok(parts.chain(executed(&last, &self.program)).collect())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks several times on one connection, and reads until each answer was seen.
fn get(to: SocketAddr, path: &str, times: usize) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for turn in 1..=times {
        let close = if turn == times { "connection: close\r\n" } else { "" };
        write!(stream, "GET {path} HTTP/1.1\r\nhost: layout.example\r\n{close}\r\n")?;
        let mut answer = vec![0; 64 * 1024];
        let n = stream.read(&mut answer)?;
        ensure!(
            answer[..n].starts_with(b"HTTP/1.1 200"),
            "{path}: {}",
            String::from_utf8_lossy(&answer[..n])
        );
    }
    Ok(())
}

/// A server that answers every request; its threads end with this program.
fn upstream() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream) {
    let mut request = vec![0; 64 * 1024];
    while stream.read(&mut request).is_ok_and(|n| n > 0) {
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The bootstrap: what a proxy has at least, by the fields that most have.
fn bootstrap(http: u16, tcp: u16, upstream: u16) -> String {
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: http
    address: {{socket_address: {{address: 127.0.0.1, port_value: {http}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: upstream}}}}]}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  - name: tcp
    address: {{socket_address: {{address: 127.0.0.1, port_value: {tcp}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: upstream
  clusters:
  - name: upstream
    connect_timeout: 5s
    load_assignment:
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"#
    )
}

/// The functions of an object that a file of callgrind's has costs for. Its names are given once and referred to by number after that.
fn executed(text: &str, object: &str) -> HashSet<String> {
    let (mut objects, mut names) = (HashMap::new(), HashMap::new());
    let mut ran = HashSet::new();
    let mut ours = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "ob" | "cob" => {
                let known = named(&mut objects, value).is_some_and(|name| name == object);
                ours = if key == "ob" { known } else { ours };
            }
            "fn" | "cfn" => {
                let name = named(&mut names, value);
                if let Some(name) = name.filter(|_| ours && key == "fn") {
                    // A function that calls itself has a copy for each depth: `name'2`.
                    ran.insert(name.split('\'').next().unwrap_or_default().to_owned());
                }
            }
            _ => {}
        }
    }
    ran
}

/// The name behind `(number) name` or `(number)`.
fn named<'a>(known: &mut HashMap<&'a str, &'a str>, value: &'a str) -> Option<&'a str> {
    let (number, name) = value.split_once(')')?;
    if let Some(name) = name.strip_prefix(' ') {
        known.insert(number, name);
    }
    known.get(number).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_object_that_ran_are_named() {
        let text = "cmd: x\nob=(1) /bin/sampan\nfn=(1) main\n0x1 3\ncob=(2) /lib/libc.so\ncfn=(2) malloc\ncalls=1 0x2\n\
                    fn=(3) recurse'2\n+1 2\nob=(2)\nfn=(2)\n0x2 4\nob=(1)\ncfn=(4) called_only\nfn=(1)\n";
        let ran: HashSet<String> = ["main", "recurse"].map(str::to_owned).into();
        assert_eq!(executed(text, "/bin/sampan"), ran);
    }
}
