//! Which route a request takes: every kind of path match, header and query matchers, order.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// Route matching.
pub fn group() -> Group {
    let mut cases = paths();
    cases.extend(headers());
    cases.extend(repeated_headers());
    cases.extend(queries());
    cases.extend(runtime());
    cases.extend(weights());
    Group { name: "routing", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    Bootstrap::new()
        .top("layered_runtime: {layers: [{name: static, static_layer: {on: 100, off: 0, share.a: 0, share.b: 7}}]}")
        .http("weights", "", WEIGHTS)
        .http("paths", "", PATHS)
        .http("headers", "", HEADERS)
        .http("queries", "", QUERIES)
        .http("nothing", "", "- {name: only, match: {path: /only}, route: {cluster: a}}")
        .http(
            "runtime",
            "",
            r#"
- {name: "off", match: {prefix: /, runtime_fraction: {default_value: {numerator: 100}, runtime_key: "off"}}, route: {cluster: a}}
- {name: "on", match: {prefix: /, runtime_fraction: {default_value: {numerator: 0}, runtime_key: "on"}}, route: {cluster: b}}
"#,
        )
}

const WEIGHTS: &str = "
- {name: by-runtime, match: {prefix: /runtime}, route: {weighted_clusters: {runtime_key_prefix: share, clusters: [{name: a, weight: 5}, {name: b, weight: 0}]}}}
- {name: by-header, match: {prefix: /header}, route: {weighted_clusters: {header_name: x-draw, clusters: [{name: a, weight: 5}, {name: b, weight: 5}]}}}
- {name: by-hash, match: {prefix: /hash}, route: {hash_policy: [{header: {header_name: x-key}}], weighted_clusters: {use_hash_policy: true, clusters: [{name: a, weight: 5}, {name: b, weight: 5}]}}}
- {name: both, match: {prefix: /both}, route: {hash_policy: [{header: {header_name: x-key}}], weighted_clusters: {header_name: x-draw, runtime_key_prefix: unknown, clusters: [{name: a, weight: 1, request_headers_to_add: [{header: {key: x-entry, value: first}}]}, {name: b, weight: 1, request_headers_to_add: [{header: {key: x-entry, value: second}}]}]}}}
";

const PATHS: &str = r#"
- {name: exact, match: {path: /exact}, route: {cluster: a}}
- {name: exact-fold, match: {path: /Fold, case_sensitive: false}, route: {cluster: a}}
- {name: prefix-fold, match: {prefix: /PreFold, case_sensitive: false}, route: {cluster: a}}
- {name: first, match: {prefix: /order/x}, route: {cluster: a}}
- {name: second, match: {prefix: /order}, route: {cluster: b}}
- {name: shadowed, match: {path: /order/y}, route: {cluster: a}}
- {name: separated, match: {path_separated_prefix: /sep}, route: {cluster: a}}
- {name: regex, match: {safe_regex: {regex: "/re/[0-9]+"}}, route: {cluster: a}}
- {name: regex-alt, match: {safe_regex: {regex: "/(one|two)/.*"}}, route: {cluster: a}}
- {name: template, match: {path_match_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/t/{a}/{b}"}}}, route: {cluster: a}}
- {name: template-glob, match: {path_match_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/g/*/x/{rest=**}"}}}, route: {cluster: a}}
- {name: grpc, match: {prefix: /grpc, grpc: {}}, route: {cluster: a}}
- {name: not-grpc, match: {prefix: /grpc}, route: {cluster: b}}
- {name: catch-all, match: {prefix: /}, route: {cluster: b}}
"#;

fn took(name: &'static str, path: &str, route: &str, upstream: &str) -> Case {
    case(name, "paths")
        .get(path)
        .via(upstream)
        .want("log.route", route)
        .want("up:line", format!("GET {path} HTTP/1.1"))
}

fn paths() -> Vec<Case> {
    vec![
        took("exact", "/exact", "exact", "a"),
        took("exact-with-query", "/exact?a=1", "exact", "a"),
        took("exact-not-longer", "/exact/", "catch-all", "b"),
        took("exact-case-matters", "/Exact", "catch-all", "b"),
        took("exact-ignoring-case", "/fOLD", "exact-fold", "a"),
        took("prefix-ignoring-case", "/prefoldER/x", "prefix-fold", "a"),
        took("order-first", "/order/xy", "first", "a"),
        took("order-shadows", "/order/y", "second", "b"),
        took("separated-itself", "/sep", "separated", "a"),
        took("separated-below", "/sep/x", "separated", "a"),
        took("separated-query", "/sep?x", "separated", "a"),
        took("separated-not-longer", "/september", "catch-all", "b"),
        took("regex", "/re/42", "regex", "a"),
        took("regex-ignores-query", "/re/42?x=y", "regex", "a"),
        took("regex-is-anchored", "/re/42/more", "catch-all", "b"),
        took("regex-alternation", "/two/x", "regex-alt", "a"),
        took("template", "/t/1/2", "template", "a"),
        took("template-too-deep", "/t/1/2/3", "catch-all", "b"),
        took("template-empty-segment", "/t//2", "catch-all", "b"),
        took("template-glob", "/g/any/x/y/z", "template-glob", "a"),
        took("not-grpc", "/grpc/x", "not-grpc", "b"),
        case("grpc", "paths")
            .get_with("/grpc/x", "host: test\r\ncontent-type: application/grpc+proto\r\n")
            .via("a")
            .want("log.route", "grpc"),
        case("no-route", "nothing").get("/other").refused(404, "NR", "route_not_found").want("body", ""),
    ]
}

const HEADERS: &str = r#"
- {name: exact, match: {path: /exact, headers: [{name: x, string_match: {exact: v}}]}, route: {cluster: a}}
- {name: old-exact, match: {path: /old-exact, headers: [{name: x, exact_match: v}]}, route: {cluster: a}}
- {name: prefix, match: {path: /prefix, headers: [{name: x, string_match: {prefix: v}}]}, route: {cluster: a}}
- {name: suffix, match: {path: /suffix, headers: [{name: x, string_match: {suffix: v}}]}, route: {cluster: a}}
- {name: contains, match: {path: /contains, headers: [{name: x, string_match: {contains: v}}]}, route: {cluster: a}}
- {name: fold, match: {path: /fold, headers: [{name: x, string_match: {exact: V, ignore_case: true}}]}, route: {cluster: a}}
- {name: regex, match: {path: /regex, headers: [{name: x, string_match: {safe_regex: {regex: "v[0-9]"}}}]}, route: {cluster: a}}
- {name: range, match: {path: /range, headers: [{name: x, range_match: {start: -3, end: 10}}]}, route: {cluster: a}}
- {name: present, match: {path: /present, headers: [{name: x, present_match: true}]}, route: {cluster: a}}
- {name: absent, match: {path: /absent, headers: [{name: x, present_match: false}]}, route: {cluster: a}}
- {name: inverted, match: {path: /inverted, headers: [{name: x, string_match: {exact: v}, invert_match: true}]}, route: {cluster: a}}
- {name: inverted-range, match: {path: /inverted-range, headers: [{name: x, range_match: {start: 1, end: 10}, invert_match: true}]}, route: {cluster: a}}
- {name: missing-as-empty, match: {path: /missing-as-empty, headers: [{name: x, string_match: {exact: v}, invert_match: true, treat_missing_header_as_empty: true}]}, route: {cluster: a}}
- {name: both, match: {path: /both, headers: [{name: x, string_match: {exact: v}}, {name: z, present_match: true}]}, route: {cluster: a}}
- {name: method, match: {path: /method, headers: [{name: ":method", string_match: {exact: POST}}]}, route: {cluster: a}}
- {name: authority, match: {path: /authority, headers: [{name: ":authority", string_match: {suffix: .org}}]}, route: {cluster: a}}
- {name: otherwise, match: {prefix: /}, route: {cluster: b}}
"#;

/// A GET for `/<route>` with header lines; `matched` says whether the route of that name takes it.
fn header(name: &'static str, route: &str, lines: &str, matched: bool) -> Case {
    let (taken, upstream) = if matched { (route, "a") } else { ("otherwise", "b") };
    case(name, "headers")
        .get_with(&format!("/{route}"), &format!("host: test\r\n{lines}"))
        .via(upstream)
        .want("log.route", taken)
}

fn headers() -> Vec<Case> {
    vec![
        header("header-exact", "exact", "x: v\r\n", true),
        header("header-exact-not", "exact", "x: V\r\n", false),
        header("header-missing", "exact", "", false),
        header("header-old-exact", "old-exact", "x: v\r\n", true),
        header("header-name-ignores-case", "exact", "X: v\r\n", true),
        header("header-prefix", "prefix", "x: value\r\n", true),
        header("header-suffix", "suffix", "x: dev\r\n", true),
        header("header-contains", "contains", "x: avb\r\n", true),
        header("header-contains-not", "contains", "x: ab\r\n", false),
        header("header-ignoring-case", "fold", "x: v\r\n", true),
        header("header-regex", "regex", "x: v7\r\n", true),
        header("header-regex-is-anchored", "regex", "x: v77\r\n", false),
        header("header-range", "range", "x: -3\r\n", true),
        header("header-range-end-excluded", "range", "x: 10\r\n", false),
        header("header-range-not-a-number", "range", "x: 3a\r\n", false),
        header("header-present", "present", "x:\r\n", true),
        header("header-absent", "absent", "", true),
        header("header-absent-not", "absent", "x: 1\r\n", false),
        header("header-inverted", "inverted", "x: w\r\n", true),
        header("header-inverted-missing", "inverted", "", false),
        header("header-missing-as-empty", "missing-as-empty", "", true),
        header("header-both", "both", "x: v\r\nz: 1\r\n", true),
        header("header-both-not", "both", "x: v\r\n", false),
        header("header-method-not", "method", "", false),
        case("header-method", "headers").post("/method", "hi").via("a").want("log.route", "method"),
        case("header-authority", "headers")
            .get_with("/authority", "host: shop.org\r\n")
            .via("a")
            .want("log.route", "authority"),
    ]
}

fn repeated_headers() -> Vec<Case> {
    vec![
        header("repeated-exact", "exact", "x: v\r\nx: w\r\n", true),
        header("repeated-exact-second", "exact", "x: w\r\nx: v\r\n", true),
        header("repeated-is-not-joined", "contains", "x: a\r\nx: b\r\n", false),
        header("repeated-inverted", "inverted", "x: w\r\nx: v\r\n", false),
        header("repeated-inverted-range", "inverted-range", "x: 20\r\nx: 5\r\n", false),
        header("repeated-range", "range", "x: 20\r\nx: 5\r\n", true),
        header("comma-list-is-one-value", "exact", "x: v,w\r\n", false),
    ]
}

const QUERIES: &str = r#"
- {name: exact, match: {path: /exact, query_parameters: [{name: k, string_match: {exact: v}}]}, route: {cluster: a}}
- {name: prefix, match: {path: /prefix, query_parameters: [{name: k, string_match: {prefix: v}}]}, route: {cluster: a}}
- {name: regex, match: {path: /regex, query_parameters: [{name: k, string_match: {safe_regex: {regex: "[a-c]+"}}}]}, route: {cluster: a}}
- {name: present, match: {path: /present, query_parameters: [{name: k, present_match: true}]}, route: {cluster: a}}
- {name: both, match: {path: /both, query_parameters: [{name: k, present_match: true}, {name: l, string_match: {exact: "1"}}]}, route: {cluster: a}}
- {name: otherwise, match: {prefix: /}, route: {cluster: b}}
"#;

fn query(name: &'static str, route: &str, query: &str, matched: bool) -> Case {
    let (taken, upstream) = if matched { (route, "a") } else { ("otherwise", "b") };
    case(name, "queries").get(&format!("/{route}{query}")).via(upstream).want("log.route", taken)
}

fn queries() -> Vec<Case> {
    vec![
        query("query-exact", "exact", "?k=v", true),
        query("query-exact-not", "exact", "?k=w", false),
        query("query-missing", "exact", "", false),
        query("query-first-counts", "exact", "?k=v&k=w", true),
        query("query-second-does-not", "exact", "?k=w&k=v", false),
        query("query-not-decoded", "exact", "?k=%76", false),
        query("query-name-not-decoded", "exact", "?%6b=v", false),
        query("query-among-others", "exact", "?a=1&k=v&b=2", true),
        query("query-prefix", "prefix", "?k=value", true),
        query("query-regex", "regex", "?k=abc", true),
        query("query-regex-not", "regex", "?k=abd", false),
        query("query-present-without-value", "present", "?k", true),
        query("query-present-empty", "present", "?k=", true),
        query("query-both", "both", "?l=1&k", true),
        query("query-both-not", "both", "?l=2&k", false),
    ]
}

fn runtime() -> Vec<Case> {
    vec![case("runtime-fraction-from-static-layer", "runtime").get("/").via("b").want("log.route", "on")]
}

fn weights() -> Vec<Case> {
    let with = |name: &'static str, path: &str, header: &str| {
        case(name, "weights").get_with(path, &format!("host: test\r\n{header}\r\n"))
    };
    vec![
        case("weights-of-the-runtime", "weights").get("/runtime").via("b").want("log.cluster", "b"),
        with("draw-first", "/header", "x-draw: 4").via("a"),
        with("draw-second", "/header", "x-draw: 5").via("b"),
        with("draw-remainder", "/header", "x-draw: 14").via("a"),
        with("draw-sign", "/header", "x-draw: +9").via("b"),
        with("draw-longest", "/header", "x-draw: 18446744073709551615").via("b"),
        with("draw-entry", "/both", "x-draw: 1").via("b").want("up:h:x-entry", "second"),
        with("hash-a", "/hash", "x-key: a").status(200),
        with("hash-b", "/hash", "x-key: b").status(200),
        with("hash-c", "/hash", "x-key: c").status(200),
        with("hash-d", "/hash", "x-key: d").status(200),
    ]
}
