//! Clusters found by DNS: names that are there, that are not, that go away and that come back.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk::{AwaitClose, AwaitLookups, Read, Send};

const NAMES: &[&str] =
    &["good", "missing", "empty", "failing", "late-missing", "late-empty", "late-failing", "recovering"];

/// STRICT_DNS and LOGICAL_DNS.
pub fn group() -> Group {
    let mut cases = of_kind("strict", "STRICT_DNS");
    cases.extend(of_kind("logical", "LOGICAL_DNS"));
    Group { name: "dns", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let resolver = "typed_dns_resolver_config: {name: cares, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, resolvers: [{socket_address: {address: 127.0.0.1, port_value: $PORT(dns)}}], dns_resolver_options: {no_default_search_domain: true}}}";
    let cluster = |kind: &str, name: &str| {
        let kind = kind.to_owned();
        let domain = if kind == "STRICT_DNS" { "strict.test" } else { "logical.test" };
        format!(
            "- name: {kind}-{name}\n  type: {kind}\n  connect_timeout: 1s\n  dns_lookup_family: V4_ONLY\n  dns_refresh_rate: 0.05s\n  dns_failure_refresh_rate: {{base_interval: 0.05s, max_interval: 0.05s}}\n  {resolver}\n  load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {name}.{domain}, port_value: $PORT(a)}}}}}}}}]}}]}}"
        )
    };
    let route = |kind: &str, name: &str| {
        format!("- {{match: {{path: /{kind}/{name}}}, route: {{cluster: {kind}-{name}}}}}\n")
    };
    let kinds = ["STRICT_DNS", "LOGICAL_DNS"];
    let routes: String =
        kinds.iter().flat_map(|kind| NAMES.iter().map(move |name| route(kind, name))).collect();
    let all = kinds.iter().flat_map(|kind| NAMES.iter().map(move |name| cluster(kind, name)));
    all.fold(Bootstrap::new(), |bootstrap, cluster| bootstrap.clusters(&cluster)).http("dns", "", &routes)
}

fn of_kind(short: &'static str, kind: &str) -> Vec<Case> {
    // By the fifth question a name that changes has changed, and the answer to the fourth has been taken in.
    let get = |name: &'static str, host: &str| {
        let request = format!("GET /{kind}/{host} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        let lookup = AwaitLookups(format!("{host}.{short}.test"), if host == "good" { 1 } else { 5 });
        case(name, "dns").talk([lookup, Send(request.into()), Read, AwaitClose])
    };
    let name = |strict: &'static str, logical: &'static str| if short == "strict" { strict } else { logical };
    let gone = |case: Case| case.refused(503, "UH", "no_healthy_upstream");
    // An answer without addresses, NXDOMAIN included, empties a strict cluster; a logical one keeps what it had.
    let later = |case: Case| if short == "strict" { gone(case) } else { case.via("a") };
    vec![
        get(name("strict-good", "logical-good"), "good").via("a"),
        gone(get(name("strict-missing", "logical-missing"), "missing")),
        gone(get(name("strict-empty", "logical-empty"), "empty")),
        gone(get(name("strict-failing", "logical-failing"), "failing")),
        later(get(name("strict-then-missing", "logical-then-missing"), "late-missing")),
        later(get(name("strict-then-empty", "logical-then-empty"), "late-empty")),
        get(name("strict-then-failing", "logical-then-failing"), "late-failing").via("a"),
        get(name("strict-recovering", "logical-recovering"), "recovering").via("a"),
    ]
}
