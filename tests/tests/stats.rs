//! Counters and gauges after the same traffic: every one that Envoy has moved, Sampan must have moved alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use sampan_tests::harness::client::h2::{Call, converse};
use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::solo::{Solo, get};
use sampan_tests::harness::{PATIENCE, poll};

/// The stats that are compared, by the beginning of their names.
const SCOPES: &[&str] = &[
    "http.http.",
    "cluster.a.",
    "cluster.refused.",
    "cluster.tcp.",
    "tcp.tcp.",
    "listener.",
    "listener_manager.",
    "cluster_manager.",
];

/// Parts of names that are not compared: what depends on the implementation, or on the length of generated headers.
const IGNORED: &[&str] = &[
    "_bytes",
    "worker_",
    ".admin.",
    "cluster_updated_via_merge",
    "update_merge",
    "update_out_of_merge",
    "lb_subsets",
    "listener_create",
    "listener_in_place",
    "lb_recalculate",
    "extension_config_discovery",
    "http.http.rq_",
    "cx_length_ms",
    "http1.",
    "http2.",
    "default.total_match_count",
    "original_call",
    "upstream_cx_http2",
    "hash_mix",
    // `membership-change` of docs/differences.md.
    "membership_change",
    // Whether a request finds the last one's connection free again is a matter of microseconds.
    "upstream_cx_total",
    "upstream_cx_http1_total",
    "upstream_rq_pending_total",
    // Connections close when they like.
    "_destroy",
    "cx_active",
    "cx_idle",
    // It moves a second after the client was told, which may be before or after the look at it.
    "cx_delayed_close_timeout",
];

#[test]
fn counters_move_as_envoys_do() {
    let both: Vec<BTreeMap<String, u64>> = programs().into_iter().map(after_traffic).collect();
    let [envoy, sampan] = both.as_slice() else { return };
    assert!(envoy.len() > 30, "too few to compare: {envoy:?}");
    let mut report = Vec::new();
    for (name, theirs) in envoy {
        let ours = sampan.get(name).copied().unwrap_or_default();
        if ours != *theirs {
            report.push(format!("{name}: Envoy {theirs}, Sampan {ours}"));
        }
    }
    report.extend(
        sampan
            .iter()
            .filter(|(name, _)| !envoy.contains_key(*name))
            .map(|(name, ours)| format!("{name}: Envoy none, Sampan {ours}")),
    );
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}

/// The prometheus names and labels of what was counted.
#[test]
fn prometheus_lines_have_the_same_names_and_labels() {
    let both: Vec<Vec<String>> = programs()
        .into_iter()
        .map(|program| {
            let solo = Solo::start(program, &[]);
            traffic(&solo);
            settled(&solo);
            let (_, body) = solo.process.admin("GET", "/stats/prometheus?usedonly");
            let wanted = [
                "envoy_cluster_upstream_rq",
                "envoy_http_downstream_rq_xx",
                "envoy_http_downstream_cx_total",
                "envoy_tcp_downstream_cx_total",
                "envoy_cluster_membership_total",
            ];
            let lines = body.lines().filter(|line| {
                wanted.iter().any(|name| line.starts_with(name))
                    && !line.contains("_bucket{")
                    && !line.contains("_time")
                    && !line.contains("rq_pending_total")
                    // `admin-not-counted` of docs/differences.md.
                    && !line.contains("prefix=\"admin\"")
            });
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        })
        .collect();
    assert!(both[0].len() > 5, "{both:?}");
    if let [envoy, sampan] = both.as_slice() {
        let only = |here: &[String], there: &[String]| -> Vec<String> {
            here.iter().filter(|line| !there.contains(line)).cloned().collect()
        };
        let (theirs, ours) = (only(envoy, sampan), only(sampan, envoy));
        assert!(theirs.is_empty() && ours.is_empty(), "only Envoy: {theirs:#?}\nonly Sampan: {ours:#?}");
    }
}

fn after_traffic(program: Program) -> BTreeMap<String, u64> {
    let solo = Solo::start(program, &[]);
    traffic(&solo);
    settled(&solo)
}

fn traffic(solo: &Solo) {
    for path in ["/", "/x", "/refused", "/direct", "/by-header"] {
        let mut wire = solo.connect().expect("the listener is open");
        assert!(get(&mut wire, path).is_some(), "{path}");
        assert!(get(&mut wire, path).is_some(), "{path} again");
    }
    let mut wire = solo.connect().expect("the listener is open");
    wire.stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nx-nothing: 1\r\n\r\n").unwrap();
    assert_eq!(wire.head().unwrap().status(), 404);
    let mut wire = solo.connect().expect("the listener is open");
    wire.stream.write_all(b"nonsense\r\n\r\n").unwrap();
    assert_eq!(wire.head().unwrap().status(), 400);
    converse(solo.process.port("http"), &[Call::get("/h2"), Call::new("POST", "/h2").data(b"x")]);
    let mut stream = TcpStream::connect(("127.0.0.1", solo.process.port("tcp"))).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "hello");
}

/// The stats once they have stopped to change: workers hand theirs over now and then.
fn settled(solo: &Solo) -> BTreeMap<String, u64> {
    let mut last = stats(solo);
    poll(PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = stats(solo);
        let same = now == last;
        last = now;
        same.then_some(())
    });
    last
}

fn stats(solo: &Solo) -> BTreeMap<String, u64> {
    let (_, body) = solo.process.admin("GET", "/stats?usedonly");
    let ports = ["http", "tcp"].map(|name| (format!("_{}.", solo.process.port(name)), format!("_<{name}>.")));
    body.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let named = ports.iter().fold(name.to_owned(), |text, (port, name)| text.replace(port, name));
            Some((named, value.parse::<u64>().ok()?))
        })
        .filter(|(name, value)| {
            *value > 0
                && SCOPES.iter().any(|scope| name.starts_with(scope))
                && !IGNORED.iter().any(|part| name.contains(part))
        })
        .collect()
}
