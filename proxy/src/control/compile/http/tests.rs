//! Connection managers as YAML in, domain values or refusals out.

use std::time::Duration;

use super::super::testing::compiled;
use super::*;
use crate::http::config::{EscapedSlashes, ServerHeader, StripPort, Underscores};
use crate::http::h1::encode::NameCase;
use crate::http::local_reply::Body;

const ROUTES: &str = "route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: a}}]}]}";
const ROUTER: &str = "{name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}}";
const MUTATION: &str = "{name: m, disabled: true, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}";

fn http(fields: &str) -> Result<HttpConfig, Vec<String>> {
    compiled::<pb::HttpConnectionManager, _>(&format!("stat_prefix: s\n{fields}"), compile)
}

fn with_routes(fields: &str) -> Result<HttpConfig, Vec<String>> {
    http(&format!("{ROUTES}\nhttp_filters: [{ROUTER}]\n{fields}"))
}

#[track_caller]
fn refused(result: Result<HttpConfig, Vec<String>>, wanted: &[&str]) {
    assert_eq!(result.map(|_| ()).unwrap_err(), wanted);
}

#[test]
fn defaults_are_envoys() {
    let config = with_routes("").unwrap();
    assert_eq!((config.codec, config.max_requests_per_connection), (Codec::Auto, None));
    assert_eq!((config.head_limits.bytes, config.head_limits.fields), (60 * 1024, 100));
    assert_eq!(&*config.server_name, "envoy");
    assert_eq!(config.timeouts.stream_idle, Some(Duration::from_mins(5)));
    assert_eq!(config.timeouts.connection_idle, Some(Duration::from_hours(1)));
    assert_eq!((config.timeouts.drain, config.timeouts.request), (Duration::from_secs(5), None));
    assert_eq!(config.timeouts.delayed_close, Some(Duration::from_secs(1)));
    assert!(config.http1.allow_absolute_url && !config.http1.accept_http_10);
    assert!(config.request_id.generate && config.request_id.pack_trace_reason);
    assert!(config.suppress_envoy_headers && !config.needs_facts && config.add_user_agent.is_none());
}

#[test]
fn protocol_options_are_read() {
    let config = with_routes(
        "
codec_type: HTTP2
common_http_protocol_options:
  {idle_timeout: 0s, max_connection_duration: 1s, max_headers_count: 7, max_stream_duration: 2s, headers_with_underscores_action: DROP_HEADER, max_requests_per_connection: 3}
http_protocol_options: {accept_http_10: true, default_host_for_http_10: d, allow_absolute_url: false, enable_trailers: true, header_key_format: {stateful_formatter: {name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}}
http2_protocol_options: {max_concurrent_streams: 5, initial_stream_window_size: 65535, allow_connect: true, connection_keepalive: {interval: 3s, timeout: 1s}, override_stream_error_on_invalid_http_message: true}
max_request_headers_kb: 2
stream_idle_timeout: 0s
request_timeout: 4s
request_headers_timeout: 5s
drain_timeout: 0s
delayed_close_timeout: 0s",
    )
    .unwrap();
    let times = &config.timeouts;
    assert_eq!((times.connection_idle, times.max_connection), (None, Some(Duration::from_secs(1))));
    assert_eq!((times.max_stream, times.stream_idle), (Some(Duration::from_secs(2)), None));
    assert_eq!(
        (times.request, times.request_headers),
        (Some(Duration::from_secs(4)), Some(Duration::from_secs(5)))
    );
    assert_eq!((times.drain, times.delayed_close), (Duration::ZERO, None));
    assert_eq!((config.codec, config.underscores), (Codec::Http2, Underscores::Drop));
    assert_eq!((config.head_limits.bytes, config.head_limits.fields), (2048, 7));
    assert_eq!(config.max_requests_per_connection, Some(3));
    assert_eq!(config.http1.name_case, NameCase::Preserve);
    assert!(config.http1.accept_http_10 && !config.http1.allow_absolute_url && config.http1.enable_trailers);
    assert_eq!((config.http2.max_concurrent_streams, config.http2.stream_window), (5, 65535));
    assert_eq!(config.http2.keepalive.and_then(|k| k.interval), Some(Duration::from_secs(3)));
    assert!(config.http2.allow_connect && config.stream_error_on_invalid);
}

#[test]
fn rules_for_heads_are_read() {
    let config = with_routes(
        "
server_name: x
server_header_transformation: PASS_THROUGH
scheme_header_transformation: {scheme_to_overwrite: https}
via: v
use_remote_address: true
xff_num_trusted_hops: 2
skip_xff_append: true
append_x_forwarded_port: true
internal_address_config: {unix_sockets: true, cidr_ranges: [{address_prefix: 10.0.0.1, prefix_len: 8}]}
generate_request_id: false
request_id_extension: {typed_config: {'@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, pack_trace_reason: false}}
normalize_path: true
path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
strip_any_host_port: true
upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: CONNECT, enabled: false}]
add_user_agent: true
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: k}}}}
    status_code: 410
    body: {inline_string: gone}
    body_format_override: {json_format: {a: '%LOCAL_REPLY_BODY%'}}
    headers_to_add: [{header: {key: X, value: '%PROTOCOL%'}}]
  body_format: {text_format_source: {inline_string: 'b'}, content_type: text/html}",
    )
    .unwrap();
    assert_eq!((&*config.server_name, &*config.via), ("x", "v"));
    assert_eq!(config.server_header, ServerHeader::PassThrough);
    assert_eq!(config.overwrite_scheme.as_deref(), Some("https"));
    assert_eq!(config.forwarding.internal_ranges, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(config.forwarding.trusted_hops, 2);
    assert!(!config.request_id.generate && !config.request_id.pack_trace_reason);
    assert_eq!(
        (config.normalize.escaped_slashes, config.normalize.port),
        (EscapedSlashes::Redirect, StripPort::Any)
    );
    assert_eq!(config.upgrades, [("websocket".into(), true), ("connect".into(), false)]);
    assert_eq!(config.add_user_agent.as_ref().map(|agent| &*agent.node), Some("node"));
    let mapper = &config.local_reply.mappers[0];
    assert_eq!((mapper.status, mapper.body.as_deref()), (Some(410), Some(&b"gone"[..])));
    assert_eq!(&*mapper.headers[0].name, "x");
    assert!(matches!(mapper.format.as_ref().map(|format| &format.body), Some(Body::Json(_))));
    assert_eq!(
        config.local_reply.format.as_ref().and_then(|format| format.content_type.as_deref()),
        Some("text/html")
    );
    assert!(config.needs_facts);
}

#[test]
fn the_router_comes_last() {
    let config = http(&format!("{ROUTES}\nhttp_filters: [{MUTATION}, {ROUTER}]")).unwrap();
    assert_eq!(config.filters.len(), 1);
    assert!(config.filters[0].disabled && &*config.filters[0].name == "m");
    refused(
        http(&format!("{ROUTES}\nhttp_filters: [{ROUTER}, {ROUTER}]")),
        &["http_filters[0]: this terminal filter must be the last filter in a http filter chain"],
    );
    refused(
        http(&format!("{ROUTES}\nhttp_filters: [{MUTATION}]")),
        &["http_filters[0]: this non-terminal filter is the last filter in a http filter chain"],
    );
    let unknown =
        "{name: u, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm}}";
    refused(
        http(&format!("{ROUTES}\nhttp_filters: [{unknown}, {ROUTER}]")),
        &["http_filters[0].typed_config: there is no HTTP filter \"u\" of this type"],
    );
    let optional = unknown.replace("name: u", "name: u, is_optional: true");
    assert!(http(&format!("{ROUTES}\nhttp_filters: [{optional}, {ROUTER}]")).unwrap().filters.is_empty());
}

#[test]
fn refusals_tell_where() {
    refused(
        http(&format!(
            "rds: {{route_config_name: r, config_source: {{path: /nowhere}}}}\nhttp_filters: [{ROUTER}]"
        )),
        &[
            "rds.config_source.path: paths must refer to an existing path in the system: '/nowhere' does not exist",
        ],
    );
    refused(
        with_routes(
            "
codec_type: HTTP3
strip_matching_host_port: true
strip_any_host_port: true
use_remote_address: true
original_ip_detection_extensions: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig}}]
upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]
http_protocol_options: {allow_chunked_length: true}
access_log: [{name: a}]",
        ),
        &[
            "http_protocol_options.allow_chunked_length: a message with both Content-Length and Transfer-Encoding is always refused",
            "access_log[0].typed_config: the log has no configuration",
            "codec_type: HTTP/3 is not supported",
            "original_ip_detection_extensions: original IP detection extensions and use_remote_address may not be mixed",
            "strip_any_host_port: only one of strip_matching_host_port and strip_any_host_port can be set",
            "upgrade_configs[1].upgrade_type: multiple upgrade configs with the same name",
        ],
    );
}

/// A filter of `kind` with `fields`, and what its route has for it.
fn gathers(kind: &str, fields: &str, of_route: &str) -> bool {
    let url = |message: &str| format!("'@type': type.googleapis.com/envoy.extensions.filters.http.{message}");
    let filter = format!("{{name: f, typed_config: {{{}, {fields}}}}}", url(kind));
    let per_route = if of_route.is_empty() {
        String::new()
    } else {
        format!(", typed_per_filter_config: {{f: {{{}}}}}", url(of_route))
    };
    let routes = ROUTES.replace("route: {cluster: a}", &format!("route: {{cluster: a}}{per_route}"));
    http(&format!("{routes}\nhttp_filters: [{filter}, {ROUTER}]")).unwrap().needs_facts
}

#[test]
fn facts_are_gathered_for_filters_that_read_them() {
    let plain = "permissions: [{any: true}], principals: [{any: true}]";
    let rules = |more: &str| format!("rules: {{policies: {{p: {{{plain}{more}}}}}}}");
    let set = |value: &str| {
        format!("mutations: {{request_mutations: [{{append: {{header: {{key: k, value: '{value}'}}}}}}]}}")
    };
    let limit = "stat_prefix: s, token_bucket: {max_tokens: 9, fill_interval: 1s}";
    let told = "response_headers_to_add: [{header: {key: k, value: '%ROUTE_NAME%'}}]";
    let condition = ", condition: {const_expr: {bool_value: true}}";
    let (mutation, per_route) =
        ("header_mutation.v3.HeaderMutation", "header_mutation.v3.HeaderMutationPerRoute");
    for (kind, fields) in [
        ("cors.v3.Cors", ""),
        ("fault.v3.HTTPFault", "abort: {http_status: 503, percentage: {numerator: 1}}"),
        ("rbac.v3.RBAC", &*rules("")),
        ("local_ratelimit.v3.LocalRateLimit", limit),
        (mutation, &*set("1")),
    ] {
        assert!(!gathers(kind, fields, ""), "{kind}");
    }
    for (kind, fields, route) in [
        ("rbac.v3.RBAC", &*rules(condition), ""),
        ("rbac.v3.RBAC", &*rules(""), &*format!("rbac.v3.RBACPerRoute, rbac: {{{}}}", rules(condition))),
        ("local_ratelimit.v3.LocalRateLimit", &*format!("{limit}, {told}"), ""),
        (mutation, &*set("%PROTOCOL%"), ""),
        (mutation, &*set("1"), &*format!("{per_route}, {}", set("%PROTOCOL%"))),
        ("grpc_stats.v3.FilterConfig", "", ""),
    ] {
        assert!(gathers(kind, fields, route), "{kind}: {fields} {route}");
    }
}
