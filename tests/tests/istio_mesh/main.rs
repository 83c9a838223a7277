//! Istio's own extensions with two proxies: a client's sidecar and a server's, shaped as istiod shapes them
//! (`fixtures/istio/`): ALPN by protocol, metadata exchange by headers and before TCP streams, and the metrics on both sides.
//!
//! A stock Envoy has none of these filters, so there is no second program to compare with. What is expected is what Istio's
//! data plane does (`istio_stats.cc`, `peer_metadata.cc`, `metadata_exchange.cc`, `alpn_filter.cc` of its sources), by the nodes and
//! the cluster metadata below, which are those of the fixtures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod config;
mod metrics;

use std::io::Write as _;
use std::net::TcpStream;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::client::h2::{self, Call};
use sampan_tests::harness::client::raw::{RawClient, Talk};
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::get;
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::upstream::h2::{Answer, H2Upstream};
use sampan_tests::harness::upstream::{Play, Recorder};
use sampan_tests::harness::wire::Wire;
use tempfile::TempDir;

use config::Files;
use metrics::Metrics;

/// Two sidecars, and the applications behind the server's.
struct Mesh {
    client: Process,
    server: Process,
    recorder: Recorder,
    grpc: H2Upstream,
    _http: RawUpstream,
    _tcp: RawUpstream,
    _dirs: [TempDir; 3],
}

impl Mesh {
    fn new() -> Self {
        let recorder = Recorder::default();
        let http = RawUpstream::start("http", Manner::Http, recorder.clone());
        let tcp = RawUpstream::start("tcp", Manner::Tcp, recorder.clone());
        let grpc = H2Upstream::start("grpc", recorder.clone());
        let files = Files::new();
        let start = |config: String| {
            let dir = tempfile::tempdir().unwrap();
            (Process::start(Program::Sampan, &files.placed(&config), dir.path(), &[]), dir)
        };
        let (server, server_dir) = start(config::server(http.port, grpc.port, tcp.port));
        let (client, client_dir) = start(config::client(server.port("virtualInbound")));
        let dirs = [files.dir, server_dir, client_dir];
        Self { client, server, recorder, grpc, _http: http, _tcp: tcp, _dirs: dirs }
    }

    fn wire(&self, listener: &str) -> Wire {
        Wire::new(TcpStream::connect(("127.0.0.1", self.client.port(listener))).unwrap(), PATIENCE)
    }

    /// Sends bytes over a TCP listener, reads the echo, and closes.
    fn echo(&self, listener: &str, bytes: &[u8]) {
        let mut client = RawClient::connect(self.client.port(listener));
        client.talk(&Talk::Send(bytes.to_vec()));
        let echo = client.talk(&Talk::ReadBytes(bytes.len())).unwrap();
        assert_eq!(echo.raw.as_deref(), Some(bytes), "{listener}: {}", self.server.stderr());
        client.talk(&Talk::Fin);
        client.talk(&Talk::AwaitClose);
    }
}

/// What both sides know of the client's workload and of the server's.
const WORKLOADS: &[(&str, &str)] = &[
    ("source_workload", "client"),
    ("source_canonical_service", "client"),
    ("source_canonical_revision", "latest"),
    ("source_workload_namespace", "demo"),
    ("source_app", "client"),
    ("source_cluster", "Kubernetes"),
    ("destination_workload", "echo-v1"),
    ("destination_canonical_service", "echo"),
    ("destination_canonical_revision", "v1"),
    ("destination_workload_namespace", "demo"),
    ("destination_app", "echo"),
    ("destination_version", "v1"),
    ("destination_cluster", "Kubernetes"),
    ("destination_service", "echo.demo.svc.cluster.local"),
    ("destination_service_name", "echo"),
    ("destination_service_namespace", "demo"),
];

const PRINCIPALS: &[(&str, &str)] = &[
    ("source_principal", "spiffe://cluster.local/ns/demo/sa/client"),
    ("destination_principal", "spiffe://cluster.local/ns/demo/sa/echo"),
];

/// Labels by which the two sides differ.
const CLIENTS: &[(&str, &str)] =
    &[("reporter", "source"), ("source_version", ""), ("connection_security_policy", "unknown")];
const SERVERS: &[(&str, &str)] = &[
    ("reporter", "destination"),
    ("source_version", "unknown"),
    ("connection_security_policy", "mutual_tls"),
];

#[test]
fn requests_are_counted_on_both_sides_and_the_applications_see_no_headers_of_proxies() {
    let mesh = Mesh::new();
    let mut wire = mesh.wire("http");
    for _ in 0..3 {
        let reply = get(&mut wire, "/").unwrap();
        assert_eq!(reply.status(), 200, "{} {}", mesh.client.stderr(), mesh.server.stderr());
        assert_eq!(reply.header("x-envoy-peer-metadata"), None);
        assert_eq!(reply.header("x-envoy-peer-metadata-id"), None);
    }
    assert!(mesh.recorder.await_seen(3, PATIENCE));
    for received in mesh.recorder.snapshot() {
        let head = format!("{received:?}").to_lowercase();
        assert!(!head.contains("x-envoy-peer-metadata"), "{head}");
    }
    let http: &[(&str, &str)] = &[
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
    ];
    for (process, own) in [(&mesh.client, CLIENTS), (&mesh.server, SERVERS)] {
        let labels = [WORKLOADS, PRINCIPALS, own, http].concat();
        Metrics::await_value(process, "istio_requests_total", &labels, 3);
        let metrics = Metrics::of(process);
        for histogram in
            ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"]
        {
            assert_eq!(metrics.value(&format!("{histogram}_count"), &labels), Some(3), "{histogram}");
        }
        assert!(metrics.value("istio_request_bytes_sum", &labels).is_some_and(|sum| sum > 3 * 20));
        assert_eq!(metrics.value("istio_build", &[("component", "proxy"), ("tag", "1.31.0")]), Some(1));
        // In Envoy's own form, and past the matcher of Istio's bootstrap, which admits what begins with `istio`.
        let (_, text) = process.admin("GET", "/stats?filter=^istiocustom.istio_requests_total");
        assert!(text.starts_with("istiocustom.istio_requests_total.reporter."), "{text}");
        assert!(text.contains(".destination_workload.echo-v1."), "{text}");
        assert!(text.trim_end().ends_with(": 3"), "{text}");
        let (_, others) = process.admin("GET", "/stats?filter=downstream_rq_total");
        assert_eq!(others, "", "the matcher keeps the rest out");
    }
    // The server's listener chose its chain by the protocols that the client's offered, one for each HTTP version.
    assert_eq!(h2::converse(mesh.client.port("http"), &[Call::get("/")]).1[0].message.status(), 200);
    let labels = [("reporter", "destination"), ("request_protocol", "http"), ("response_code", "200")];
    Metrics::await_value(&mesh.server, "istio_requests_total", &labels, 4);
}

#[test]
fn grpc_calls_have_their_status_and_messages() {
    let mesh = Mesh::new();
    let message = b"\0\0\0\0\x02hi";
    let answer = |status| {
        Play::H2(Answer {
            headers: vec![("content-type", "application/grpc")],
            body: message,
            trailers: vec![("grpc-status", status)],
            ..Answer::default()
        })
    };
    mesh.grpc.script([answer("0"), answer("7")]);
    let call = || Call::grpc("/echo.Echo/Say").data(message);
    let (_, replies) = h2::converse(mesh.client.port("http"), &[call(), call()]);
    assert_eq!(replies.len(), 2);
    for (process, own) in [(&mesh.client, CLIENTS), (&mesh.server, SERVERS)] {
        for status in ["0", "7"] {
            let grpc: &[(&str, &str)] =
                &[("request_protocol", "grpc"), ("response_code", "200"), ("grpc_response_status", status)];
            let labels = [WORKLOADS, PRINCIPALS, own, grpc].concat();
            Metrics::await_value(process, "istio_requests_total", &labels, 1);
        }
        let labels = [WORKLOADS, PRINCIPALS, &own[..2]].concat();
        Metrics::await_value(process, "istio_request_messages_total", &labels, 4);
        Metrics::await_value(process, "istio_response_messages_total", &labels, 2);
    }
}

#[test]
fn tcp_streams_begin_with_an_exchange_and_are_counted_on_both_sides() {
    let mesh = Mesh::new();
    let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    mesh.echo("tcp", &sent);
    let tcp: &[(&str, &str)] = &[("request_protocol", "tcp"), ("response_flags", "-")];
    for (process, own) in [(&mesh.client, CLIENTS), (&mesh.server, SERVERS)] {
        let labels = [WORKLOADS, PRINCIPALS, own, tcp].concat();
        for (metric, count) in [("opened", 1), ("closed", 1)] {
            Metrics::await_value(process, &format!("istio_tcp_connections_{metric}_total"), &labels, count);
        }
        for metric in ["istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"] {
            Metrics::await_value(process, metric, &labels, 100_000);
        }
    }
}

#[test]
fn without_tls_nothing_is_exchanged_and_bytes_are_spliced() {
    let mesh = Mesh::new();
    let sent = vec![7; 4 * 1024 * 1024];
    std::thread::scope(|scope| {
        let mut wire = mesh.wire("plain");
        let mut writer = wire.stream.try_clone().unwrap();
        let sent = &sent;
        scope.spawn(move || writer.write_all(sent).unwrap());
        let mut read = Vec::new();
        assert!(wire.exactly(sent.len(), &mut read).is_ok());
        assert!(read == *sent);
    });
    // Who the client is it does not tell; who the host is the endpoint does.
    let closed = "istio_tcp_connections_closed_total";
    let labels =
        [("reporter", "source"), ("destination_workload", "echo-v1"), ("destination_app", "unknown")];
    Metrics::await_value(&mesh.client, closed, &labels, 1);
    let labels =
        [("reporter", "destination"), ("source_workload", "unknown"), ("connection_security_policy", "none")];
    Metrics::await_value(&mesh.server, closed, &labels, 1);
    for process in [&mesh.client, &mesh.server] {
        assert!(Metrics::of(process).value("envoy_tcp_spliced_bytes_total", &[]).is_some_and(|n| n > 0));
    }
}
