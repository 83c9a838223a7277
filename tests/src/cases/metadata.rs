//! Filters that leave something for others: gRPC statistics, metadata from headers, set metadata, filter state.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk;
use crate::harness::upstream::Play;
use crate::harness::upstream::h2::Answer;

/// Metadata and filter state.
pub fn group() -> Group {
    Group { name: "metadata", bootstrap: bootstrap(), cases: cases() }
}

fn filter(name: &str, message: &str, fields: &str) -> String {
    format!(
        "- {{name: envoy.filters.http.{name}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.{message}, {fields}}}}}"
    )
}

const TOLD: &str = "response_headers_to_add: [{header: {key: x-own, value: '%DYNAMIC_METADATA(own)%'}}, {header: {key: x-default, value: '%DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)%'}}, {header: {key: x-state, value: '%FILTER_STATE(key)%/%FILTER_STATE(key:PLAIN)%/%FILTER_STATE(key:TYPED)%'}}, {header: {key: x-calls, value: '%FILTER_STATE(envoy.filters.http.grpc_stats)%/%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%'}}]";

/// A route with metadata, to a cluster and host that have some.
const WHOSE: &str = r#"- {match: {prefix: /}, metadata: {filter_metadata: {own: {of: the route, n: 2}}}, route: {cluster: told}, response_headers_to_add: [{header: {key: x-told, value: '%METADATA(ROUTE:own:of)%/%METADATA(ROUTE:own)%/%METADATA(CLUSTER:own:of)%/%CLUSTER_METADATA(own:of)%/%METADATA(UPSTREAM_HOST:own:of)%/%UPSTREAM_METADATA(own:of)%/%UPSTREAM_METADATA(own:no)%'}}, {header: {key: x-cel, value: '%CEL(xds.route_metadata.filter_metadata["own"]["of"])%/%CEL(xds.cluster_metadata.filter_metadata.own.of)%/%CEL(xds.upstream_host_metadata.filter_metadata["own"]["of"])%/%CEL(xds.route_metadata.filter_metadata["own"]["no"])%/%CEL("other" in xds.route_metadata.filter_metadata)%'}}, {header: {key: x-upstream-state, value: '%UPSTREAM_FILTER_STATE(key:PLAIN)%/%CEL(upstream_filter_state["key"])%'}}]}"#;

/// A listener, a filter chain and a virtual host that have metadata, and a host that is somewhere.
const PLACES: &str = r#"
traffic_direction: OUTBOUND
metadata: {filter_metadata: {own: {of: the listener}}}
filter_chains:
- name: chain
  metadata: {filter_metadata: {own: {of: the chain}}}
  filters:
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: places
      access_log: $ACCESS_LOG
      http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
      route_config:
        virtual_hosts:
        - name: the host
          domains: ["*"]
          metadata: {filter_metadata: {own: {of: the virtual host}}}
          routes:
          - match: {prefix: /}
            route: {cluster: told}
            response_headers_to_add:
            - {header: {key: x-told, value: "%METADATA(LISTENER:own:of)%/%METADATA(LISTENER_FILTER_CHAIN:own:of)%/%METADATA(VIRTUAL_HOST:own:of)%/%METADATA(VIRTUAL_HOST:own)%/%METADATA(LISTENER:no:of)%"}}
            - {header: {key: x-cel, value: "%CEL(xds.listener_metadata.filter_metadata['own']['of'])%/%CEL(xds.virtual_host_metadata.filter_metadata['own']['of'])%/%CEL(xds.listener_direction)%/%CEL(xds.virtual_host_name)%/%CEL(xds.filter_chain_name)%/%CEL(xds.node.cluster == '')%/%CEL(xds.node.locality.zone)%/%CEL(upstream.locality.region)%/%CEL(upstream.locality.sub_zone == '')%"}}
"#;

fn text(key: &str, more: &str, format: &str) -> String {
    format!(
        "{{object_key: {key}, factory_key: envoy.string, {more} format_string: {{text_format_source: {{inline_string: '{format}'}}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let routes = |own: &str| {
        format!(
            "- {{match: {{prefix: /own}}, route: {{cluster: a}}, {TOLD}, {own}}}\n- {{match: {{prefix: /2}}, route: {{cluster: h2}}, {TOLD}}}\n- {{match: {{prefix: /a.B}}, route: {{cluster: h2}}, {TOLD}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, {TOLD}}}\n"
        )
    };
    let plain = routes("name: own");
    let rules = [
        "{header: x, remove: true, on_header_present: {key: x}, on_header_missing: {key: x, value: none}}",
        "{header: number, on_header_present: {metadata_namespace: own, key: number, type: NUMBER}}",
        "{header: encoded, on_header_present: {metadata_namespace: own, key: encoded, encode: BASE64}}",
        "{header: value, on_header_present: {metadata_namespace: own, key: value, encode: BASE64, type: PROTOBUF_VALUE}}",
        "{header: bare, on_header_present: {metadata_namespace: own, key: bare, type: PROTOBUF_VALUE}}",
        "{header: ':path', on_header_present: {metadata_namespace: own, key: path, regex_value_rewrite: {pattern: {regex: '^/([a-z]*).*$'}, substitution: '<\\1>'}}}",
        "{cookie: session, on_header_present: {metadata_namespace: own, key: session}}",
    ];
    let copying = filter(
        "header_to_metadata",
        "header_to_metadata.v3.Config",
        &format!(
            "stat_prefix: copied, request_rules: [{}], response_rules: [{{header: x-answer, on_header_present: {{metadata_namespace: own, key: answer}}, remove: true}}]",
            rules.join(", ")
        ),
    );
    let own_rules = "typed_per_filter_config: {envoy.filters.http.header_to_metadata: {'@type': type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: x, on_header_present: {metadata_namespace: own, key: route}}]}}";
    let setting = filter(
        "set_metadata",
        "set_metadata.v3.Config",
        "metadata: [{metadata_namespace: own, value: {a: 1, list: [1], map: {one: 1}}}, {metadata_namespace: own, value: {a: 2}}, {metadata_namespace: own, allow_overwrite: true, value: {b: two, list: [2], map: {none: null}, a: text}}]",
    );
    let state = filter(
        "set_filter_state",
        "set_filter_state.v3.Config",
        &format!(
            "on_request_headers: [{}, {}]",
            text("key", "", "%REQ(x)% and %REQ(:path)%"),
            text("none", "skip_if_empty: true,", "")
        ),
    );
    let own_state = format!(
        "typed_per_filter_config: {{envoy.filters.http.set_filter_state: {{'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{}]}}}}",
        text("key", "", "of the route")
    );
    let grpc = |fields: &str| filter("grpc_stats", "grpc_stats.v3.FilterConfig", fields);
    let listed = "individual_method_stats_allowlist: {services: [{name: a.B, method_names: [C]}]}";
    let by_connection = |name: &str, cluster: &str| {
        format!(
            r#"
filter_chains:
- filters:
  - name: envoy.filters.network.set_filter_state
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config, on_new_connection: [{{object_key: envoy.tcp_proxy.cluster, format_string: {{text_format_source: {{inline_string: {cluster}}}}}}}]}}
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: {name}
      cluster: refused
      access_log: $ACCESS_LOG
"#
        )
    };
    Bootstrap::new()
        .listener_of("tcp-cluster", &by_connection("tcp-cluster", "tcp"))
        .listener_of("tcp-no-cluster", &by_connection("tcp-no-cluster", "nowhere"))
        .http("told", "", WHOSE)
        .listener_of("places", PLACES)
        .clusters(
            "- name: told
  type: STATIC
  metadata: {filter_metadata: {own: {of: the cluster}}}
  load_assignment:
    cluster_name: told
    endpoints:
    - locality: {region: here}
      lb_endpoints:
      - {metadata: {filter_metadata: {own: {of: the host}}}, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}",
        )
        .http_filters("copy", &copying, &routes(own_rules))
        .http_filters("set", &setting, &plain)
        .http_filters("state", &state, &routes(&own_state))
        .http_filters("calls", &grpc("emit_filter_state: true"), &plain)
        .http_filters(
            "all-methods",
            &grpc("stats_for_all_methods: true, replace_dots_in_grpc_service_name: true"),
            &plain,
        )
        .http_filters("some-methods", &grpc(listed), &plain)
        .http_filters("timed", &grpc("enable_upstream_stats: true"), &plain)
        .http_filters("timed-methods", &grpc(&format!("enable_upstream_stats: true, {listed}")), &plain)
}

fn answering(status: &'static str) -> Play {
    Play::H2(Answer {
        headers: vec![("content-type", "application/grpc")],
        body: b"\0\0\0\0\x02ok\0\0\0\0\0",
        trailers: vec![("grpc-status", status)],
        ..Answer::default()
    })
}

fn failing() -> Play {
    Play::H2(Answer {
        headers: vec![("content-type", "application/grpc"), ("grpc-status", "5")],
        ..Answer::default()
    })
}

fn cases() -> Vec<Case> {
    let with = |name: &'static str, listener, path: &str, lines: &str| {
        case(name, listener).get_with(path, &format!("host: test\r\n{lines}")).via("a")
    };
    let call = |name: &'static str, listener, path: &str, play: Play| {
        case(name, listener).play("h2", play).call(Call::grpc(path).data(b"\0\0\0\0\x01x"))
    };
    vec![
        with("whose", "told", "/", "").want_in("h:x-told", "the route"),
        with("places", "places", "/", "")
            .want_in("h:x-told", "the listener/the chain/the virtual host/")
            .want_in("h:x-cel", "here"),
        with(
            "copied",
            "copy",
            "/abc?q",
            "x: 1\r\nx: 2\r\nnumber: 2.50\r\nencoded: aGk=\r\ncookie: a=1; session=s1\r\n",
        )
        .absent("up:h:x"),
        with("missing", "copy", "/", "number: no\r\nencoded: !!\r\n").want_in("h:x-default", "none"),
        with("empty", "copy", "/", "x: \r\n"),
        with("route-rules", "copy", "/own", "x: 1\r\n").want_in("h:x-own", "route").want("up:h:x", 1),
        case("from-the-response", "copy")
            .play(
                "a",
                crate::harness::upstream::answer(
                    "HTTP/1.1 200 OK\r\nx-answer: 1\r\ncontent-length: 0\r\n\r\n",
                ),
            )
            .get("/")
            .absent("h:x-answer"),
        with("value-text", "copy", "/", "value: GgF4\r\n").want_in("h:x-own", "\"value\":\"x\""),
        with("value-number", "copy", "/", "value: EQAAAAAAAPg/\r\n").want_in("h:x-own", "1.5"),
        with("value-struct", "copy", "/", "value: KgkKBwoBYRICIAE=\r\n").want_in("h:x-own", "{\"a\":true}"),
        with("value-null", "copy", "/", "value: CAA=\r\n"),
        with("value-malformed", "copy", "/", "value: AAAA\r\nbare: text\r\n"),
        with("copied-stats", "copy", "/", "x: 1\r\n").stats("http_filter_name"),
        with("set", "set", "/", "").want_in("h:x-own", "\"list\":[1,2]"),
        with("set-stats", "set", "/", "").stats("set_metadata"),
        with("state", "state", "/p", "x: 1\r\n").want_in("h:x-state", "\"1 and /p\"/1 and /p"),
        with("state-of-the-route", "state", "/own", "").want_in("h:x-state", "of the route"),
        call("calls", "calls", "/a.B/C", answering("0")),
        call("calls-failed", "calls", "/a.B/C", answering("5")),
        call("calls-failed-at-once", "calls", "/a.B/C", failing()),
        call("calls-no-method", "calls", "/2", answering("0")),
        case("calls-other-requests", "calls").get("/").via("a"),
        call("all-methods", "all-methods", "/a.B/C", answering("0")),
        call("all-methods-failed", "all-methods", "/a.B/D", answering("13")),
        call("listed-method", "some-methods", "/a.B/C", answering("0")),
        call("other-method", "some-methods", "/a.B/D", answering("0")),
        case("tcp-cluster", "tcp-cluster")
            .talk([Talk::Send(b"hello".to_vec()), Talk::ReadBytes(5), Talk::Fin, Talk::ReadToEnd])
            .logs(1)
            .want("raw", "hello")
            .want("log.cluster", "tcp"),
        case("tcp-no-cluster", "tcp-no-cluster").talk([Talk::AwaitClose]).logs(1).want("log.flags", "NC"),
        case("not-timed", "calls")
            .get("/")
            .stats("cluster.h2.grpc")
            .absent("stat:cluster.h2.grpc.upstream_rq_time"),
        // Nothing comes of a call that no upstream has answered, or whose response has no trailers.
        case("timed-local", "timed").call(Call::grpc("/none/such")).stats("grpc.*upstream_rq_time"),
        call("timed-method-failed", "timed-methods", "/a.B/C", failing())
            .stats("grpc.*upstream_rq_time")
            .want("stat:cluster.h2.grpc.a.B.C.upstream_rq_time", "histogram"),
        call("timed", "timed", "/a.B/C", answering("0"))
            .stats("grpc.*upstream_rq_time")
            .want("stat:cluster.h2.grpc.upstream_rq_time", "histogram"),
        call("timed-other-method", "timed-methods", "/a.B/D", answering("0")).stats("grpc.*upstream_rq_time"),
        case("grpc-stats", "calls").get("/").stats("cluster.h2.grpc"),
    ]
}
