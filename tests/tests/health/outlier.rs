//! Outlier detection.

use std::collections::BTreeMap;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::upstream::refused::Refused;

use super::backend::{Backend, Proxy, locality};

type Stats = BTreeMap<String, u64>;

/// What one program showed, which the other must show as well.
fn both(play: impl Fn(Program) -> (Vec<String>, Stats)) {
    let shown: Vec<_> = programs().into_iter().map(play).collect();
    assert!(!shown[0].0.is_empty());
    if let [envoy, sampan] = shown.as_slice() {
        assert_eq!(envoy, sampan);
    }
}

#[test]
fn errors_in_a_row_eject_a_host_for_a_while() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let detection = "outlier_detection: {consecutive_5xx: 3, interval: 0.2s, base_ejection_time: 1s, max_ejection_percent: 100}";
        let endpoints = format!("{}, {}", locality(0, &[a.port]), locality(1, &[b.port]));
        let proxy = Proxy::start(program, detection, &endpoints);
        a.answer(500);
        let mut facts = proxy.bodies(2);
        a.answer(200);
        facts.extend(proxy.bodies(1));
        a.answer(500);
        facts.extend(proxy.bodies(3));
        proxy.await_flags(a.port, "/failed_outlier_check");
        a.answer(200);
        facts.extend(proxy.bodies(2));
        let stats = proxy.stats("outlier_detection");
        proxy.await_flags(a.port, "healthy");
        facts.extend(proxy.bodies(1));
        proxy.await_stat("outlier_detection.ejections_active", 0);
        (facts, stats)
    });
}

#[test]
fn gateway_errors_have_a_limit_of_their_own() {
    both(|program| {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let detection = "outlier_detection: {consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100, \
                         base_ejection_time: 100s, max_ejection_percent: 50}";
        let endpoints = format!("{}, {}", locality(0, &[a.port]), locality(1, &[b.port]));
        let proxy = Proxy::start(program, detection, &endpoints);
        let mut facts = Vec::new();
        for status in [503, 500, 502] {
            a.answer(status);
            facts.extend(proxy.bodies(1));
        }
        a.answer(504);
        facts.extend(proxy.bodies(1));
        proxy.await_flags(a.port, "/failed_outlier_check");
        // No more than half are ejected.
        b.answer(503);
        facts.extend(proxy.bodies(2));
        proxy.await_stat("outlier_detection.ejections_overflow", 1);
        facts.extend([proxy.flags(a.port), proxy.flags(b.port)]);
        (facts, proxy.stats("outlier_detection"))
    });
}

#[test]
fn hosts_that_cannot_be_reached_count_as_gateway_errors_or_apart() {
    for split in ["false", "true"] {
        both(|program| {
            let (refused, b) = (Refused::new(), Backend::start("b"));
            let detection = format!(
                "outlier_detection: {{consecutive_5xx: 3, consecutive_local_origin_failure: 3, base_ejection_time: 100s, \
                 max_ejection_percent: 100, split_external_local_origin_errors: {split}}}"
            );
            let endpoints = format!("{}, {}", locality(0, &[refused.port]), locality(1, &[b.port]));
            let proxy = Proxy::start(program, &detection, &endpoints);
            let statuses: Vec<String> = (0..3).map(|_| proxy.get().0.to_string()).collect();
            proxy.await_flags(refused.port, "/failed_outlier_check");
            let facts = [statuses, proxy.bodies(2)].concat();
            (facts, proxy.stats("outlier_detection"))
        });
    }
}

#[test]
fn the_worst_of_many_is_ejected() {
    for (wanted, detection) in [
        (
            "success_rate",
            "success_rate_minimum_hosts: 3, success_rate_request_volume: 10, success_rate_stdev_factor: 1000",
        ),
        (
            "failure_percentage",
            "failure_percentage_minimum_hosts: 3, failure_percentage_request_volume: 10, failure_percentage_threshold: 60, \
             enforcing_failure_percentage: 100, enforcing_success_rate: 0",
        ),
    ] {
        both(|program| {
            let backends: Vec<Backend> =
                ["a", "b", "c", "d"].iter().map(|name| Backend::start(name)).collect();
            let ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
            let detection = format!(
                "outlier_detection: {{{detection}, interval: 2s, base_ejection_time: 100s, max_ejection_percent: 100, consecutive_5xx: 1000}}"
            );
            let proxy = Proxy::start(program, &detection, &locality(0, &ports));
            backends[3].answer(500);
            // However the intervals fall, one of them has enough of each.
            for _ in 0..100 {
                if proxy.flags(ports[3]) == "/failed_outlier_check" {
                    break;
                }
                proxy.bodies(20);
            }
            proxy.await_flags(ports[3], "/failed_outlier_check");
            let stats = proxy.stats("outlier_detection");
            assert_eq!(
                stats.get(&format!("cluster.c.outlier_detection.ejections_enforced_{wanted}")),
                Some(&1)
            );
            let mut facts: Vec<String> = ports.iter().map(|port| proxy.flags(*port)).collect();
            let served = proxy.bodies(8);
            facts.push(format!("d serves: {}", served.iter().any(|body| body == "d")));
            (facts, stats)
        });
    }
}

#[test]
fn few_hosts_are_not_ejected_unless_one_always_may_be() {
    for always in ["false", "true"] {
        both(|program| {
            let (a, b) = (Backend::start("a"), Backend::start("b"));
            let detection = format!(
                "outlier_detection: {{consecutive_5xx: 2, always_eject_one_host: {always}, base_ejection_time: 100s}}"
            );
            let endpoints = format!("{}, {}", locality(0, &[a.port]), locality(1, &[b.port]));
            let proxy = Proxy::start(program, &detection, &endpoints);
            a.answer(500);
            let mut facts = proxy.bodies(2);
            let counted = if always == "true" { "ejections_enforced_total" } else { "ejections_overflow" };
            proxy.await_stat(&format!("outlier_detection.{counted}"), 1);
            facts.push(proxy.flags(a.port));
            (facts, proxy.stats("outlier_detection"))
        });
    }
}
