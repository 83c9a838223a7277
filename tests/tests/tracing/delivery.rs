//! Spans that have to wait, spans for which there is no room, and those that are left at the end.

use std::time::Duration;

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::collector::Collector;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::{PATIENCE, poll};

use super::spans;

/// A proxy that answers itself, whose spans go to `port` by gRPC.
fn proxy(port: u16, flush: u32, most: u32) -> (Process, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let hcm = format!(
        "tracing: {{provider: {{name: o, typed_config: {{\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, \
         grpc_service: {{envoy_grpc: {{cluster_name: grpc}}}}, max_cache_size: {most}}}}}}}\naccess_log: []"
    );
    let config = Bootstrap::default()
        .h2_cluster("grpc", "grpc", "")
        .http("web", &hcm, "- {match: {prefix: /}, direct_response: {status: 204}}")
        .top(&format!("layered_runtime: {{layers: [{{name: s, static_layer: {{tracing.opentelemetry.min_flush_spans: {flush}, tracing.opentelemetry.flush_interval_ms: 60000}}}}]}}"))
        .render(&[("grpc", port)], "");
    (Process::start(Program::Sampan, &config, dir.path(), &[]), dir)
}

fn told(collector: &Collector) -> usize {
    collector.requests().iter().map(|message| spans::otlp(message).0.len()).sum()
}

#[test]
fn a_batch_waits_for_a_collector_that_is_away() {
    let collector = Collector::start(2);
    let (process, _dir) = proxy(collector.port, 1, 100);
    let mut wire = connect(process.port("web")).unwrap();
    for _ in 0..20 {
        assert!(get(&mut wire, "/").is_some(), "requests are served meanwhile");
    }
    assert!(poll(PATIENCE, || (told(&collector) == 20).then_some(())).is_some(), "{}", told(&collector));
    assert_eq!(process.stat("tracing.opentelemetry.spans_dropped").unwrap_or_default(), 0);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    // A port that nobody listens on: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (process, _dir) = proxy(port, 1, 4);
    let mut wire = connect(process.port("web")).unwrap();
    for _ in 0..50 {
        assert!(get(&mut wire, "/").is_some());
    }
    // Four wait in the queue, and one batch is on its way.
    let dropped = poll(PATIENCE, || {
        process.stat("tracing.opentelemetry.spans_dropped").filter(|dropped| *dropped >= 40)
    });
    assert!(dropped.is_some_and(|dropped| dropped <= 46), "{dropped:?}");
}

#[test]
fn what_is_left_is_sent_when_the_proxy_ends() {
    let collector = Collector::start(0);
    let (mut process, _dir) = proxy(collector.port, 1000, 1000);
    let mut wire = connect(process.port("web")).unwrap();
    for _ in 0..3 {
        assert!(get(&mut wire, "/last").is_some());
    }
    drop(wire);
    assert_eq!(told(&collector), 0, "nothing before the batch is full");
    process.signal(rustix::process::Signal::TERM);
    assert!(process.await_exit(Duration::from_secs(20)).is_some_and(|status| status.success()));
    assert_eq!(told(&collector), 3);
}
