//! The proxy under callgrind: it starts, serves HTTP/1.1 and TCP, is scraped, and ends. Callgrind tells which functions ran.

use anyhow::{Context, Result, ensure};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Callgrind runs a program some fifty times slower.
const PATIENCE: Duration = Duration::from_mins(2);
/// Requests per connection: more than one, for what happens between them.
const REQUESTS: usize = 3;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// The names of the functions of a program that ran.
pub(super) fn functions(sampan: &Path) -> Result<HashSet<String>> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("callgrind.out");
    run(sampan, dir.path(), &out)?;
    let text = std::fs::read_to_string(&out).context("callgrind wrote nothing")?;
    let program = sampan.canonicalize()?;
    Ok(executed(&text, &program.to_string_lossy()))
}

fn run(sampan: &Path, dir: &Path, out: &Path) -> Result<()> {
    let upstream = upstream()?;
    let [http, tcp] = [free_port()?, free_port()?];
    let config = dir.join("sampan.yaml");
    std::fs::write(&config, bootstrap(http, tcp, upstream))?;
    let admin = dir.join("admin");
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--demangle=no", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(sampan.canonicalize()?)
        .args(["--concurrency", "1", "-l", "warn", "--admin-address-path"])
        .arg(&admin)
        .arg("-c")
        .arg(&config)
        .spawn()
        .context("running valgrind: apt-get install valgrind")?;
    let served = serve(&mut child, http, tcp, &admin);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let status = child.wait()?;
    served?;
    ensure!(status.success(), "the proxy ended with {status}");
    Ok(())
}

fn serve(child: &mut Child, http: u16, tcp: u16, admin: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", http)).is_err() {
        ensure!(child.try_wait()?.is_none(), "the proxy did not start");
        ensure!(Instant::now() < deadline, "the proxy does not listen");
        std::thread::sleep(Duration::from_millis(100));
    }
    for port in [http, tcp] {
        get((Ipv4Addr::LOCALHOST, port).into(), "/", REQUESTS)?;
    }
    let admin: SocketAddr = std::fs::read_to_string(admin)?.trim().parse().context("the admin address")?;
    ["/ready", "/stats/prometheus"].iter().try_for_each(|path| get(admin, path, 1))
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
