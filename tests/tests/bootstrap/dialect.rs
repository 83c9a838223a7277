//! How configuration is written: YAML and JSON, names, numbers, durations; and clusters.

use super::{Sample, sample};

/// A bootstrap with these fields of a cluster.
fn cluster(name: &'static str, valid: bool, fields: &str) -> Sample {
    sample(name, valid, &format!("static_resources: {{clusters: [{{name: c, {fields}}}]}}"))
}

/// The samples.
pub fn dialect() -> Vec<Sample> {
    let mut samples = vec![
        sample("empty", true, "{}"),
        sample(
            "snake and camel case in one file",
            true,
            "staticResources: {clusters: [{name: c, connect_timeout: 1s, lbPolicy: RANDOM}]}\nlayered_runtime: {layers: []}",
        ),
        sample("unknown field", false, "static_resources: {clusters: [{name: c, no_such_field: 1}]}"),
        sample(
            "anchors and aliases",
            true,
            "static_resources: {clusters: [{name: c, connect_timeout: &t 1s}, {name: d, connect_timeout: *t}]}",
        ),
        sample("admin", true, "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"),
        sample(
            "admin access log path, deprecated",
            true,
            "admin: {access_log_path: /dev/null, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}",
        ),
        sample("admin on a unix socket", true, "admin: {address: {pipe: {path: admin.sock, mode: 384}}}"),
        sample(
            "node metadata",
            true,
            "node: {id: one, cluster: c, metadata: {a: {b: [1, two, true, null]}}, locality: {region: r, zone: z}}",
        ),
        sample("yaml boolean as a string", false, "node: {id: n}"),
        sample("yaml boolean quoted", true, "node: {id: \"n\"}"),
        sample(
            "runtime layers",
            true,
            "layered_runtime: {layers: [{name: s, static_layer: {a: {b: 1}, c.d: true}}, {name: a, admin_layer: {}}]}",
        ),
        sample("runtime layer without a name", false, "layered_runtime: {layers: [{static_layer: {}}]}"),
        sample(
            "two admin layers",
            false,
            "layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]}",
        ),
        sample(
            "stats tags",
            true,
            "stats_config: {stats_tags: [{tag_name: t, regex: \"^cluster\\\\.((.+?)\\\\.)\"}], use_all_default_tags: true}",
        ),
        sample(
            "stats tag with a bad regex",
            false,
            "stats_config: {stats_tags: [{tag_name: t, regex: \"(\"}]}",
        ),
        sample("stats tag fixed", true, "stats_config: {stats_tags: [{tag_name: t, fixed_value: v}]}"),
        sample(
            "stats matcher",
            true,
            "stats_config: {stats_matcher: {inclusion_list: {patterns: [{prefix: http.}, {suffix: x}, {safe_regex: {google_re2: {}, regex: a.*}}]}}}",
        ),
        sample(
            "histogram buckets",
            true,
            "stats_config: {histogram_bucket_settings: [{match: {prefix: x}, buckets: [1, 5, 10]}]}",
        ),
        sample("two clusters of one name", false, "static_resources: {clusters: [{name: c}, {name: c}]}"),
        sample(
            "overload manager",
            true,
            "overload_manager: {resource_monitors: [{name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 1000}}]}",
        ),
        sample(
            "any without a type",
            false,
            "static_resources: {listeners: [{name: l, address: {pipe: {path: x}}, filter_chains: [{filters: [{name: f, typed_config: {a: 1}}]}]}]}",
        ),
        sample(
            "any of an unknown type",
            false,
            "static_resources: {listeners: [{name: l, address: {pipe: {path: x}}, filter_chains: [{filters: [{name: f, typed_config: {\"@type\": type.googleapis.com/no.such.Type}}]}]}]}",
        ),
        sample("trailing text", false, "static_resources: {}\n}"),
        sample("a list at the top", false, "- static_resources: {}"),
    ];
    let json = |name, valid, text: &str| Sample { name, kind: "json", text: text.to_owned(), valid };
    samples.extend([
        json("json", true, r#"{"static_resources": {"clusters": [{"name": "c", "connectTimeout": "1s"}]}}"#),
        json("json with a trailing comma", true, r#"{"static_resources": {"clusters": [{"name": "c"},]},}"#),
        json("json with a comment", false, "{\"static_resources\": {} // no\n}"),
        json("json cut short", false, r#"{"static_resources": {"#),
    ]);
    samples
}

/// The samples.
pub fn clusters() -> Vec<Sample> {
    vec![
        cluster("cluster with defaults", true, ""),
        cluster("numbers as strings", true, "type: STATIC, per_connection_buffer_limit_bytes: \"1000\""),
        cluster("enum by number", true, "type: 1, load_assignment: {cluster_name: c, endpoints: []}"),
        cluster("enum of an unknown name", false, "type: ODD"),
        cluster("duration as text", true, "connect_timeout: 0.25s"),
        cluster("duration without unit", false, "connect_timeout: 5"),
        cluster("duration in milliseconds", false, "connect_timeout: 5ms"),
        cluster("duration of zero", false, "connect_timeout: 0s"),
        cluster("negative duration", false, "connect_timeout: -1s"),
        cluster(
            "wrapper as number",
            true,
            "circuit_breakers: {thresholds: [{max_connections: 5, max_requests: \"6\"}]}",
        ),
        cluster(
            "wrapper as message",
            true,
            "circuit_breakers: {thresholds: [{max_connections: {value: 5}}]}",
        ),
        cluster(
            "number out of range",
            false,
            "circuit_breakers: {thresholds: [{max_connections: 4294967296}]}",
        ),
        cluster("negative number", false, "circuit_breakers: {thresholds: [{max_connections: -1}]}"),
        cluster("fraction for an integer", false, "circuit_breakers: {thresholds: [{max_connections: 1.5}]}"),
        cluster("http2_protocol_options, deprecated", true, "http2_protocol_options: {}"),
        cluster(
            "strict dns",
            true,
            "type: STRICT_DNS, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 80}}}}]}]}",
        ),
        cluster(
            "static with a name for an address",
            false,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 80}}}}]}]}",
        ),
        cluster(
            "logical dns with two endpoints",
            false,
            "type: LOGICAL_DNS, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.test, port_value: 80}}}}, {endpoint: {address: {socket_address: {address: b.test, port_value: 80}}}}]}]}",
        ),
        cluster(
            "endpoint on a unix socket",
            true,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: x.sock}}}}]}]}",
        ),
        cluster(
            "ipv6 endpoint",
            true,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: \"::1\", port_value: 80}}}}]}]}",
        ),
        cluster(
            "port out of range",
            false,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 65536}}}}]}]}",
        ),
        cluster(
            "priority out of range",
            false,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{priority: 129}]}",
        ),
        cluster(
            "priorities with a gap",
            true,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}",
        ),
        cluster(
            "weight of zero",
            false,
            "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{load_balancing_weight: 0, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}",
        ),
        cluster("no name in the assignment", false, "type: STATIC, load_assignment: {endpoints: []}"),
        cluster(
            "lb policy by extension",
            true,
            "load_balancing_policy: {policies: [{typed_extension_config: {name: rr, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}",
        ),
        cluster(
            "protocol options without a choice",
            false,
            "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions}}",
        ),
        cluster("two of one oneof", false, "type: STATIC, cluster_type: {name: x, typed_config: {}}"),
    ]
}
