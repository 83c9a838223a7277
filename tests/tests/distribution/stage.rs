//! One proxy in front of upstreams that say who they are, and a client that counts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::{Process, Program};

#[path = "../health/backend.rs"]
#[allow(dead_code)] // what `health` alone needs of it
mod backend;

pub use backend::Backend;

/// How many requests each host has served.
pub type Counts = BTreeMap<String, usize>;

/// An endpoint.
pub struct Host {
    pub port: u16,
    pub weight: u32,
    /// More fields, after a comma.
    pub more: String,
}

impl Host {
    /// One for each port, with its weight.
    pub fn weighted(ports: &[u16], weights: &[u32]) -> Vec<Self> {
        ports
            .iter()
            .zip(weights)
            .map(|(port, weight)| Self { port: *port, weight: *weight, more: String::new() })
            .collect()
    }

    /// The same, hashed by names that do not change from run to run.
    pub fn keyed(ports: &[u16], weights: &[u32]) -> Vec<Self> {
        let key = |at| format!(", metadata: {{filter_metadata: {{envoy.lb: {{hash_key: host-{at}}}}}}}");
        let hosts = Self::weighted(ports, weights).into_iter().enumerate();
        hosts.map(|(at, host)| Self { more: key(at), ..host }).collect()
    }
}

/// A locality with these hosts; `fields` end in a comma or are empty.
pub fn locality(fields: &str, hosts: &[Host]) -> String {
    let host = |host: &Host| {
        let Host { port, weight, more } = host;
        format!(
            "{{load_balancing_weight: {weight}, endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}{more}}}"
        )
    };
    let hosts: Vec<String> = hosts.iter().map(host).collect();
    format!("{{{fields} lb_endpoints: [{}]}}", hosts.join(", "))
}

/// A static cluster.
pub fn cluster(name: &str, fields: &str, localities: &str) -> String {
    format!(
        "- name: {name}\n  connect_timeout: 1s\n  type: STATIC\n  {fields}\n  load_assignment: {{cluster_name: x, endpoints: [{localities}]}}\n"
    )
}

/// A proxy with its upstreams, which are called `h0`, `h1` and so on.
pub struct Stage {
    pub process: Process,
    pub backends: Vec<Backend>,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub fn start(program: Program, top: &str, hosts: usize, clusters: Clusters<'_>) -> Self {
        let backends: Vec<Backend> = (0..hosts).map(|at| Backend::start(&format!("h{at}"))).collect();
        let ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
        let dir = tempfile::tempdir().unwrap();
        let clusters: String = clusters(&ports).into_iter().map(|(_, yaml)| yaml).collect();
        let route = "cluster_header: x-cluster, hash_policy: [{header: {header_name: x-key}}]";
        let routes = format!(
            "- {{match: {{path: /two}}, route: {{{route}, metadata_match: {{filter_metadata: {{envoy.lb: {{v: two}}}}}}}}}}\n\
             - {{match: {{prefix: /}}, route: {{{route}}}}}"
        );
        let bootstrap =
            Bootstrap::default().top(top).clusters(&clusters).http("http", "access_log: []", &routes);
        let config = bootstrap.render(&[], "/dev/null");
        Self { process: Process::start(program, &config, dir.path(), &[]), backends, _dir: dir }
    }

    /// Sends so many requests to a cluster, one after the other.
    pub fn load(&self, cluster: &str, count: usize) -> Counts {
        let mut stream = TcpStream::connect(("127.0.0.1", self.process.port("http"))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = if cluster == "subset" { "/two" } else { "/" };
        let mut counts = Counts::new();
        let mut read = Vec::new();
        for number in 0..count {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: test\r\nx-cluster: {cluster}\r\nx-key: key-{number}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            *counts.entry(body(&mut stream, &mut read)).or_default() += 1;
        }
        counts
    }
}

/// The body of the next response.
fn body(stream: &mut TcpStream, read: &mut Vec<u8>) -> String {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            if read.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&read[end + 4..end + 4 + length]).into_owned();
                read.drain(..end + 4 + length);
                return body;
            }
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the proxy closed the connection");
        read.extend_from_slice(&chunk[..count]);
    }
}

/// The clusters to play, each by name and as YAML, for hosts at these ports.
pub type Clusters<'a> = &'a dyn Fn(&[u16]) -> Vec<(&'static str, String)>;

/// The counts of each cluster, by program.
pub fn run(
    top: &str,
    hosts: usize,
    clusters: Clusters<'_>,
    load: usize,
) -> Vec<BTreeMap<&'static str, Counts>> {
    let play = |program| {
        let stage = Stage::start(program, top, hosts, clusters);
        let ports: Vec<u16> = stage.backends.iter().map(|backend| backend.port).collect();
        clusters(&ports).into_iter().map(|(name, _)| (name, stage.load(name, load))).collect()
    };
    programs().into_iter().map(play).collect()
}
