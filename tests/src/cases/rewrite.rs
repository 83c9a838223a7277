//! What routes do besides choosing a cluster: redirects, rewrites, direct responses, weighted and named clusters.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// Redirects, rewrites, direct responses and cluster choice.
pub fn group() -> Group {
    let mut cases = redirects();
    cases.extend(rewrites());
    cases.extend(direct());
    cases.extend(clusters());
    Group { name: "rewrite", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    Bootstrap::new()
        .http("redirect", "", REDIRECTS)
        .http("rewrite", "", REWRITES)
        .http("direct", "", DIRECT)
        .http_config("clusters", "", &format!("validate_clusters: false\nvirtual_hosts:\n- name: all\n  domains: [\"*\"]\n  routes:{}", CLUSTERS.replace('\n', "\n  ")))
        .http_config("small-body", "", "max_direct_response_body_size_bytes: 16\nvirtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: sixteen bytes ok}}}]}]")
}

const REDIRECTS: &str = r#"
- {name: host, match: {path: /host}, redirect: {host_redirect: other.org}}
- {name: https, match: {path: /https}, redirect: {https_redirect: true}}
- {name: scheme, match: {path: /scheme}, redirect: {scheme_redirect: ftp}}
- {name: port, match: {path: /port}, redirect: {port_redirect: 8443}}
- {name: host-port, match: {path: /host-port}, redirect: {host_redirect: other.org, port_redirect: 81}}
- {name: path, match: {path: /path}, redirect: {path_redirect: /new}}
- {name: path-query, match: {path: /path-query}, redirect: {path_redirect: "/new?own=1"}}
- {name: strip, match: {path: /strip}, redirect: {path_redirect: /new, strip_query: true}}
- {name: prefix, match: {prefix: /old/}, redirect: {prefix_rewrite: /new/}}
- {name: regex, match: {prefix: /re/}, redirect: {regex_rewrite: {pattern: {regex: "^/re/([^/]+)/(.*)$"}, substitution: "/\\2/\\1"}}}
- {name: found, match: {path: /302}, redirect: {host_redirect: other.org, response_code: FOUND}}
- {name: see-other, match: {path: /303}, redirect: {host_redirect: other.org, response_code: SEE_OTHER}}
- {name: temporary, match: {path: /307}, redirect: {host_redirect: other.org, response_code: TEMPORARY_REDIRECT}}
- {name: permanent, match: {path: /308}, redirect: {host_redirect: other.org, response_code: PERMANENT_REDIRECT}}
- {name: with-header, match: {path: /with-header}, redirect: {host_redirect: other.org}, response_headers_to_add: [{header: {key: x-extra, value: "1"}}]}
"#;

fn redirect(name: &'static str, path: &str, location: &str) -> Case {
    case(name, "redirect")
        .get(path)
        .status(301)
        .want("h:location", location)
        .details("direct_response")
        .absent("up")
}

fn redirects() -> Vec<Case> {
    let coded = |name, path: &str, status| {
        case(name, "redirect").get(path).status(status).want("h:location", format!("http://other.org{path}"))
    };
    let hosted = |name, path: &str, host: &str, location: &str| {
        case(name, "redirect")
            .get_with(path, &format!("host: {host}\r\n"))
            .status(301)
            .want("h:location", location)
    };
    vec![
        redirect("redirect-host", "/host?q=1", "http://other.org/host?q=1"),
        redirect("redirect-https", "/https", "https://test/https"),
        redirect("redirect-scheme", "/scheme", "ftp://test/scheme"),
        redirect("redirect-port", "/port", "http://test:8443/port"),
        redirect("redirect-host-port", "/host-port", "http://other.org:81/host-port"),
        redirect("redirect-path-keeps-query", "/path?q=1", "http://test/new?q=1"),
        redirect("redirect-path-with-query-replaces", "/path-query?q=1", "http://test/new?own=1"),
        redirect("redirect-strip-query", "/strip?q=1", "http://test/new"),
        redirect("redirect-prefix", "/old/x?q=1", "http://test/new/x?q=1"),
        redirect("redirect-regex", "/re/a/b?q=1", "http://test/b/a?q=1"),
        redirect("redirect-adds-headers", "/with-header", "http://other.org/with-header")
            .want("h:x-extra", "1"),
        hosted("redirect-https-drops-80", "/https", "shop:80", "https://shop/https"),
        hosted("redirect-https-keeps-443", "/https", "shop:443", "https://shop:443/https"),
        hosted("redirect-host-drops-port", "/host", "shop:8080", "http://other.org/host"),
        coded("redirect-302", "/302", 302),
        coded("redirect-303", "/303", 303),
        coded("redirect-307", "/307", 307),
        coded("redirect-308", "/308", 308),
    ]
}

const REWRITES: &str = r#"
- {name: prefix, match: {prefix: /api/}, route: {cluster: a, prefix_rewrite: /}}
- {name: prefix-slash, match: {prefix: /bare}, route: {cluster: a, prefix_rewrite: /}}
- {name: separated, match: {path_separated_prefix: /sep}, route: {cluster: a, prefix_rewrite: /new}}
- {name: exact, match: {path: /exact}, route: {cluster: a, prefix_rewrite: /other}}
- {name: fold, match: {prefix: /FOLD, case_sensitive: false}, route: {cluster: a, prefix_rewrite: /x}}
- {name: regex, match: {prefix: /re}, route: {cluster: a, regex_rewrite: {pattern: {regex: "/([0-9]+)"}, substitution: "/n\\1"}}}
- {name: regex-match, match: {safe_regex: {regex: "/rm/.*"}}, route: {cluster: a, prefix_rewrite: /whole}}
- {name: template, match: {path_match_policy: {name: m, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/t/{one}/{two}"}}}, route: {cluster: a, path_rewrite_policy: {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "/{two}/{one}"}}}}
- {name: host, match: {path: /host}, route: {cluster: a, host_rewrite_literal: inner.local}}
- {name: host-xfh, match: {path: /host-xfh}, route: {cluster: a, host_rewrite_literal: inner.local, append_x_forwarded_host: true}}
- {name: host-header, match: {path: /host-header}, route: {cluster: a, host_rewrite_header: x-new-host}}
- {name: host-regex, match: {prefix: /host-regex}, route: {cluster: a, host_rewrite_path_regex: {pattern: {regex: "^/host-regex/([^/]+).*$"}, substitution: "\\1.local"}}}
- {name: plain, match: {prefix: /}, route: {cluster: b}}
"#;

fn rewritten(name: &'static str, path: &str, to: &str) -> Case {
    case(name, "rewrite")
        .get(path)
        .via("a")
        .want("up:line", format!("GET {to} HTTP/1.1"))
        .want("log.path", to)
}

fn rewrites() -> Vec<Case> {
    let host = |name, path: &str, lines: &str, to: &str| {
        case(name, "rewrite").get_with(path, &format!("host: test\r\n{lines}")).via("a").want("up:h:host", to)
    };
    vec![
        rewritten("prefix", "/api/x?q=1", "/x?q=1").want("log.original_path", "/api/x?q=1"),
        rewritten("prefix-to-slash", "/bare", "/"),
        rewritten("prefix-in-the-middle-of-a-segment", "/barefoot", "/foot"),
        rewritten("separated", "/sep/x", "/new/x"),
        rewritten("separated-itself", "/sep?q", "/new?q"),
        rewritten("exact", "/exact?q=1", "/other?q=1"),
        rewritten("ignoring-case", "/fOlD/y", "/x/y"),
        rewritten("regex-replaces-all", "/re/1/2?q=/3", "/re/n1/n2?q=/3"),
        rewritten("regex-match-replaces-whole-path", "/rm/x/y?q", "/whole?q"),
        rewritten("template", "/t/1/2?q", "/2/1?q"),
        host("host-literal", "/host", "", "inner.local"),
        host("host-literal-xfh", "/host-xfh", "", "inner.local").want("up:h:x-forwarded-host", "test"),
        host("host-from-header", "/host-header", "x-new-host: there\r\n", "there"),
        host("host-from-missing-header", "/host-header", "", "test"),
        host("host-from-path", "/host-regex/left/x?q", "", "left.local"),
        case("no-rewrite", "rewrite").get("/%41?q=%2F").via("b").want("up:line", "GET /%41?q=%2F HTTP/1.1"),
    ]
}

const DIRECT: &str = r#"
- {name: text, match: {path: /text}, direct_response: {status: 203, body: {inline_string: hello}}}
- {name: bytes, match: {path: /bytes}, direct_response: {status: 200, body: {inline_bytes: aGk=}}}
- {name: empty, match: {path: /empty}, direct_response: {status: 404}}
- {name: typed, match: {path: /typed}, direct_response: {status: 200, body: {inline_string: "{}"}}, response_headers_to_add: [{header: {key: content-type, value: application/json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}
- {name: "no", match: {path: /no-body}, direct_response: {status: 204}}
- {name: none, match: {path: /none}, non_forwarding_action: {}}
"#;

fn direct() -> Vec<Case> {
    let direct = |name, path: &str, status, body: &str| {
        case(name, "direct")
            .get(path)
            .status(status)
            .want("body", body)
            .details("direct_response")
            .absent("up")
    };
    vec![
        direct("direct-text", "/text", 203, "hello").want("h:content-type", "text/plain"),
        direct("direct-bytes", "/bytes", 200, "hi"),
        direct("direct-empty", "/empty", 404, ""),
        direct("direct-typed", "/typed", 200, "{}").want("h:content-type", "application/json"),
        direct("direct-204", "/no-body", 204, ""),
        direct("direct-body-at-its-limit", "/", 200, "sixteen bytes ok").at("small-body"),
        case("direct-to-head", "direct")
            .send("HEAD /text HTTP/1.1\r\nhost: test\r\n\r\n")
            .status(203)
            .want("body", "")
            .want("h:content-length", "5"),
        case("direct-to-post", "direct").post("/text", "some body").status(203).want("body", "hello"),
        case("direct-to-post-closes", "direct").post("/text", "body").status(203).closes("2.end"),
        case("direct-then-next-request", "direct")
            .get("/text")
            .get("/bytes")
            .status(203)
            .want("2.body", "hi"),
    ]
}

const CLUSTERS: &str = r"
- {name: all-to-b, match: {path: /weighted}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}, {name: b, weight: 100}]}}}
- {name: split, match: {path: /split}, route: {weighted_clusters: {clusters: [{name: a, weight: 1, request_headers_to_add: [{header: {key: x-from, value: entry}}], response_headers_to_add: [{header: {key: x-entry, value: a}}], response_headers_to_remove: [x-secret]}]}}}
- {name: weighted-host, match: {path: /weighted-host}, route: {weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: entry.local}]}}}
- {name: by-header, match: {path: /by-header}, route: {cluster_header: x-cluster}}
- {name: unknown, match: {path: /unknown}, route: {cluster: nowhere}}
- {name: unknown-500, match: {path: /unknown-500}, route: {cluster: nowhere, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}}
- {name: unknown-404, match: {path: /unknown-404}, route: {cluster: nowhere, cluster_not_found_response_code: NOT_FOUND}}
";

fn clusters() -> Vec<Case> {
    let by_header =
        |name, lines: &str| case(name, "clusters").get_with("/by-header", &format!("host: test\r\n{lines}"));
    vec![
        case("weighted-all-to-one", "clusters").get("/weighted").get("/weighted").via("b").want("2.up", "b"),
        case("weighted-entry-headers", "clusters")
            .play(
                "a",
                crate::harness::upstream::answer(
                    "HTTP/1.1 200 OK\r\nx-secret: 1\r\ncontent-length: 0\r\n\r\n",
                ),
            )
            .get("/split")
            .via("a")
            .want("up:h:x-from", "entry")
            .want("h:x-entry", "a")
            .absent("h:x-secret"),
        case("weighted-entry-host", "clusters")
            .get("/weighted-host")
            .via("a")
            .want("up:h:host", "entry.local"),
        by_header("cluster-header", "x-cluster: b\r\n").via("b").want("log.cluster", "b"),
        by_header("cluster-header-missing", "").refused(503, "NC", "cluster_not_found"),
        by_header("cluster-header-unknown", "x-cluster: none\r\n").refused(503, "NC", "cluster_not_found"),
        case("cluster-unknown-503", "clusters")
            .get("/unknown")
            .refused(503, "NC", "cluster_not_found")
            .want("body", ""),
        case("cluster-unknown-500", "clusters").get("/unknown-500").refused(500, "NC", "cluster_not_found"),
        case("cluster-unknown-404", "clusters").get("/unknown-404").refused(404, "NC", "cluster_not_found"),
    ]
}
