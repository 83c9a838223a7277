//! Zone-aware routing: which zone a request goes to, where this proxy is in zone `one` and there are as many like it in `two`.
//!
//! What is `a` in the upstream clusters is in our zone, what is `b` in others.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// Zone-aware routing.
pub fn group() -> Group {
    Group { name: "zones", bootstrap: bootstrap(), cases: cases() }
}

/// A locality with `count` hosts at one upstream.
fn zone(zone: &str, upstream: &str, count: u32, more: &str) -> String {
    let host = |number| {
        format!(
            "{{endpoint: {{hostname: {zone}-{number}, address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}}}"
        )
    };
    let hosts: Vec<String> = (0..count).map(host).collect();
    format!("{{locality: {{zone: {zone}}}, {more} lb_endpoints: [{}]}}", hosts.join(", "))
}

fn cluster(name: &str, fields: &str, zones: &[String]) -> String {
    let zones = zones.join(", ");
    format!(
        "- {{name: {name}, connect_timeout: 1s, type: STATIC, {fields}, load_assignment: {{cluster_name: x, endpoints: [{zones}]}}}}\n"
    )
}

fn aware(fields: &str) -> String {
    format!("common_lb_config: {{zone_aware_lb_config: {{{fields}}}}}")
}

fn typed(policy: &str, fields: &str) -> String {
    format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.load_balancing_policies.{policy}, locality_lb_config: \
         {{zone_aware_lb_config: {{{fields}}}}}}}}}}}]}}"
    )
}

fn bootstrap() -> Bootstrap {
    let even = || [zone("one", "a", 3, ""), zone("two", "b", 3, "")];
    let uneven = || [zone("one", "a", 1, ""), zone("two", "b", 9, "")];
    let clusters = [
        cluster("local", "lb_policy: RANDOM", &[zone("one", "a", 1, ""), zone("two", "a", 1, "")]),
        // On unless it is switched off.
        cluster("usual", "lb_policy: ROUND_ROBIN", &even()),
        cluster("least", "lb_policy: LEAST_REQUEST", &even()),
        cluster("random", "lb_policy: RANDOM", &even()),
        cluster("small", &aware("min_cluster_size: 2"), &[zone("one", "a", 1, ""), zone("two", "b", 1, "")]),
        cluster(
            "other-order",
            &aware("min_cluster_size: 2"),
            &[zone("two", "b", 1, ""), zone("one", "a", 1, "")],
        ),
        cluster("none-here", "lb_policy: ROUND_ROBIN", &[zone("two", "b", 4, ""), zone("three", "b", 4, "")]),
        // What is in priority 1 is nobody's zone.
        cluster(
            "priorities",
            "lb_policy: ROUND_ROBIN",
            &[zone("one", "a", 3, ""), zone("two", "b", 3, ""), zone("one", "refused", 3, "priority: 1,")],
        ),
        cluster(
            "weighted",
            "common_lb_config: {locality_weighted_lb_config: {}}",
            &[zone("one", "a", 4, ""), zone("two", "b", 4, "load_balancing_weight: 5,")],
        ),
        cluster("typed", &typed("round_robin.v3.RoundRobin", "min_cluster_size: 2"), &even()),
        cluster("forced", &typed("random.v3.Random", "force_local_zone: {}"), &uneven()),
        cluster(
            "forced-old",
            &typed("least_request.v3.LeastRequest", "force_locality_direct_routing: true"),
            &uneven(),
        ),
        cluster(
            "by-weight",
            &typed("round_robin.v3.RoundRobin", "locality_basis: HEALTHY_HOSTS_WEIGHT"),
            &even(),
        ),
    ];
    Bootstrap::new()
        .top("node: {id: me, cluster: us, locality: {zone: one}}")
        .top("cluster_manager: {local_cluster_name: local}")
        .clusters(&clusters.concat())
        .http("zones", "", "- {match: {prefix: /}, route: {cluster_header: x-cluster}}")
}

/// Six requests to a cluster.
fn six(name: &'static str, cluster: &str) -> Case {
    let lines = format!("host: test\r\nx-cluster: {cluster}\r\n");
    let connections =
        ["2.up:connection", "3.up:connection", "4.up:connection", "5.up:connection", "6.up:connection"];
    let case = (0..6).fold(case(name, "zones"), |case, _| case.get_with("/", &lines));
    connections.into_iter().fold(case.ignore("up:connection"), Case::ignore)
}

fn all(name: &'static str, cluster: &str, upstream: &str) -> Case {
    (2..=6)
        .fold(six(name, cluster).via(upstream), |case, number| case.want(&format!("{number}.up"), upstream))
}

fn cases() -> Vec<Case> {
    let named = |case: Case, stats| case.stats(stats);
    vec![
        named(all("stays-here", "usual", "a"), r"^cluster\.usual\.lb_zone_routing"),
        all("least-request", "least", "a"),
        all("random", "random", "a"),
        all("small-cluster", "small", "a"),
        all("order-of-zones", "other-order", "a"),
        named(all("nobody-here", "none-here", "b"), r"^cluster\.none-here\.lb_zone_(routing|no_cap)"),
        all("first-priority", "priorities", "a"),
        all("locality-weights-count-first", "weighted", "b"),
        all("typed", "typed", "a"),
        named(all("forced", "forced", "a"), r"^cluster\.forced\.lb_zone_routing"),
        all("forced-by-the-old-name", "forced-old", "a"),
        all("by-weight", "by-weight", "a"),
    ]
}
