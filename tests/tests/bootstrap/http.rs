//! HTTP connection managers and routes, valid and not.

use super::{Sample, sample};

const HCM: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "{name: router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";

/// A bootstrap with these fields of an HTTP connection manager.
fn hcm(name: &'static str, valid: bool, fields: &str) -> Sample {
    let text = format!(
        "static_resources: {{clusters: [{{name: c, type: STATIC}}], listeners: [{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [{{name: h, typed_config: {{{HCM}, {fields}}}}}]}}]}}]}}"
    );
    sample(name, valid, &text)
}

/// A bootstrap with this one route.
fn route(name: &'static str, valid: bool, route: &str) -> Sample {
    let fields = format!(
        "stat_prefix: h, http_filters: [{ROUTER}], route_config: {{virtual_hosts: [{{name: v, domains: [\"*\"], routes: [{route}]}}]}}"
    );
    hcm(name, valid, &fields)
}

/// The samples.
pub fn http() -> Vec<Sample> {
    let to_c = "route_config: {virtual_hosts: []}";
    let with = |name, valid, more: &str| {
        hcm(name, valid, &format!("stat_prefix: h, {to_c}, http_filters: [{ROUTER}], {more}"))
    };
    vec![
        with("hcm", true, "codec_type: AUTO"),
        hcm("hcm without stat_prefix", false, &format!("{to_c}, http_filters: [{ROUTER}]")),
        hcm("hcm without filters", true, &format!("stat_prefix: h, {to_c}")),
        hcm("router not last", false, &format!("stat_prefix: h, {to_c}, http_filters: [{ROUTER}, {ROUTER}]")),
        hcm("hcm without routes", false, &format!("stat_prefix: h, http_filters: [{ROUTER}]")),
        with(
            "access log format with an unknown operator",
            false,
            "access_log: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null, log_format: {text_format_source: {inline_string: \"%NO_SUCH%\"}}}}]",
        ),
        with(
            "access log format with a stray percent",
            false,
            "access_log: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null, log_format: {text_format_source: {inline_string: \"100% sure\"}}}}]",
        ),
        with(
            "access log without a path",
            false,
            "access_log: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog}}]",
        ),
        with(
            "flag filter with an unknown flag",
            false,
            "access_log: [{name: f, filter: {response_flag_filter: {flags: [XX]}}, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null}}]",
        ),
        with("max_request_headers_kb too large", false, "max_request_headers_kb: 9000"),
        with("header count of zero", false, "common_http_protocol_options: {max_headers_count: 0}"),
        with("h2 window too small", false, "http2_protocol_options: {initial_stream_window_size: 1000}"),
        with("upgrade type", true, "upgrade_configs: [{upgrade_type: websocket}]"),
        with("server name", true, "server_name: x, server_header_transformation: PASS_THROUGH"),
        with(
            "xff hops and detection together",
            false,
            "use_remote_address: true, original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig}}]",
        ),
        with(
            "local reply mapper without a filter",
            false,
            "local_reply_config: {mappers: [{status_code: 500}]}",
        ),
        with(
            "both ways to strip the port",
            false,
            "strip_any_host_port: true, strip_matching_host_port: true",
        ),
    ]
}

/// The samples.
pub fn routes() -> Vec<Sample> {
    vec![
        route("route", true, "{match: {prefix: /}, route: {cluster: c}}"),
        route("route without a match", false, "{route: {cluster: c}}"),
        route("route without an action", false, "{match: {prefix: /}}"),
        route("route with two actions", false, "{match: {prefix: /}, route: {cluster: c}, redirect: {}}"),
        route("route to an unknown cluster", false, "{match: {prefix: /}, route: {cluster: nowhere}}"),
        route("bad regex", false, "{match: {safe_regex: {regex: \"(\"}}, route: {cluster: c}}"),
        route(
            "back-reference in a regex",
            false,
            "{match: {safe_regex: {regex: \"(a)\\\\1\"}}, route: {cluster: c}}",
        ),
        route(
            "look-ahead in a regex",
            false,
            "{match: {safe_regex: {regex: \"a(?=b)\"}}, route: {cluster: c}}",
        ),
        route("empty regex", false, "{match: {safe_regex: {regex: \"\"}}, route: {cluster: c}}"),
        route(
            "separated prefix with a slash at the end",
            false,
            "{match: {path_separated_prefix: /a/}, route: {cluster: c}}",
        ),
        route(
            "separated prefix of the root",
            false,
            "{match: {path_separated_prefix: /}, route: {cluster: c}}",
        ),
        route(
            "template",
            true,
            "{match: {path_match_policy: {name: m, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: \"/a/{b}\"}}}, route: {cluster: c}}",
        ),
        route(
            "bad template",
            false,
            "{match: {path_match_policy: {name: m, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: \"/a/{b\"}}}, route: {cluster: c}}",
        ),
        route(
            "weights of zero in sum",
            false,
            "{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 0}]}}}",
        ),
        route(
            "two rewrites",
            false,
            "{match: {prefix: /}, route: {cluster: c, prefix_rewrite: /x, regex_rewrite: {pattern: {regex: a}, substitution: b}}}",
        ),
        route(
            "substitution of a missing group",
            true,
            "{match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: \"\\\\1\"}}}",
        ),
    ]
}

/// Header changes, direct responses and virtual hosts.
pub fn route_parts() -> Vec<Sample> {
    vec![
        route(
            "header with an unknown operator",
            false,
            "{match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x, value: \"%NO_SUCH%\"}}]}",
        ),
        route(
            "pseudo-header to remove",
            false,
            "{match: {prefix: /}, route: {cluster: c}, request_headers_to_remove: [\":path\"]}",
        ),
        route(
            "host to remove",
            false,
            "{match: {prefix: /}, route: {cluster: c}, request_headers_to_remove: [host]}",
        ),
        route(
            "header name with a newline",
            false,
            "{match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: \"a\\nb\", value: x}}]}",
        ),
        route(
            "direct response status out of range",
            false,
            "{match: {prefix: /}, direct_response: {status: 99}}",
        ),
        route(
            "direct response body too large",
            false,
            &format!(
                "{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {}}}}}}}",
                "a".repeat(5000)
            ),
        ),
        route(
            "empty header name to match",
            false,
            "{match: {prefix: /, headers: [{name: \"\"}]}, route: {cluster: c}}",
        ),
        route(
            "range of nothing",
            true,
            "{match: {prefix: /, headers: [{name: x, range_match: {start: 5, end: 5}}]}, route: {cluster: c}}",
        ),
        hcm(
            "two virtual hosts of one domain",
            false,
            &format!(
                "stat_prefix: h, http_filters: [{ROUTER}], route_config: {{virtual_hosts: [{{name: v, domains: [a]}}, {{name: w, domains: [a]}}]}}"
            ),
        ),
        hcm(
            "two virtual hosts of one name",
            true,
            &format!(
                "stat_prefix: h, http_filters: [{ROUTER}], route_config: {{virtual_hosts: [{{name: v, domains: [a]}}, {{name: v, domains: [b]}}]}}"
            ),
        ),
        hcm(
            "virtual host without domains",
            false,
            &format!(
                "stat_prefix: h, http_filters: [{ROUTER}], route_config: {{virtual_hosts: [{{name: v, domains: []}}]}}"
            ),
        ),
        hcm(
            "wildcard in the middle of a domain",
            true,
            &format!(
                "stat_prefix: h, http_filters: [{ROUTER}], route_config: {{virtual_hosts: [{{name: v, domains: [\"a*b\"]}}]}}"
            ),
        ),
    ]
}
