//! Clusters: circuit breakers, priorities, host choice and names, and the connection options of their pools.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk::{self, AwaitClose, AwaitUpstream, Read};
use crate::harness::upstream::Play::AfterRequest;
use crate::harness::upstream::Step::{Close, Hang, Send};

/// Clusters.
pub fn group() -> Group {
    Group { name: "clusters", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    let names = [
        "few-requests",
        "few-pending",
        "few-connections",
        "breaker-open",
        "round-robin",
        "least-request",
        "random",
        "lb-policy-api",
        "priorities",
        "weights",
        "one-per-connection",
        "by-name",
        "hostnames",
        "alt-name",
        "refused-then-a",
        "logical",
        "unhealthy",
    ];
    let route =
        |name: &&str| format!("- {{name: {name}, match: {{path: /{name}}}, route: {{cluster: {name}}}}}\n");
    let routes: String = names.iter().map(route).collect();
    let breaker = |limits: &str| format!("circuit_breakers: {{thresholds: [{{{limits}}}]}}");
    let two = |extra: &str| {
        format!(
            "{extra}\n  load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT(a)}}}}}}}}, {{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT(b)}}}}}}}}]}}]}}"
        )
    };
    let cluster = |name: &str, rest: &str| format!("- name: {name}\n  connect_timeout: 1s\n  {rest}\n");
    Bootstrap::new()
        .http("clusters", "", &routes)
        .cluster("few-requests", "a", &breaker("max_requests: 1"))
        .cluster("few-pending", "a", &breaker("max_connections: 1, max_pending_requests: 1"))
        .cluster("few-connections", "a", &breaker("max_connections: 1"))
        .cluster("breaker-open", "a", &breaker("max_requests: 0"))
        .options_cluster("one-per-connection", "a", "common_http_protocol_options: {max_requests_per_connection: 1}\nexplicit_http_config: {http_protocol_options: {}}")
        .cluster("alt-name", "a", "alt_stat_name: other")
        .clusters(&cluster("round-robin", &two("type: STATIC\n  lb_policy: ROUND_ROBIN")))
        .clusters(&cluster("least-request", &two("type: STATIC\n  lb_policy: LEAST_REQUEST")))
        .clusters(&cluster("random", &two("type: STATIC\n  lb_policy: RANDOM")))
        .clusters(&cluster("lb-policy-api", &two("type: STATIC\n  load_balancing_policy: {policies: [{typed_extension_config: {name: rr, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}")))
        .clusters(&cluster("priorities", "type: STATIC\n  load_assignment: {cluster_name: x, endpoints: [{priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}]}, {priority: 0, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(b)}}}}]}]}"))
        .clusters(&cluster("weights", "type: STATIC\n  load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{load_balancing_weight: 1, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}]}]}"))
        .clusters(&cluster("by-name", "type: STRICT_DNS\n  dns_lookup_family: V4_ONLY\n  load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: $PORT(a)}}}}]}]}"))
        .clusters(&cluster("logical", "type: LOGICAL_DNS\n  dns_lookup_family: V4_ONLY\n  load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: $PORT(a)}}}}]}]}"))
        .clusters(&cluster("hostnames", "type: STATIC\n  load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {hostname: app.local, address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}]}]}"))
        .clusters(&cluster("refused-then-a", "type: STATIC\n  load_assignment: {cluster_name: x, endpoints: [{priority: 0, lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(refused)}}}}]}, {priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}]}]}"))
        .clusters(&cluster("unhealthy", "type: STATIC\n  common_lb_config: {healthy_panic_threshold: {value: 0}}\n  load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}]}]}"))
        .http("auto-host", "", "- {match: {prefix: /}, route: {cluster: hostnames, auto_host_rewrite: true}}")
        .http("auto-host-dns", "", "- {match: {prefix: /}, route: {cluster: by-name, auto_host_rewrite: true}}")
}

fn request(path: &str) -> Talk {
    Talk::Send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").into())
}

fn overflow(name: &'static str, cluster: &str) -> Case {
    // The first request is held upstream until the second has been answered; then the upstream's patience ends with the client's.
    case(name, "clusters")
        .play("a", AfterRequest(vec![Hang]))
        .on(0, [request(cluster), AwaitUpstream(1)])
        .on(1, [request(cluster), Read])
        .logs(2)
        .status(503)
        .flags("UO")
        .want("h:x-envoy-overloaded", "true")
        .details("upstream_reset_before_response_started{overflow}")
        .want("body", "upstream connect error or disconnect/reset before headers. reset reason: overflow")
}

fn both(name: &'static str, path: &str) -> Case {
    case(name, "clusters").get(path).get(path).get(path).get(path).status(200)
}

fn cases() -> Vec<Case> {
    let get = |name, path: &str| case(name, "clusters").get(path);
    let unlike = |case: Case| {
        (0..4)
            .fold(case, |case, _| case)
            .ignore("up")
            .ignore("2.")
            .ignore("3.")
            .ignore("4.")
            .ignore("body")
            .ignore("log.host")
    };
    vec![
        overflow("requests-overflow", "/few-requests"),
        get("breaker-always-open", "/breaker-open").refused(
            503,
            "UO",
            "upstream_reset_before_response_started{overflow}",
        ),
        case("connections-limit-queues", "clusters")
            .play("a", AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec())]))
            .get("/few-connections")
            .get("/few-connections")
            .via("a")
            .want("2.up:connection", 1),
        case("pending-overflow", "clusters")
            .play("a", AfterRequest(vec![Hang]))
            .on(0, [request("/few-pending"), AwaitUpstream(1)])
            .on(1, [request("/few-pending")])
            .on(2, [request("/few-pending"), Read])
            .on(1, [Talk::Close])
            .logs(3)
            .want("status", 503)
            .want("h:x-envoy-overloaded", "true")
            .ignore("log")
            .ignore("2.log")
            .ignore("3.log"),
        unlike(both("round-robin", "/round-robin")),
        unlike(both("least-request", "/least-request")),
        unlike(both("random", "/random")),
        unlike(both("lb-policy-by-extension", "/lb-policy-api")),
        get("lowest-priority-number-first", "/priorities").via("b"),
        get("next-priority-when-unhealthy", "/refused-then-a").via("a"),
        get("no-panic-no-host", "/unhealthy").refused(503, "UH", "no_healthy_upstream"),
        get("endpoint-weight", "/weights").via("a"),
        get("strict-dns", "/by-name").via("a").want("log.host", "127.0.0.1:<a>"),
        get("logical-dns", "/logical").via("a").want("log.host", "127.0.0.1:<a>"),
        case("auto-host-rewrite", "auto-host").get("/").via("a").want("up:h:host", "app.local"),
        case("auto-host-rewrite-dns", "auto-host-dns").get("/").via("a").want("up:h:host", "localhost"),
        get("alt-stat-name", "/alt-name").via("a").want("log.cluster", "other"),
        case("one-request-per-connection", "clusters")
            .get("/one-per-connection")
            .get("/one-per-connection")
            .via("a")
            .want("2.up:connection", 2),
        case("host-is-tried-again-after-failure", "clusters")
            .play("a", AfterRequest(vec![Close]))
            .get("/weights")
            .get("/weights")
            .want("status", 503)
            .want("2.status", 200),
        case("client-leaves", "clusters")
            .play("a", AfterRequest(vec![Hang]))
            .talk([request("/weights"), AwaitUpstream(1), Talk::Close])
            .logs(1)
            .want("log.code", 0)
            .flags("DC")
            .details("downstream_remote_disconnect"),
        case("client-half-closes", "clusters")
            .play("a", AfterRequest(vec![Hang]))
            .talk([request("/weights"), AwaitUpstream(1), Talk::Fin, AwaitClose])
            .logs(1)
            .flags("DC"),
    ]
}
