//! What is written of changes of health, and clusters that wait for their first checks.

use std::path::Path;

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::get;
use sampan_tests::harness::upstream::refused::Refused;
use sampan_tests::harness::wire::Wire;
use sampan_tests::harness::{PATIENCE, poll};

use super::backend::{Backend, Proxy, locality};

/// The lines of a log, once there are so many, without what differs from run to run.
fn lines(path: &Path, count: usize, ports: &[(u16, &str)]) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    let there = poll(PATIENCE, || (read().lines().count() >= count).then_some(()));
    assert!(there.is_some(), "{count} lines wanted: {}", read());
    let mask = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = value.as_object_mut().unwrap();
        assert!(fields["timestamp"].as_str().unwrap().ends_with('Z'));
        fields.insert("timestamp".to_owned(), "now".into());
        let mut text = value.to_string();
        for (port, name) in ports {
            text = text.replace(&format!("\"port_value\":{port}"), &format!("\"port_value\":\"{name}\""));
            text = text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{name}"));
        }
        text
    };
    read().lines().take(count).map(mask).collect()
}

fn both(play: impl Fn(Program) -> Vec<String>) {
    let shown: Vec<_> = programs().into_iter().map(play).collect();
    assert!(!shown[0].is_empty());
    if let [envoy, sampan] = shown.as_slice() {
        assert_eq!(envoy, sampan);
    }
}

#[test]
fn changes_of_health_are_written() {
    both(|program| {
        let a = Backend::start("a");
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("events.log");
        let sink = format!(
            "event_logger: [{{name: envoy.health_check.event_sink.file, typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: \"{}\"}}}}]",
            log.display()
        );
        let checks = format!(
            "health_checks: [{{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, \
             {sink}, http_health_check: {{path: /health}}}}]"
        );
        let endpoints = format!(
            "{{locality: {{region: r, zone: z}}, lb_endpoints: [{{metadata: {{filter_metadata: {{ns: {{k: 1}}}}}}, endpoint: \
             {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}",
            a.port
        );
        let ports = [(a.port, "a")];
        let proxy = Proxy::start(program, &checks, &endpoints);
        lines(&log, 1, &ports);
        a.health(503);
        proxy.await_flags(a.port, "/failed_active_hc");
        lines(&log, 2, &ports);
        a.health(200);
        proxy.await_flags(a.port, "healthy");
        lines(&log, 3, &ports);
        a.health_headers("x-envoy-degraded: 1\r\n");
        lines(&log, 4, &ports);
        a.health_headers("");
        lines(&log, 5, &ports)
    });
}

#[test]
fn first_failures_and_every_check_that_is_asked_for() {
    both(|program| {
        let refused = Refused::new();
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("events.log");
        let checks = format!(
            "health_checks: [{{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 2, healthy_threshold: 2, \
             event_log_path: \"{}\", always_log_health_check_failures: true, tcp_health_check: {{}}}}]",
            log.display()
        );
        let _proxy = Proxy::start(program, &checks, &locality(0, &[refused.port]));
        lines(&log, 3, &[(refused.port, "refused")])
    });
    both(|program| {
        let a = Backend::start("a");
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("events.log");
        let checks = format!(
            "health_checks: [{{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 2, healthy_threshold: 2, \
             event_log_path: \"{}\", always_log_health_check_success: true, tcp_health_check: {{}}}}]",
            log.display()
        );
        let _proxy = Proxy::start(program, &checks, &locality(0, &[a.port]));
        lines(&log, 3, &[(a.port, "a")])
    });
}

#[test]
fn ejections_are_written() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("outliers.log");
        let top =
            format!("cluster_manager: {{outlier_detection: {{event_log_path: \"{}\"}}}}", log.display());
        let cluster = format!(
            "- name: c\n  connect_timeout: 1s\n  type: STATIC\n  outlier_detection: {{consecutive_5xx: 2, interval: 0.1s, base_ejection_time: 0.1s, \
             max_ejection_percent: 100, enforcing_consecutive_gateway_failure: 0, consecutive_gateway_failure: 1}}\n  \
             load_assignment: {{cluster_name: c, endpoints: [{}, {}]}}\n",
            locality(0, &[a.port]),
            locality(1, &[b.port])
        );
        let bootstrap = Bootstrap::default().top(&top).clusters(&cluster).http(
            "http",
            "",
            "- {match: {prefix: /}, route: {cluster: c}}",
        );
        let config = bootstrap.render(&[], &dir.path().join("access.log").to_string_lossy());
        let process = Process::start(program, &config, dir.path(), &[]);
        let ports = [(a.port, "a"), (b.port, "b")];
        let ask = || {
            let stream = std::net::TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
            get(&mut Wire::new(stream, PATIENCE), "/").unwrap().status()
        };
        a.answer(503);
        ask();
        lines(&log, 1, &ports);
        a.answer(500);
        ask();
        let told = lines(&log, 3, &ports);
        // How many seconds it was out, is chance when that is about none.
        told.into_iter()
            .map(|line| line.replace("\"secs_since_last_action\":\"1\"", "\"secs_since_last_action\":\"0\""))
            .collect()
    });
}

#[test]
fn a_discovered_cluster_waits_for_its_first_checks() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        b.health(503);
        let dir = tempfile::tempdir().unwrap();
        let cluster = format!(
            "resources:\n- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: c\n  connect_timeout: 1s\n  type: STATIC\n  \
             common_lb_config: {{healthy_panic_threshold: {{value: 0}}}}\n  \
             health_checks: [{{timeout: 1s, interval: 30s, no_traffic_interval: 30s, unhealthy_threshold: 2, healthy_threshold: 2, \
             http_health_check: {{path: /health}}}}]\n  load_assignment: {{cluster_name: c, endpoints: [{}]}}\n",
            locality(0, &[a.port, b.port])
        );
        let file = dir.path().join("cds.yaml");
        std::fs::write(&file, cluster).unwrap();
        let top = format!(
            "node: {{id: me, cluster: us}}\ndynamic_resources: {{cds_config: {{resource_api_version: V3, path_config_source: {{path: \"{}\"}}}}}}",
            file.display()
        );
        let routes = "validate_clusters: false\nvirtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /}, route: {cluster: c}}]}]";
        let bootstrap = Bootstrap::default().top(&top).http_config("http", "", routes);
        let config = bootstrap.render(&[], &dir.path().join("access.log").to_string_lossy());
        let process = Process::start(program, &config, dir.path(), &[]);
        // Without panic, a cluster whose hosts were not checked has none to use.
        let bodies = (0..4).map(|_| {
            let stream = std::net::TcpStream::connect(("127.0.0.1", process.port("http"))).unwrap();
            let message = get(&mut Wire::new(stream, PATIENCE), "/").unwrap();
            format!("{} {}", message.status(), String::from_utf8_lossy(&message.body))
        });
        bodies.collect()
    });
}
