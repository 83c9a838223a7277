//! How requests spread over hosts, beside Envoy: the same load through both proxies, with the same hosts, weights and health.
//!
//! Envoy's counts and ours are two samples; a chi-squared test asks whether they can be of one distribution. Its limit is such that
//! a policy that is right fails it once in a million runs, and one that is off by a few percent of a host's share fails at once.
//! Policies without chance in them are far below the limit. Where a hash decides, the counts must be equal.
//!
//! How a new host warms up is compared by its share in each part of its window. What depends on requests that overlap (bounded loads,
//! peak-EWMA) is simulated in the model's own tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "distribution/stage.rs"]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use sampan_tests::harness::process::Program;

use stage::{Clusters, Counts, Host, Stage, cluster, locality, run};

/// Requests for each policy.
const LOAD: usize = 3000;

/// The value of a chi-squared statistic with so many degrees of freedom that chance exceeds once in a million, by Wilson and
/// Hilferty's approximation.
fn limit(freedom: usize) -> f64 {
    const ONE_IN_A_MILLION: f64 = 4.7534;
    let part = 2.0 / (9.0 * freedom as f64);
    freedom as f64 * (1.0 - part + ONE_IN_A_MILLION * part.sqrt()).powi(3)
}

/// Compares two samples of one size.
fn assert_alike(what: &str, one: &Counts, other: &Counts) {
    let hosts: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let count = |counts: &Counts, host: &String| counts.get(host).copied().unwrap_or(0) as f64;
    let cells = hosts.iter().map(|host| (count(one, host), count(other, host)));
    let statistic: f64 = cells.map(|(a, b)| (a - b).powi(2) / (a + b)).sum();
    let limit = limit(hosts.len().saturating_sub(1).max(1));
    assert!(
        statistic < limit,
        "{what}: {statistic:.1} is beyond {limit:.1}: Envoy {one:?}, Sampan {other:?}"
    );
}

/// Plays the same clusters on both and compares each.
fn compare(top: &str, hosts: usize, clusters: Clusters<'_>) {
    let results = run(top, hosts, clusters, LOAD);
    if let [envoy, sampan] = results.as_slice() {
        for (name, counts) in envoy {
            assert_alike(name, counts, &sampan[name]);
        }
    }
}

#[test]
fn the_statistic_tells_samples_apart() {
    let counts = |values: &[usize]| -> Counts {
        values.iter().enumerate().map(|(at, value)| (format!("{at}"), *value)).collect()
    };
    // The exact values are 23.9 and 35.9; the approximation errs towards fewer alarms.
    assert!(
        (23.9..28.0).contains(&limit(1)) && (35.8..38.0).contains(&limit(5)),
        "{} {}",
        limit(1),
        limit(5)
    );
    assert_alike("chance", &counts(&[1000, 1000, 1000]), &counts(&[960, 1030, 1010]));
    let off = || assert_alike("off", &counts(&[1000, 1000, 1000]), &counts(&[1300, 850, 850]));
    assert!(std::panic::catch_unwind(off).is_err());
}

#[test]
fn by_weight_and_by_chance() {
    compare("", 4, &|ports| {
        let weights = |weights: [u32; 4]| locality("", &Host::weighted(ports, &weights));
        let (even, rising) = (weights([1; 4]), weights([1, 2, 3, 6]));
        vec![
            ("round-robin", cluster("round-robin", "lb_policy: ROUND_ROBIN", &even)),
            ("round-robin-weighted", cluster("round-robin-weighted", "lb_policy: ROUND_ROBIN", &rising)),
            ("least-request", cluster("least-request", "lb_policy: LEAST_REQUEST", &even)),
            (
                "least-request-weighted",
                cluster("least-request-weighted", "lb_policy: LEAST_REQUEST", &rising),
            ),
            ("random", cluster("random", "lb_policy: RANDOM", &even)),
            ("random-weighted", cluster("random-weighted", "lb_policy: RANDOM", &rising)),
        ]
    });
}

#[test]
fn by_hash() {
    let results = run(
        "",
        5,
        &|ports| {
            let hosts = locality("", &Host::keyed(ports, &[1, 1, 2, 3, 5]));
            let of = |name, policy: &str| (name, cluster(name, policy, &hosts));
            vec![of("ring-hash", "lb_policy: RING_HASH"), of("maglev", "lb_policy: MAGLEV")]
        },
        LOAD,
    );
    if let [envoy, sampan] = results.as_slice() {
        assert_eq!(envoy, sampan, "a hash goes to the same host");
    }
}

#[test]
fn by_place_and_health() {
    compare("", 6, &|ports| {
        let host = |at: usize, health: &str| Host {
            port: ports[at],
            weight: 1,
            more: format!(", health_status: {health}"),
        };
        let all = |healths: &[&str], from: usize| -> Vec<Host> {
            healths.iter().enumerate().map(|(at, health)| host(from + at, health)).collect()
        };
        let (h, u, d) = ("HEALTHY", "UNHEALTHY", "DEGRADED");
        let two = |first: &[&str], second: &[&str]| {
            format!(
                "{}, {}",
                locality("priority: 0,", &all(first, 0)),
                locality("priority: 1,", &all(second, first.len()))
            )
        };
        let zones = |fields: [&str; 2]| {
            let zone = |name: &str, fields: &str, from: usize| {
                locality(&format!("locality: {{zone: {name}}}, {fields}"), &all(&[h, h, h], from))
            };
            format!("{}, {}", zone("one", fields[0], 0), zone("two", fields[1], 3))
        };
        let weighted = "common_lb_config: {locality_weighted_lb_config: {}}";
        let labelled = |at: usize, label: &str| Host {
            port: ports[at],
            weight: 1,
            more: format!(", metadata: {{filter_metadata: {{envoy.lb: {{v: {label}}}}}}}"),
        };
        let labels = ["one", "one", "two", "two", "two", "three"];
        let labelled: Vec<Host> = labels.iter().enumerate().map(|(at, label)| labelled(at, label)).collect();
        let subset = "lb_policy: RANDOM\n  lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [v]}]}";
        vec![
            ("priorities", cluster("priorities", "lb_policy: RANDOM", &two(&[h, h, u, u], &[h, h]))),
            (
                "overprovisioned",
                cluster("overprovisioned", "lb_policy: RANDOM", &two(&[h, h, h, u], &[h, h])),
            ),
            ("degraded", cluster("degraded", "lb_policy: RANDOM", &two(&[h, d, u, u], &[h, u]))),
            ("panic", cluster("panic", "lb_policy: RANDOM", &two(&[h, u, u, u], &[u, u]))),
            (
                "localities",
                cluster(
                    "localities",
                    weighted,
                    &zones(["load_balancing_weight: 1,", "load_balancing_weight: 3,"]),
                ),
            ),
            ("subset", cluster("subset", subset, &locality("", &labelled))),
        ]
    });
}

#[test]
fn by_zone() {
    let top =
        "node: {id: me, cluster: us, locality: {zone: one}}\ncluster_manager: {local_cluster_name: local}";
    compare(top, 6, &|ports| {
        let zone = |name: &str, ports: &[u16]| {
            locality(&format!("locality: {{zone: {name}}},"), &Host::weighted(ports, &[1; 6]))
        };
        let zones = |one: &[u16], two: &[u16], three: &[u16]| {
            [zone("one", one), zone("two", two), zone("three", three)].join(", ")
        };
        // Of us two in five are in each of two zones, one in five in the third.
        let local = zones(&ports[..2], &ports[2..4], &ports[4..5]);
        let aware = |policy: &str| {
            format!("{policy}\n  common_lb_config: {{zone_aware_lb_config: {{min_cluster_size: 3}}}}")
        };
        let part = "lb_policy: RANDOM\n  common_lb_config: {zone_aware_lb_config: {min_cluster_size: 3, routing_enabled: {value: 40}}}";
        let uneven = zones(&ports[..1], &ports[1..4], &ports[4..]);
        vec![
            ("local", cluster("local", "lb_policy: RANDOM", &local)),
            ("residual", cluster("residual", &aware("lb_policy: ROUND_ROBIN"), &uneven)),
            ("residual-random", cluster("residual-random", &aware("lb_policy: RANDOM"), &uneven)),
            ("enabled-in-part", cluster("enabled-in-part", part, &uneven)),
            (
                "all-here",
                cluster(
                    "all-here",
                    &aware("lb_policy: ROUND_ROBIN"),
                    &zones(&ports[..3], &ports[3..4], &ports[4..]),
                ),
            ),
        ]
    });
}

#[test]
fn over_several_clusters() {
    compare("", 4, &|ports| {
        let host = |at: usize, health: &str| Host {
            port: ports[at],
            weight: 1,
            more: format!(", health_status: {health}"),
        };
        let first = locality("", &[host(0, "HEALTHY"), host(1, "UNHEALTHY")]);
        let second = locality("", &[host(2, "HEALTHY"), host(3, "HEALTHY")]);
        let aggregate = "- {name: aggregate, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: envoy.clusters.aggregate, \
                         typed_config: {\"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, \
                         clusters: [first, second]}}}\n";
        vec![
            ("first", cluster("first", "lb_policy: RANDOM", &first)),
            ("second", cluster("second", "lb_policy: RANDOM", &second)),
            ("aggregate", aggregate.to_owned()),
        ]
    });
}

#[test]
fn by_reported_load() {
    let reports = ["0.2", "0.4", "0.8"];
    let policy = "load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": \
                  type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin, \
                  blackout_period: 0.2s, weight_update_period: 0.1s}}}]}";
    let play = |program| {
        let stage = Stage::start(program, "", 3, &|ports| {
            vec![("reported", cluster("reported", policy, &locality("", &Host::weighted(ports, &[1; 3]))))]
        });
        for (backend, used) in stage.backends.iter().zip(reports) {
            backend.headers(&format!(
                "endpoint-load-metrics: TEXT rps_fractional=1000,application_utilization={used}\r\n"
            ));
        }
        // Until the reports count, all get the same; then the first gets four times what the last does.
        let learned = sampan_tests::harness::poll(sampan_tests::harness::PATIENCE, || {
            let counts = stage.load("reported", 140);
            let of = |name: &str| counts.get(name).copied().unwrap_or(0);
            (of("h0") >= 2 * of("h2")).then_some(())
        });
        assert!(learned.is_some(), "{program:?} does not learn:\n{}", stage.process.stderr());
        stage.load("reported", LOAD)
    };
    let results: Vec<Counts> = sampan_tests::harness::invoke::programs().into_iter().map(play).collect();
    if let [envoy, sampan] = results.as_slice() {
        assert_alike("reported", envoy, sampan);
    }
    let sampan = results.last().unwrap();
    assert!((sampan["h0"] as f64 / (LOAD as f64 * 4.0 / 7.0) - 1.0).abs() < 0.1, "{sampan:?}");
}

/// How long a host warms up, and in how many parts that is looked at.
const WINDOW: Duration = Duration::from_secs(3);
const PARTS: usize = 4;

/// Replaces the endpoints of a cluster that is discovered by a file.
fn put_endpoints(dir: &Path, hosts: &[Host]) {
    let part = dir.join("part");
    let resources = format!(
        "resources: [{{\"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: slow, endpoints: [{}]}}]",
        locality("", hosts)
    );
    std::fs::write(&part, resources).unwrap();
    std::fs::rename(part, dir.join("endpoints.yaml")).unwrap();
}

/// The share of a second host in each part of the window after it was added.
fn share_of_a_new_host(program: Program) -> [f64; PARTS] {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::start(program, "node: {id: me, cluster: us}", 2, &|ports| {
        put_endpoints(dir.path(), &Host::weighted(&ports[..1], &[1]));
        let yaml = format!(
            "- {{name: slow, connect_timeout: 1s, type: EDS, lb_policy: ROUND_ROBIN, round_robin_lb_config: {{slow_start_config: {{slow_start_window: {}s}}}}, \
                 eds_cluster_config: {{eds_config: {{resource_api_version: V3, path_config_source: {{path: {}}}}}}}}}\n",
            WINDOW.as_secs(),
            dir.path().join("endpoints.yaml").display()
        );
        vec![("slow", yaml)]
    });
    let ports: Vec<u16> = stage.backends.iter().map(|backend| backend.port).collect();
    // The first host is as warm as it gets once its own window is over.
    let began = Instant::now();
    while began.elapsed() <= WINDOW {
        assert_eq!(stage.load("slow", 10).get("h1"), None);
        std::thread::sleep(Duration::from_millis(50));
    }
    put_endpoints(dir.path(), &Host::weighted(&ports, &[1, 1]));
    let (began, mut counts) = (Instant::now(), [(0usize, 0usize); PARTS]);
    while began.elapsed() < WINDOW {
        let part = (began.elapsed().as_secs_f64() / WINDOW.as_secs_f64() * PARTS as f64) as usize;
        let served = stage.load("slow", 20);
        let (new, all) = &mut counts[part.min(PARTS - 1)];
        *new += served.get("h1").copied().unwrap_or(0);
        *all += 20;
        // Evenly over the window.
        std::thread::sleep(Duration::from_millis(10));
    }
    counts.map(|(new, all)| new as f64 / all as f64)
}

#[test]
fn as_a_host_warms_up() {
    let programs = sampan_tests::harness::invoke::programs();
    let shares: Vec<[f64; PARTS]> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            programs.into_iter().map(|program| scope.spawn(move || share_of_a_new_host(program))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for share in &shares {
        // From a tenth of the other's weight to all of it: 0.12, 0.27, 0.38 and 0.47 in the middle of each part.
        assert!(
            share.windows(2).all(|pair| pair[0] < pair[1]) && share[0] < 0.2 && share[3] > 0.4,
            "{shares:?}"
        );
    }
    if let [envoy, sampan] = shares.as_slice() {
        assert!(envoy.iter().zip(sampan).all(|(envoy, sampan)| (envoy - sampan).abs() < 0.06), "{shares:?}");
    }
}
