//! Expressions in CEL: values in formats, filters of access logs, conditions of RBAC; RBAC by matcher trees.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// CEL.
pub fn group() -> Group {
    Group { name: "cel", bootstrap: bootstrap(), cases: cases() }
}

/// Expressions whose values go into a response header each.
const VALUES: &[(&str, &str)] = &[
    ("path", "request.path"),
    ("url-path", "request.url_path"),
    ("query", "request.query"),
    ("host", "request.host"),
    ("method", "request.method"),
    ("scheme", "request.scheme"),
    ("protocol", "request.protocol"),
    ("header", "request.headers['x-a']"),
    ("joined", "request.headers['x-b']"),
    ("useragent", "request.useragent"),
    ("referer", "request.referer"),
    ("truth", "request.path.startsWith('/a') && request.method == 'GET'"),
    ("choice", "request.path.endsWith('b') ? 'yes' : 'no'"),
    ("regex", "request.path.matches('^/a/[a-z]$')"),
    ("size", "size(request.path)"),
    ("sum", "1 + 2 * 3"),
    ("quotient", "1.0 / 4.0"),
    ("unsigned", "7u"),
    ("has", "has(request.referer)"),
    ("has-not", "has(request.useragent)"),
    ("in", "'x-a' in request.headers"),
    ("in-list", "request.method in ['GET', 'PUT']"),
    ("unknown", "nothing.at.all"),
    ("field", "request.nothing"),
    ("wrong", "request.path > 1"),
    ("zero", "1 / 0"),
    ("mtls", "connection.mtls"),
    ("sni", "connection.requested_server_name"),
    ("tls", "connection.tls_version"),
    ("source", "source.address.startsWith('127.0.0.1:')"),
    ("destination", "destination.port > 0"),
    ("route", "xds.route_name"),
    ("vhost", "xds.virtual_host_name"),
    ("cluster", "xds.cluster_name"),
    ("chain", "xds.filter_chain_name"),
    ("time", "request.time > timestamp('2001-01-01T00:00:00Z')"),
    ("metadata", "metadata.filter_metadata['none']['k']"),
    ("code", "response.code"),
];

const TREE: &str = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput";

fn rbac(fields: &str) -> String {
    format!(
        "- {{name: envoy.filters.http.rbac, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, {fields}}}}}"
    )
}

fn action(name: &str, action: &str) -> String {
    format!(
        "{{name: a, typed_config: {{'@type': type.googleapis.com/envoy.config.rbac.v3.Action, name: {name}, action: {action}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let headers: Vec<_> = VALUES
        .iter()
        .map(|(name, expression)| format!("- {{header: {{key: x-{name}, value: \"%CEL({expression})%\"}}}}"))
        .collect();
    let routes = format!(
        "- name: r\n  match: {{prefix: /}}\n  route: {{cluster: a}}\n  response_headers_to_add:\n  {}",
        headers.join("\n  ")
    );
    let plain = "- {match: {prefix: /}, route: {cluster: a}}";
    let hint = "- {match: {prefix: /}, route: {cluster: a}, response_headers_to_add: [{header: {key: x-hint, value:         '%DYNAMIC_METADATA(envoy.common:access_log_hint)%'}}, {header: {key: x-rbac, value: '%DYNAMIC_METADATA(envoy.filters.http.rbac)%'}}]}";
    let equals = "{call_expr: {function: '_==_', args: [{call_expr: {function: '_[_]', args: [{select_expr: {operand: {ident_expr:         {name: request}}, field: headers}}, {const_expr: {string_value: x-a}}]}}, {const_expr: {string_value: v}}]}}";
    let condition = rbac(&format!(
        "rules: {{policies: {{p: {{permissions: [{{any: true}}], principals: [{{any: true}}], condition: {equals}}}}}}}"
    ));
    let input =
        format!("{{name: i, typed_config: {{'@type': type.googleapis.com/{TREE}, header_name: x-a}}}}");
    let list = format!(
        "matcher: {{matcher_list: {{matchers: [\
         {{predicate: {{single_predicate: {{input: {input}, value_match: {{exact: 'a,b'}}}}}}, on_match: {{action: {}}}}}, \
         {{predicate: {{and_matcher: {{predicate: [{{single_predicate: {{input: {input}, value_match: {{prefix: v}}}}}}, \
           {{not_matcher: {{single_predicate: {{input: {input}, value_match: {{suffix: x}}}}}}}}]}}}}, on_match: {{action: {}}}}}, \
         {{predicate: {{single_predicate: {{input: {input}, value_match: {{exact: 'no'}}}}}}, on_match: {{action: {}}}}}]}}}}, \
         shadow_matcher: {{on_no_match: {{action: {}}}}}, shadow_rules_stat_prefix: dry_",
        action("both", "ALLOW"),
        action("log", "LOG"),
        action("none", "DENY"),
        action("never", "DENY"),
    );
    let map = format!(
        "matcher: {{matcher_tree: {{input: {input}, prefix_match_map: {{map: {{a: {{action: {}}}, ab: {{action: {}}}}}}}}}, \
         on_no_match: {{action: {}}}}}",
        action("short", "ALLOW"),
        action("long", "DENY"),
        action("else", "ALLOW"),
    );
    Bootstrap::new()
        .http("values", "", &routes)
        .http_filters("condition", &condition, plain)
        .http_filters("list", &rbac(&list), hint)
        .http_filters("map", &rbac(&map), hint)
}

fn cases() -> Vec<Case> {
    let get = |name: &'static str, listener: &'static str, lines: &str| {
        case(name, listener).get_with("/a/b", &format!("host: test\r\n{lines}"))
    };
    const NONE: &str = "rbac_access_denied_matched_policy[none]";
    vec![
        get("values", "values", "x-a: 1\r\nx-b: 1\r\nx-b: 2\r\nuser-agent: u\r\n")
            .via("a")
            .want("h:x-path", "/a/b")
            .want("h:x-truth", "true"),
        case("values-with-query", "values").get("/x?q=1&r=2").via("a").want("h:x-query", "q=1&r=2"),
        case("values-of-post", "values").post("/a/b", "abc").via("a").want("h:x-truth", "false"),
        get("condition-holds", "condition", "x-a: v\r\n").via("a"),
        get("condition-fails", "condition", "x-a: w\r\n").refused(403, "-", NONE),
        get("condition-has-no-value", "condition", "").refused(403, "-", NONE),
        get("list-joined", "list", "x-a: a\r\nx-a: b\r\n").via("a").want("h:x-hint", "false"),
        get("list-logs", "list", "x-a: v1\r\n").via("a").want("h:x-hint", "true"),
        get("list-denies", "list", "x-a: no\r\n").refused(
            403,
            "-",
            "rbac_access_denied_matched_policy[none]",
        ),
        get("list-nothing", "list", "x-a: vx\r\n").refused(403, "-", NONE),
        get("list-no-header", "list", "").refused(403, "-", NONE).stats("^http\\.list\\.rbac\\."),
        get("map-short", "map", "x-a: ac\r\n").via("a"),
        get("map-long", "map", "x-a: abc\r\n").refused(403, "-", "rbac_access_denied_matched_policy[long]"),
        get("map-else", "map", "x-a: z\r\n").via("a"),
        get("map-no-header", "map", "").via("a"),
    ]
}
