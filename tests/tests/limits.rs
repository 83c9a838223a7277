//! Limits that protect the proxy and its clients: connections, descriptors, keep-alive, slow readers; and what is opened ahead.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::client::frames::{SETTINGS, frame, get as h2_get};
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::wire::Wire;
use sampan_tests::harness::{PATIENCE, poll};

const BOTH: [Program; 2] = [Program::Envoy, Program::Sampan];

/// A proxy with a listener `http` that answers by itself.
fn direct(fields: &str) -> Bootstrap {
    Bootstrap::default().http("http", fields, "- {match: {prefix: /}, direct_response: {status: 200}}")
}

/// The value of a counter or gauge, 0 if it is not there.
fn stat(process: &Process, name: &str) -> u64 {
    let (_, body) = process.admin("GET", "/stats");
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn await_stat(process: &Process, name: &str, value: u64) -> bool {
    poll(PATIENCE, || (stat(process, name) == value).then_some(())).is_some()
}

#[test]
fn half_of_the_descriptors_are_for_clients_and_the_admin_stays_reachable() {
    let dir = tempfile::tempdir().unwrap();
    let process =
        Process::start_limited(80, Program::Sampan, &direct("").render(&[], "/dev/null"), dir.path());
    let port = process.port("http");
    let mut clients: Vec<Wire> = (0..60).filter_map(|_| connect(port)).collect();
    let served = clients.iter_mut().filter_map(|wire| get(wire, "/")).count();
    assert_eq!(served, 40);
    let (status, _) = process.admin("GET", "/ready");
    assert_eq!(status, 200);
    let overflow = format!("listener.127.0.0.1_{port}.downstream_global_cx_overflow");
    let (_, stats) = process.admin("GET", "/stats?filter=global_cx_overflow");
    assert!(stats.contains("downstream_global_cx_overflow: 20"), "{overflow}: {stats}");
    drop(clients);
    let again = || connect(port).and_then(|mut wire| get(&mut wire, "/"));
    assert!(poll(PATIENCE, again).is_some(), "a place that became free is not used");
}

/// Processor time of a process so far.
fn cpu(process: &Process) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn out_of_descriptors_the_proxy_waits_without_spinning_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = "layered_runtime: {layers: [{name: s, static_layer: \
                   {overload.global_downstream_max_connections: 10000}}]}";
    let config = direct("").top(runtime).render(&[], "/dev/null");
    let process = Process::start_limited(60, Program::Sampan, &config, dir.path());
    let port = process.port("http");
    // The backlog takes what the proxy cannot.
    let clients: Vec<TcpStream> =
        (0..100).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    let full =
        || (std::fs::read_dir(format!("/proc/{}/fd", process.pid())).ok()?.count() >= 59).then_some(());
    assert!(poll(PATIENCE, full).is_some(), "the limit is not reached");
    let (before, began) = (cpu(&process), Instant::now());
    while began.elapsed() < Duration::from_millis(600) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = cpu(&process).saturating_sub(before);
    assert!(used <= Duration::from_millis(60), "{used:?} of processor time while nothing could be done");
    drop(clients);
    let again = || connect(port).and_then(|mut wire| get(&mut wire, "/"));
    assert!(poll(Duration::from_secs(2), again).is_some(), "it does not recover");
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING_HEAD: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0];

#[test]
fn a_client_that_does_not_answer_pings_is_dropped() {
    let keepalive = "http2_protocol_options: {connection_keepalive: {interval: 0.1s, timeout: 0.2s}}";
    for program in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(program, &direct(keepalive).render(&[], "/dev/null"), dir.path(), &[]);
        let mut client = TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        let mut seen = Vec::new();
        // Envoy resets it, which is an end as well.
        let ended = client.read_to_end(&mut seen);
        assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
        assert!(seen.windows(9).any(|bytes| bytes == PING_HEAD), "{program:?} sent no PING");
        assert!(await_stat(&process, "http2.keepalive_timeout", 1), "{program:?}");
    }
}

#[test]
fn an_upstream_that_does_not_answer_pings_is_given_up() {
    let options = "explicit_http_config: {http2_protocol_options: \
                   {connection_keepalive: {interval: 0.1s, timeout: 0.2s}}}";
    for program in BOTH {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let up = upstream.local_addr().unwrap().port();
        let silent = std::thread::spawn(move || {
            let (mut stream, _) = upstream.accept().unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).ok();
            seen
        });
        let dir = tempfile::tempdir().unwrap();
        let config = Bootstrap::default()
            .options_cluster("h2", "up", options)
            .http("http", "", "- {match: {prefix: /}, route: {cluster: h2}}")
            .render(&[("up", up)], "/dev/null");
        let process = Process::start(program, &config, dir.path(), &[]);
        let mut wire = connect(process.port("http")).unwrap();
        assert_eq!(get(&mut wire, "/").map(|reply| reply.status()), Some(503), "{program:?}");
        let seen = silent.join().unwrap();
        assert!(seen.windows(9).any(|bytes| bytes == PING_HEAD), "{program:?} sent no PING");
        assert!(await_stat(&process, "cluster.h2.http2.keepalive_timeout", 1), "{program:?}");
    }
}

/// An upstream that takes connections and answers nothing.
fn silent_upstream() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn connections_are_opened_ahead_as_the_policy_asks() {
    // Requests that wait for their answer, and the connections that there are then.
    let cases = [
        ("per_upstream_preconnect_ratio: 1.0", 1, 1),
        ("per_upstream_preconnect_ratio: 2.0", 1, 2),
        ("per_upstream_preconnect_ratio: 1.5", 2, 3),
        // The next request may go to the other host.
        ("predictive_preconnect_ratio: 2.0", 1, 2),
        ("predictive_preconnect_ratio: 2.0", 2, 3),
    ];
    for (policy, requests, connections) in cases {
        let counted = BOTH.map(|program| {
            let ((_upstream, up), (_other, other)) = (silent_upstream(), silent_upstream());
            let dir = tempfile::tempdir().unwrap();
            let host = |port| format!("{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}");
            let hosts = if policy.starts_with("pre") { vec![host(up), host(other)] } else { vec![host(up)] };
            let hosts = hosts.join(", ");
            let config = Bootstrap::default()
                .clusters(&format!(
                    "- name: a\n  connect_timeout: 1s\n  preconnect_policy: {{{policy}}}\n  load_assignment: {{cluster_name: a, \
                     endpoints: [{{lb_endpoints: [{hosts}]}}]}}"
                ))
                .http("http", "", "- {match: {prefix: /}, route: {cluster: a}}")
                .render(&[], "/dev/null");
            let process = Process::start(program, &config, dir.path(), &[]);
            let mut clients = Vec::new();
            for n in 1..=requests {
                let mut wire = connect(process.port("http")).unwrap();
                wire.stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
                clients.push(wire);
                assert!(await_stat(&process, "cluster.a.upstream_rq_active", n), "{program:?} {policy}");
            }
            // Nothing more is to come when it has come to rest.
            let settled = poll(Duration::from_millis(500), || {
                (stat(&process, "cluster.a.upstream_cx_total") > connections).then_some(())
            });
            assert!(settled.is_none(), "{program:?} {policy}: too many");
            stat(&process, "cluster.a.upstream_cx_total")
        });
        assert_eq!(counted[0], counted[1], "{policy}");
        assert_eq!(counted[1], connections, "{policy}");
    }
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let up = upstream.local_addr().unwrap().port();
    // Far more than the sockets hold.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = upstream.accept() {
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                let length = 256 << 20;
                let _ = stream
                    .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes());
                let piece = vec![b'x'; 1 << 20];
                while stream.write_all(&piece).is_ok() {}
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let config = Bootstrap::default()
        .cluster("a", "up", "")
        .http("http", "stream_flush_timeout: 0.2s", "- {match: {prefix: /}, route: {cluster: a}}")
        .render(&[("up", up)], "/dev/null");
    let process = Process::start(Program::Sampan, &config, dir.path(), &[]);
    let mut h1 = TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
    h1.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    // No window at all.
    let mut h2 = TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    h2.write_all(&[PREFACE, &no_window, &h2_get(1, "/", &[])].concat()).unwrap();
    assert!(await_stat(&process, "http.http.downstream_rq_total", 2));
    assert!(await_stat(&process, "http.http.downstream_rq_active", 0), "a response waits for its reader");
    assert!(await_stat(&process, "cluster.a.upstream_cx_active", 0), "an upstream connection is kept");
    drop((h1, h2));
}

/// The counters move while a stream is under way, on either side and in either protocol.
#[test]
fn bytes_are_counted_while_they_flow() {
    let (upstream, up) = silent_upstream();
    let dir = tempfile::tempdir().unwrap();
    let config = Bootstrap::default()
        .cluster("a", "up", "")
        .http("http", "", "- {match: {prefix: /}, route: {cluster: a, timeout: 0s}}")
        .render(&[("up", up)], "/dev/null");
    let process = Process::start(Program::Sampan, &config, dir.path(), &[]);
    let mut h1 = TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
    let request = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n";
    h1.write_all(&[&request[..], &[b'x'; 900]].concat()).unwrap();
    let received = request.len() as u64 + 900;
    assert!(await_stat(&process, "http.http.downstream_cx_rx_bytes_total", received));
    let passed_on = || (stat(&process, "cluster.a.upstream_cx_tx_bytes_total") > 900).then_some(());
    assert!(poll(PATIENCE, passed_on).is_some());
    drop(upstream);
    h1.shutdown(Shutdown::Both).ok();

    let mut h2 = TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
    let sent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    h2.write_all(&sent).unwrap();
    let total = received + sent.len() as u64;
    assert!(await_stat(&process, "http.http.downstream_cx_rx_bytes_total", total));
    assert!(stat(&process, "http.http.downstream_cx_tx_bytes_total") > 0);
}
