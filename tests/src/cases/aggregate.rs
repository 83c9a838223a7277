//! Aggregate clusters: the next cluster takes what the one before cannot carry.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk;

/// Aggregate clusters.
pub fn group() -> Group {
    Group { name: "aggregate", bootstrap: bootstrap(), cases: cases() }
}

/// A cluster by the upstream, health and priority of each host.
fn cluster(name: &str, fields: &str, hosts: &[(&str, &str, u32)]) -> String {
    let host = |(number, (upstream, health, priority)): (usize, &(&str, &str, u32))| {
        format!(
            "{{priority: {priority}, lb_endpoints: [{{health_status: {health}, endpoint: {{hostname: host-{number}, address: \
             {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}}}]}}"
        )
    };
    let hosts: Vec<String> = hosts.iter().enumerate().map(host).collect();
    format!(
        "- {{name: {name}, connect_timeout: 1s, type: STATIC, {fields} load_assignment: {{cluster_name: x, endpoints: [{}]}}}}\n",
        hosts.join(", ")
    )
}

fn aggregate(name: &str, fields: &str, clusters: &str) -> String {
    format!(
        "- {{name: {name}, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, {fields} cluster_type: {{name: envoy.clusters.aggregate, typed_config: \
         {{\"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [{clusters}]}}}}}}\n"
    )
}

fn bootstrap() -> Bootstrap {
    let clusters = [
        cluster("first", "", &[("a", "HEALTHY", 0)]),
        cluster("second", "", &[("b", "HEALTHY", 0)]),
        cluster("failed", "", &[("a", "UNHEALTHY", 0)]),
        cluster("degraded", "", &[("a", "DEGRADED", 0)]),
        cluster("priorities", "", &[("refused", "UNHEALTHY", 0), ("b", "HEALTHY", 1)]),
        cluster("hashing", "lb_policy: MAGLEV,", &[("b", "HEALTHY", 0), ("b", "HEALTHY", 0)]),
        cluster("closed", "circuit_breakers: {thresholds: [{max_requests: 0}]},", &[("a", "HEALTHY", 0)]),
        cluster("named", "alt_stat_name: other,", &[("a", "HEALTHY", 0)]),
        aggregate("in-order", "", "first, second"),
        aggregate("next", "", "failed, second"),
        aggregate("missing", "", "nobody, second"),
        aggregate("without-hosts", "", "empty, second"),
        aggregate("degraded-last", "", "degraded, second"),
        aggregate("only-degraded", "", "failed, degraded"),
        aggregate("next-priority", "", "priorities, first"),
        aggregate("all-failed", "", "failed"),
        aggregate(
            "all-failed-no-panic",
            "common_lb_config: {healthy_panic_threshold: {value: 0}},",
            "failed",
        ),
        aggregate("nothing", "", "empty"),
        aggregate("by-hash", "", "hashing"),
        aggregate("of-aggregates", "", "in-order, second"),
        aggregate("overflow", "", "closed, second"),
        aggregate("alternative-name", "alt_stat_name: another,", "named"),
    ];
    Bootstrap::new()
        .clusters(&clusters.concat())
        .http(
            "aggregate",
            "",
            "- {match: {path: /hash}, route: {cluster: by-hash, hash_policy: [{header: {header_name: x-key}}]}}\n\
             - {match: {prefix: /}, route: {cluster_header: x-cluster}}",
        )
        .tcp("tcp-in-order", "cluster: in-order")
        .tcp("tcp-next", "cluster: next")
        .tcp("tcp-nothing", "cluster: nothing")
}

fn to(name: &'static str, cluster: &str) -> Case {
    let lines = format!("host: test\r\nx-cluster: {cluster}\r\n");
    (0..3).fold(case(name, "aggregate"), |case, _| case.get_with("/", &lines))
}

fn cases() -> Vec<Case> {
    let none = |case: Case| case.refused(503, "UH", "no_healthy_upstream");
    vec![
        to("in-order", "in-order")
            .via("a")
            .stats(r"^cluster\.(in-order|first|second)\.upstream_rq_(total|2xx|200|completed)$"),
        to("the-next-one", "next").via("b").want("3.up", "b"),
        to("one-that-is-missing", "missing").via("b"),
        to("one-without-hosts", "without-hosts").via("b"),
        to("degraded-hosts-come-last", "degraded-last").via("b"),
        to("degraded-hosts-are-better-than-none", "only-degraded").via("a"),
        to("priorities-of-the-first", "next-priority").via("b"),
        to("panic", "all-failed").via("a"),
        // The panic of its own cluster counts then.
        to("no-panic-of-its-own", "all-failed-no-panic").status(200).only(&["status", "up", "log.code"]),
        none(to("no-hosts-at-all", "nothing")).stats(r"^cluster\.(nothing|empty)\.upstream_cx_none_healthy$"),
        case("by-hash", "aggregate").get_with("/hash", "host: test\r\nx-key: k\r\n").via("b"),
        to("of-aggregates", "of-aggregates").via("b"),
        to("breakers-are-the-clusters-own", "overflow").status(503).flags("UO"),
        to("alternative-name", "alternative-name").via("a"),
        case("tcp", "tcp-in-order").get("/").talk([Talk::Close]).logs(1).want("up", "a"),
        case("tcp-next", "tcp-next").get("/").talk([Talk::Close]).logs(1).want("up", "b"),
        case("tcp-nothing", "tcp-nothing").talk([Talk::AwaitClose]).logs(1).want("log.flags", "UH"),
    ]
}
