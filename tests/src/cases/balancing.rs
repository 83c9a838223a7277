//! Which host a request goes to: hashing policies, hash policies of routes, subsets, localities, health.
//!
//! Hosts have keys of their own to be hashed by, so that both proxies see the same ones; every other host is the second upstream. A
//! dozen requests that all reach the right one of two are no chance.

mod health;
mod subsets;

use std::fmt::Write as _;

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk;

/// Load balancing.
pub fn group() -> Group {
    Group { name: "balancing", bootstrap: bootstrap(), cases: cases() }
}

/// An endpoint at one of the upstreams; `rest` begins with a comma or is empty.
fn endpoint(upstream: &str, rest: &str) -> String {
    named_endpoint(upstream, "", rest)
}

fn named_endpoint(upstream: &str, hostname: &str, rest: &str) -> String {
    format!(
        "{{endpoint: {{hostname: \"{hostname}\", address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}{rest}}}"
    )
}

fn label(fields: &str) -> String {
    format!(", metadata: {{filter_metadata: {{envoy.lb: {{{fields}}}}}}}")
}

/// Sixteen hosts that are hashed by their keys, with weights by number.
fn keyed(weight: impl Fn(u32) -> u32) -> String {
    let host = |number: u32| {
        let upstream = if number.is_multiple_of(2) { "a" } else { "b" };
        let weight = format!(", load_balancing_weight: {}", weight(number));
        named_endpoint(
            upstream,
            &format!("host-{number}"),
            &(label(&format!("hash_key: host-{number}")) + &weight),
        )
    };
    (0..16).map(host).collect::<Vec<_>>().join(", ")
}

fn cluster(name: &str, fields: &str, localities: &str) -> String {
    format!(
        "- name: {name}\n  connect_timeout: 1s\n  type: STATIC\n  {fields}\n  load_assignment: {{cluster_name: x, endpoints: [{localities}]}}\n"
    )
}

fn even(name: &str, fields: &str) -> String {
    cluster(name, fields, &format!("{{lb_endpoints: [{}]}}", keyed(|_| 1)))
}

fn typed(policy: &str, fields: &str) -> String {
    format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.load_balancing_policies.{policy}, {fields}}}}}}}]}}"
    )
}

/// Two localities, the first of which is all `a` and the second all `b`.
fn localities(rest: [&str; 2]) -> String {
    let list = |upstream: &str, from: u32| {
        let host = |number| {
            named_endpoint(upstream, &format!("host-{number}"), &label(&format!("hash_key: host-{number}")))
        };
        (from..from + 4).map(host).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{{locality: {{zone: one}}, {}, lb_endpoints: [{}]}}, {{locality: {{zone: two}}, {}, lb_endpoints: [{}]}}",
        rest[0],
        list("a", 0),
        rest[1],
        list("b", 4)
    )
}

const HASHED: &[(&str, &str)] = &[
    ("ring", "lb_policy: RING_HASH"),
    (
        "small-ring",
        "lb_policy: RING_HASH\n  ring_hash_lb_config: {minimum_ring_size: 30, maximum_ring_size: 40}",
    ),
    ("murmur", "lb_policy: RING_HASH\n  ring_hash_lb_config: {hash_function: MURMUR_HASH_2}"),
    ("maglev", "lb_policy: MAGLEV"),
    ("small-maglev", "lb_policy: MAGLEV\n  maglev_lb_config: {table_size: 101}"),
];

/// Leaves a header in the filter state, to be hashed.
const STATE: &str = "- {name: state, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, \
                     on_request_headers: [{object_key: hashed, factory_key: envoy.hashable_string, format_string: \
                     {text_format_source: {inline_string: \"%REQ(x-key)%\"}}}]}}";

/// Routes that hash in different ways.
fn hashing() -> String {
    let policies = [
        ("query", "{query_parameter: {name: k}}"),
        ("cookie", "{cookie: {name: c}}"),
        (
            "set-cookie",
            "{cookie: {name: c, ttl: 90s, path: /p, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}",
        ),
        ("session-cookie", "{cookie: {name: c, ttl: 0s}}"),
        ("source", "{connection_properties: {source_ip: true}}"),
        ("both", "{header: {header_name: x-key}}, {query_parameter: {name: k}}"),
        ("terminal", "{header: {header_name: x-key}, terminal: true}, {query_parameter: {name: k}}"),
        (
            "rewritten",
            "{header: {header_name: x-key, regex_rewrite: {pattern: {regex: '^(\\w+)-.*$'}, substitution: '\\1'}}}",
        ),
    ];
    let route = |(path, policies): &(&str, &str)| {
        format!("- {{match: {{path: /{path}}}, route: {{cluster: maglev, hash_policy: [{policies}]}}}}\n")
    };
    policies.iter().map(route).collect()
}

fn bootstrap() -> Bootstrap {
    let mut clusters = String::new();
    for (name, fields) in HASHED {
        clusters += &even(name, fields);
        let weighted = format!("{{lb_endpoints: [{}]}}", keyed(|number| number % 5 + 1));
        clusters += &cluster(&format!("weighted-{name}"), fields, &weighted);
    }
    clusters += &even("typed-ring", &typed("ring_hash.v3.RingHash", "minimum_ring_size: 300"));
    clusters += &even("typed-maglev", &typed("maglev.v3.Maglev", "table_size: 1009"));
    clusters += &even("round-robin", "lb_policy: ROUND_ROBIN");
    let weights = ["load_balancing_weight: 1", "load_balancing_weight: 5"];
    for (name, policy) in [("locality-ring", "RING_HASH"), ("locality-maglev", "MAGLEV")] {
        let fields =
            format!("lb_policy: {policy}\n  common_lb_config: {{locality_weighted_lb_config: {{}}}}");
        clusters += &cluster(name, &fields, &localities(weights));
    }
    // A locality without a weight gets nothing.
    let only_second = ["priority: 0", "load_balancing_weight: 5"];
    for (name, policy) in
        [("locality-wrr", "ROUND_ROBIN"), ("locality-least", "LEAST_REQUEST"), ("locality-random", "RANDOM")]
    {
        let fields =
            format!("lb_policy: {policy}\n  common_lb_config: {{locality_weighted_lb_config: {{}}}}");
        clusters += &cluster(name, &fields, &localities(only_second));
    }
    clusters += &health::clusters();
    clusters += &subsets::clusters();
    let names = HASHED.iter().map(|(name, _)| *name);
    let more = [
        "typed-ring",
        "typed-maglev",
        "round-robin",
        "locality-ring",
        "locality-maglev",
        "priorities",
        "two-priorities",
    ];
    let mut routes = String::new();
    for name in names.chain(more) {
        for (path, cluster) in
            [(format!("/{name}"), name.to_owned()), (format!("/weighted-{name}"), format!("weighted-{name}"))]
        {
            if cluster.starts_with("weighted") && !HASHED.iter().any(|(hashed, _)| *hashed == name) {
                continue;
            }
            // Writing to a String cannot fail.
            let _ = writeln!(
                routes,
                "- {{match: {{path: {path}}}, route: {{cluster: {cluster}, hash_policy: [{{header: {{header_name: x-key}}}}]}}}}"
            );
        }
    }
    let tcp = "cluster: maglev\nhash_policy: [{source_ip: {}}]";
    let tcp_subset = "cluster: any-else\nmetadata_match: {filter_metadata: {envoy.lb: {version: '1'}}}";
    Bootstrap::new()
        .clusters(&clusters)
        .http("by-key", "", &routes)
        .http("hashing", "", &hashing())
        .http("subsets", "", &subsets::asking())
        .http_filters(
            "hashing-state",
            STATE,
            "- {match: {prefix: /}, route: {cluster: maglev, hash_policy: [{filter_state: {key: hashed}}]}}",
        )
        .http("named", "", "- {match: {prefix: /}, route: {cluster_header: x-cluster}}")
        .tcp("tcp-source", tcp)
        .tcp("tcp-subset", tcp_subset)
}

/// A dozen requests with different keys.
fn dozen(name: &'static str, path: &str) -> Case {
    (0..12).fold(case(name, "by-key"), |case, number| {
        case.get_with(path, &format!("host: test\r\nx-key: key-{number}\r\n"))
    })
}

fn cases() -> Vec<Case> {
    [by_key(), hash_policies(), health::cases(), subsets::cases()].concat()
}

fn by_key() -> Vec<Case> {
    vec![
        dozen("ring", "/ring").status(200),
        dozen("ring-by-weight", "/weighted-ring").status(200),
        dozen("ring-small", "/small-ring").status(200),
        dozen("ring-small-by-weight", "/weighted-small-ring").status(200),
        dozen("ring-murmur", "/murmur").status(200),
        dozen("ring-typed", "/typed-ring").status(200),
        dozen("ring-by-locality", "/locality-ring").status(200),
        dozen("ring-by-priority", "/two-priorities").status(200),
        dozen("maglev", "/maglev").status(200),
        dozen("maglev-by-weight", "/weighted-maglev").status(200),
        dozen("maglev-small", "/small-maglev").status(200),
        dozen("maglev-small-by-weight", "/weighted-small-maglev").status(200),
        dozen("maglev-typed", "/typed-maglev").status(200),
        dozen("maglev-by-locality", "/locality-maglev").status(200),
        dozen("maglev-by-priority", "/priorities").status(200),
    ]
}

fn hash_policies() -> Vec<Case> {
    let with = |case: Case, path: &str, lines: &str| case.get_with(path, &format!("host: test\r\n{lines}"));
    let keys = |name, path: &'static str, line: fn(u32) -> String| {
        (0..10).fold(case(name, "hashing"), |case, number| with(case, path, &line(number)))
    };
    let paths = |name, path: fn(u32) -> String, lines: &'static str| {
        (0..10).fold(case(name, "hashing"), |case, number| with(case, &path(number), lines))
    };
    vec![
        (0..10).fold(case("filter-state", "hashing-state"), |case, number| {
            with(case, "/", &format!("x-key: v{number}\r\n"))
        }),
        paths("query", |number| format!("/query?x=1&k=v{number}"), ""),
        keys("cookie", "/cookie", |number| format!("cookie: b=1; c=v{number}; d=2\r\n")),
        keys("cookie-quoted", "/cookie", |number| format!("cookie: c=\"v{number}\"\r\n")),
        keys("cookie-kept", "/set-cookie", |number| format!("cookie: c=v{number}\r\n"))
            .absent("h:set-cookie"),
        // Its value tells the client's port.
        case("cookie-set", "hashing")
            .get("/set-cookie")
            .want_in("h:set-cookie", "\"; Max-Age=90; Path=/p; SameSite=Lax; Secure; HttpOnly")
            .only(&["status", "log.code"]),
        case("cookie-set-for-the-session", "hashing")
            .get("/session-cookie")
            .want_in("h:set-cookie", "\"; HttpOnly")
            .only(&["status", "log.code"]),
        case("source-ip", "hashing").get("/source").get("/source").status(200),
        paths("header-and-query", |number| format!("/both?k=v{number}"), "x-key: one\r\n"),
        paths("equal-values-do-not-cancel", |number| format!("/both?k=v{number}"), "x-key: v3\r\n"),
        paths("terminal", |number| format!("/terminal?k=v{number}"), "x-key: two\r\n"),
        paths("terminal-without-hash", |number| format!("/terminal?k=v{number}"), ""),
        keys("several-values", "/both", |number| format!("x-key: b{number}\r\nx-key: a{number}\r\n")),
        keys("rewritten", "/rewritten", |number| format!("x-key: k{}-{number}\r\n", number % 3)),
        case("tcp-source-ip", "tcp-source").get("/").get("/").talk([Talk::Close]).logs(1),
        case("tcp-subset", "tcp-subset").get("/").talk([Talk::Close]).logs(1),
    ]
}
