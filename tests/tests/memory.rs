//! What the proxy takes at rest: with one listener and one cluster, and with 5,000 clusters from a file. The bounds are those of a release
//! build, which puts what start-up runs next to each other (`proxy/layout.ld`); a debug build's are only to notice what grows without end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::time::Duration;

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};

const MIB: u64 = 1024;

/// The most that may be resident, in KiB.
struct Bound {
    /// What the process has written: heap, stacks, relocations.
    own: u64,
    /// With the pages of the program and its libraries. How many of those there are besides the ones that were needed depends on how the files lie
    /// in the page cache; `compare` measures 11 MiB for all.
    all: u64,
}

const fn bound(own: u64, all: u64) -> Bound {
    if cfg!(debug_assertions) {
        Bound { own: 200 * MIB, all: 300 * MIB }
    } else {
        Bound { own: own * MIB, all: all * MIB }
    }
}

const IDLE: Bound = bound(5, 18);
const MANY: Bound = bound(48, 60);
const CLUSTERS: usize = 5_000;
/// How long what loading took may take to be given back.
const SETTLE: Duration = Duration::from_secs(10);

/// Starts on the configuration, has a request answered, and holds the process to the bound.
fn rests_below(config: &str, bound: &Bound) {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(Program::Sampan, config, dir.path(), &[]);
    let mut wire = connect(process.port("http")).unwrap();
    assert_eq!(get(&mut wire, "/").unwrap().status(), 200);
    poll(SETTLE, || {
        (process.anonymous_kib() <= bound.own && process.resident_kib() <= bound.all).then_some(())
    });
    let (own, all) = (process.anonymous_kib(), process.resident_kib());
    println!("{own} KiB of {}, with files {all} of {}", bound.own, bound.all);
    assert!(own > 0 && own <= bound.own, "{own} KiB are its own, {} are allowed", bound.own);
    assert!(
        all <= bound.all,
        "{all} KiB are resident, {} are allowed; if only the code has grown: just layout",
        bound.all
    );
}

#[test]
fn idle() {
    let direct =
        Bootstrap::default().http("http", "", "- {match: {prefix: /}, direct_response: {status: 200}}");
    rests_below(&direct.render(&[], "/dev/null"), &IDLE);
}

#[test]
fn many_static_clusters_with_a_virtual_host_each() {
    let (mut hosts, mut clusters) = (String::new(), String::new());
    for n in 0..CLUSTERS {
        write!(hosts, "{{name: c{n}, domains: [c{n}.example], routes: [{{match: {{prefix: /}}, route: {{cluster: c{n}}}}}]}}, ").unwrap();
        write!(
            clusters,
            "{{name: c{n}, type: STATIC, load_assignment: {{cluster_name: c{n}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
             {{socket_address: {{address: 127.0.0.1, port_value: 9}}}}}}}}]}}]}}}}, "
        )
        .unwrap();
    }
    let config = format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: http
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts: [{hosts}{{name: rest, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters: [{clusters}]
"#
    );
    rests_below(&config, &MANY);
}
