//! The admin API's shapes, tried on both programs: what istioctl, pilot-agent, func-e, Prometheus and dashboards read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::solo::{Solo, get};
use serde_json::Value;

/// A proxy that has served one request and failed one.
fn started(program: Program) -> Solo {
    let solo = Solo::start(program, &[]);
    let mut wire = solo.connect().expect("the listener is open");
    assert!(get(&mut wire, "/").is_some());
    assert!(get(&mut wire, "/refused").is_some());
    solo
}

/// Endpoint and what must be at each JSON pointer in it: a type's name.
const JSON: &[(&str, &[(&str, &str)])] = &[
    (
        "/server_info",
        &[
            ("/version", "string"),
            ("/state", "string"),
            ("/uptime_current_epoch", "string"),
            ("/uptime_all_epochs", "string"),
            ("/hot_restart_version", "string"),
            ("/command_line_options/config_path", "string"),
            ("/command_line_options/concurrency", "number"),
            ("/command_line_options/drain_time", "string"),
            ("/node", "object"),
        ],
    ),
    (
        "/listeners?format=json",
        &[
            ("/listener_statuses/0/name", "string"),
            ("/listener_statuses/0/local_address/socket_address/address", "string"),
            ("/listener_statuses/0/local_address/socket_address/port_value", "number"),
        ],
    ),
    (
        "/clusters?format=json",
        &[
            ("/cluster_statuses/0/name", "string"),
            ("/cluster_statuses/0/observability_name", "string"),
            ("/cluster_statuses/0/circuit_breakers/thresholds/0/max_connections", "number"),
            ("/cluster_statuses/0/host_statuses/0/address/socket_address/address", "string"),
            ("/cluster_statuses/0/host_statuses/0/address/socket_address/port_value", "number"),
            ("/cluster_statuses/0/host_statuses/0/stats/0/name", "string"),
            ("/cluster_statuses/0/host_statuses/0/health_status/eds_health_status", "string"),
            ("/cluster_statuses/0/host_statuses/0/weight", "number"),
            ("/cluster_statuses/0/host_statuses/0/locality", "object"),
        ],
    ),
    (
        "/config_dump",
        &[
            ("/configs/0/@type", "string"),
            ("/configs/0/bootstrap/static_resources/listeners/0/name", "string"),
            ("/configs/0/last_updated", "string"),
            ("/configs/1/static_clusters/0/cluster/name", "string"),
            ("/configs/2/static_listeners/0/listener/name", "string"),
        ],
    ),
    ("/stats?format=json", &[("/stats/0/name", "string"), ("/stats/0/value", "number")]),
    ("/memory", &[("/allocated", "string"), ("/heap_size", "string")]),
    ("/runtime", &[("/entries", "object"), ("/layers", "array")]),
    ("/certs", &[]),
];

#[test]
fn json_has_the_fields_that_tools_read() {
    let mut report = Vec::new();
    for program in programs() {
        let solo = started(program);
        for (endpoint, fields) in JSON {
            let (status, body) = solo.process.admin("GET", endpoint);
            let Ok(document) = serde_json::from_str::<Value>(&body) else {
                report.push(format!("{program:?} {endpoint}: {status}, not JSON: {}", start(&body)));
                continue;
            };
            for (pointer, kind) in *fields {
                let found = document.pointer(pointer).map_or("nothing", kind_of);
                if found != *kind {
                    report.push(format!("{program:?} {endpoint} {pointer}: {found}, should be {kind}"));
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}

/// Method, path, status and a part of the body.
const TEXT: &[(&str, &str, u16, &str)] = &[
    ("GET", "/ready", 200, "LIVE\n"),
    ("GET", "/", 200, "config_dump"),
    ("GET", "/help", 200, "admin commands are:"),
    ("GET", "/nothing", 404, "invalid path"),
    ("GET", "/listeners", 200, "http::127.0.0.1:"),
    ("GET", "/clusters", 200, "a::default_priority::max_connections::1024"),
    ("GET", "/clusters", 200, "::health_flags::healthy"),
    ("GET", "/clusters", 200, "a::added_via_api::false"),
    ("GET", "/stats?filter=server.live", 200, "server.live: 1"),
    (
        "GET",
        "/stats?usedonly&filter=^(server\\.state|listener_manager\\.workers_started)",
        200,
        "server.state: 0",
    ),
    (
        "GET",
        "/stats?usedonly&filter=^(server\\.state|listener_manager\\.workers_started)",
        200,
        "listener_manager.workers_started: 1",
    ),
    ("GET", "/stats?filter=downstream_cx_active$", 200, "http.http.downstream_cx_active:"),
    ("GET", "/stats/prometheus", 200, "# TYPE envoy_server_live gauge"),
    ("GET", "/stats?format=prometheus", 200, "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\"} 1"),
    ("GET", "/hot_restart_version", 200, ""),
    ("GET", "/quitquitquit", 405, ""),
    ("GET", "/healthcheck/fail", 405, ""),
    ("GET", "/logging", 405, ""),
    ("POST", "/logging", 200, "active loggers:"),
    ("POST", "/logging?level=info", 200, "http: info"),
    ("POST", "/logging?http=debug", 200, "http: debug"),
    ("POST", "/logging?level=loud", 400, ""),
    ("POST", "/reset_counters", 200, "OK\n"),
    ("POST", "/healthcheck/fail", 200, "OK\n"),
    ("GET", "/ready", 503, "DRAINING"),
    ("POST", "/healthcheck/ok", 200, "OK\n"),
    ("GET", "/ready", 200, "LIVE"),
    ("POST", "/drain_listeners?graceful&skip_exit", 200, "OK\n"),
    ("POST", "/drain_listeners?inboundonly", 200, "OK\n"),
];

#[test]
fn text_says_what_tools_look_for() {
    let mut report = Vec::new();
    for program in programs() {
        let solo = started(program);
        for (method, path, status, part) in TEXT {
            // Stats of the workers reach the admin a little later.
            let right = || {
                let (got, body) = solo.process.admin(method, path);
                (got == *status && body.contains(part)).then_some(())
            };
            if poll(PATIENCE / 5, right).is_none() {
                let (got, body) = solo.process.admin(method, path);
                report.push(format!(
                    "{program:?} {method} {path}: {got}, wanted {status} and {part:?}: {}",
                    start(&body)
                ));
            }
        }
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}

/// The lines of `/clusters` have the same keys, and each stat a dashboard needs is there under the same name.
#[test]
fn cluster_lines_and_stats_have_the_same_names() {
    if !programs().contains(&Program::Sampan) {
        return;
    }
    let [envoy, sampan] = [Program::Envoy, Program::Sampan].map(started);
    let keys = |solo: &Solo| -> BTreeSet<String> {
        let (_, body) = solo.process.admin("GET", "/clusters");
        let of_host = |line: &str| {
            line.splitn(3, "::").nth(2).map(|rest| rest.split("::").next().unwrap_or_default().to_owned())
        };
        body.lines().filter(|line| line.starts_with("a::127")).filter_map(of_host).collect()
    };
    assert_eq!(keys(&sampan), keys(&envoy));
    let missing: Vec<&str> = STATS.iter().filter(|name| !has_stat(&sampan, name)).copied().collect();
    let unknown: Vec<&str> = STATS.iter().filter(|name| !has_stat(&envoy, name)).copied().collect();
    assert!(unknown.is_empty(), "Envoy has no {unknown:?}");
    assert!(missing.is_empty(), "Sampan has no {missing:?}");
}

/// Names with a value other than zero after one good and one refused request.
const STATS: &[&str] = &[
    "http.http.downstream_cx_total",
    "http.http.downstream_rq_total",
    "http.http.downstream_rq_2xx",
    "http.http.downstream_rq_5xx",
    "http.http.downstream_rq_completed",
    "http.http.downstream_cx_http1_total",
    "http.http.downstream_cx_rx_bytes_total",
    "http.http.downstream_cx_tx_bytes_total",
    "cluster.a.upstream_cx_total",
    "cluster.a.upstream_cx_http1_total",
    "cluster.a.upstream_rq_total",
    "cluster.a.upstream_rq_200",
    "cluster.a.upstream_rq_2xx",
    "cluster.a.upstream_rq_completed",
    "cluster.a.membership_total",
    "cluster.a.membership_healthy",
    "cluster.refused.upstream_cx_connect_fail",
    "cluster.refused.upstream_rq_pending_failure_eject",
    "cluster.refused.upstream_rq_503",
    "cluster_manager.active_clusters",
    "listener_manager.total_listeners_active",
    "listener_manager.workers_started",
    "server.live",
    "server.concurrency",
];

fn has_stat(solo: &Solo, name: &str) -> bool {
    let found = || {
        let (_, body) = solo.process.admin("GET", &format!("/stats?usedonly&filter=^{name}$"));
        let value =
            body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok());
        value.filter(|value| *value > 0)
    };
    poll(PATIENCE / 5, found).is_some()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn start(text: &str) -> String {
    text.chars().take(160).collect()
}
