//! The health check filter: answers that are cached, and answers by the health of clusters.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::upstream::answer;

/// The health check filter.
pub fn group() -> Group {
    Group { name: "health_filter", bootstrap: bootstrap(), cases: cases() }
}

/// Listeners whose filters cache: one for each case, for what is cached stays.
const CACHING: [&str; 4] = ["cached", "cached-bad", "cached-degraded", "cached-other"];

/// Listeners that answer by clusters, and the shares that they want.
const ANSWERING: [(&str, &str); 9] = [
    ("healthy", "a: {value: 100}, half: {value: 50.9}"),
    ("unhealthy", "a: {value: 100}, half: {value: 51}"),
    ("degraded", "degraded: {value: 100}"),
    ("empty", "empty: {value: 1}"),
    ("empty-allowed", "a: {value: 1}, empty: {value: 0.9}"),
    ("missing", "nope: {value: 0}"),
    ("first-fault", "nope: {value: 1}, half: {value: 100}, empty: {value: 1}"),
    ("none", ""),
    ("aggregate", "both: {value: 1}"),
];

fn bootstrap() -> Bootstrap {
    let filter = |fields: &str| {
        String::from(
            "- {name: health, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck, headers: [{name: ':path', string_match: {exact: /health}}], FIELDS}}"
        )
        .replace("FIELDS", fields)
    };
    let routes = "- {match: {prefix: /}, route: {cluster: a}}";
    let host = |upstream: &str, health: &str| {
        format!(
            "{{health_status: {health}, endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}}}"
        )
    };
    let cluster = |name: &str, hosts: &[String]| {
        let hosts = hosts.join(", ");
        format!(
            "- {{name: {name}, type: STATIC, connect_timeout: 1s, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{hosts}]}}]}}}}"
        )
    };
    let aggregate = "- {name: both, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: envoy.clusters.aggregate, typed_config: {'@type': type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [a, b]}}}";
    let mut bootstrap = Bootstrap::new()
        .clusters(&cluster("half", &[host("a", "HEALTHY"), host("b", "UNHEALTHY")]))
        .clusters(&cluster("degraded", &[host("a", "DEGRADED"), host("b", "HEALTHY")]))
        .clusters(aggregate)
        .http_filters("uncached", &filter("pass_through_mode: true, cache_time: 0.0009s"), routes);
    for name in CACHING {
        bootstrap =
            bootstrap.http_filters(name, &filter("pass_through_mode: true, cache_time: 3600s"), routes);
    }
    for (name, clusters) in ANSWERING {
        let fields = format!("pass_through_mode: false, cluster_min_healthy_percentages: {{{clusters}}}");
        bootstrap = bootstrap.http_filters(name, &filter(&fields), routes);
    }
    bootstrap
}

fn cases() -> Vec<Case> {
    let said = |name, head: &str| {
        case(name, name)
            .play("a", answer(format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\nhi")))
            .get("/health")
            .get("/health")
            .want("2.log.details", "health_check_cached")
    };
    let mut cases = vec![
        said("cached", "204 No Content\r\nx-of-upstream: 1"),
        said("cached-bad", "404 Not Found").want("2.log.code", 404).want("2.log.flags", "LH"),
        said("cached-degraded", "200 OK\r\nx-envoy-degraded: yes").want("2.h:x-envoy-degraded", ""),
        case("cached-other", "cached-other").get("/other").get("/health").get("/other").absent("2.log.flags"),
        case("cached-post", "cached").post("/health", "12345"),
        case("uncached", "uncached").get("/health").get("/health").want("2.up", "a"),
        case("cached-stats", "cached").get("/health").stats("cached.health_check"),
        case("cached-bad-stats", "cached-bad").get("/health").stats("cached-bad.health_check"),
        case("cached-degraded-stats", "cached-degraded").get("/health").stats("cached-degraded.health_check"),
    ];
    let details = |name| match name {
        "none" => (200, "-", "health_check_ok"),
        "missing" => (503, "LH", "health_check_failed_no_cluster_found"),
        "empty" | "first-fault" | "aggregate" => (503, "LH", "health_check_failed_cluster_empty"),
        "unhealthy" => (503, "LH", "health_check_failed_cluster_unhealthy"),
        _ => (200, "-", "health_check_ok_cluster_healthy"),
    };
    for (name, _) in ANSWERING {
        let (status, flags, details) = details(name);
        cases.push(case(name, name).get("/health").refused(status, flags, details));
    }
    cases.extend([
        case("healthy-other", "healthy").get("/other").via("a"),
        case("healthy-stats", "healthy").get("/health").stats("http.healthy.health_check"),
        case("unhealthy-stats", "unhealthy").get("/health").stats("http.unhealthy.health_check"),
        case("empty-stats", "empty").get("/health").stats("http.empty.health_check"),
        case("missing-stats", "missing").get("/health").stats("http.missing.health_check"),
    ]);
    cases
}
