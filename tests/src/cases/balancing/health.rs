//! The health that discovery reports, priorities, panic, and localities without weight.

use super::{cluster, endpoint, label, named_endpoint};
use crate::case::{Case, case};

pub(super) fn clusters() -> String {
    let hosts = |statuses: &[(&str, &str)]| {
        // Names of their own, as these are hosts of their own.
        let host = |(at, (upstream, status)): (usize, &(&str, &str))| {
            named_endpoint(upstream, &format!("host-{at}"), &format!(", health_status: {status}"))
        };
        statuses.iter().enumerate().map(host).collect::<Vec<_>>().join(", ")
    };
    let one = |list: &str| format!("{{lb_endpoints: [{list}]}}");
    let two = |first: &str, second: &str| {
        format!("{{priority: 0, lb_endpoints: [{first}]}}, {{priority: 1, lb_endpoints: [{second}]}}")
    };
    let keyed_first = format!(
        "{}, {}",
        named_endpoint("a", "one", &(label("hash_key: one") + ", health_status: HEALTHY")),
        named_endpoint("a", "two", &(label("hash_key: two") + ", health_status: UNHEALTHY"))
    );
    [
        cluster("draining", "lb_policy: ROUND_ROBIN", &one(&hosts(&[("a", "DRAINING"), ("b", "HEALTHY")]))),
        cluster("timeout", "lb_policy: ROUND_ROBIN", &one(&hosts(&[("a", "TIMEOUT"), ("b", "UNKNOWN")]))),
        cluster(
            "degraded",
            "lb_policy: ROUND_ROBIN",
            &one(&hosts(&[("a", "DEGRADED"), ("b", "HEALTHY"), ("b", "HEALTHY"), ("b", "HEALTHY")])),
        ),
        cluster(
            "only-degraded",
            "lb_policy: ROUND_ROBIN",
            &one(&hosts(&[("a", "DEGRADED"), ("b", "UNHEALTHY")])),
        ),
        cluster(
            "failover",
            "lb_policy: ROUND_ROBIN",
            &two(&hosts(&[("a", "UNHEALTHY")]), &hosts(&[("b", "HEALTHY")])),
        ),
        cluster(
            "overprovisioned",
            "lb_policy: ROUND_ROBIN",
            // Three of four, times 1.4: all of it stays.
            &two(
                &hosts(&[("a", "HEALTHY"), ("a", "HEALTHY"), ("a", "HEALTHY"), ("a", "UNHEALTHY")]),
                &hosts(&[("b", "HEALTHY")]),
            ),
        ),
        cluster(
            "no-panic",
            "common_lb_config: {healthy_panic_threshold: {value: 0}}",
            &one(&hosts(&[("a", "UNHEALTHY"), ("a", "UNHEALTHY"), ("a", "UNHEALTHY"), ("b", "HEALTHY")])),
        ),
        cluster(
            "failing-panic",
            "common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}",
            &one(&hosts(&[("a", "UNHEALTHY"), ("b", "UNHEALTHY"), ("b", "HEALTHY"), ("b", "UNHEALTHY")])),
        ),
        // Half of the first, times 1.4: seven in ten hashes.
        cluster(
            "priorities",
            "lb_policy: MAGLEV",
            &two(&keyed_first, &endpoint("b", &label("hash_key: three"))),
        ),
        cluster(
            "two-priorities",
            "lb_policy: RING_HASH",
            &two(&keyed_first, &endpoint("b", &label("hash_key: three"))),
        ),
    ]
    .concat()
}

fn named(name: &'static str, cluster: &str) -> Case {
    let lines = format!("host: test\r\nx-cluster: {cluster}\r\n");
    (0..5).fold(case(name, "named"), |case, _| case.get_with("/", &lines))
}

/// Which of several hosts at one upstream a request reaches is chance.
fn drawn(case: Case) -> Case {
    let connections = ["2.up:connection", "3.up:connection", "4.up:connection", "5.up:connection"];
    connections.into_iter().fold(case.ignore("up:connection"), Case::ignore)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        named("draining-is-left-out", "draining").via("b"),
        named("timeout-is-left-out", "timeout").via("b"),
        named("degraded-is-for-later", "degraded").via("b"),
        named("degraded-is-better-than-nothing", "only-degraded").via("a"),
        named("the-next-priority", "failover").via("b"),
        named("overprovisioning", "overprovisioned").via("a"),
        named("panic-off", "no-panic").via("b"),
        named("panic-fails", "failing-panic").status(503).flags("UH"),
        named("localities-without-weight", "locality-wrr").via("b"),
        drawn(named("localities-least-request", "locality-least")).via("b"),
        drawn(named("localities-random", "locality-random")).via("b"),
    ]
}
