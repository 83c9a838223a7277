//! The bootstrap that Envoy and Sampan share.

use super::{Job, PLAIN_HOST, Profile, Setup, block, mtls};
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

/// The filters a sidecar has in front of the router; all of them let the request pass.
const SIDECAR_FILTERS: &str = r#"
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: DENY
                policies:
                  ns[bench]-policy[deny]-rule[0]:
                    permissions: [{header: {name: x-forbidden, present_match: true}}]
                    principals: [{any: true}]
          - name: envoy.filters.http.cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          - name: envoy.filters.http.fault
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}"#;

/// The chain whose cost is measured: what a mesh gives a route that has policies. All of them let the request pass.
const FILTER_CHAIN: &str = r#"
          - name: envoy.filters.http.cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          - name: envoy.filters.http.fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: {http_status: 503, percentage: {numerator: 0}}
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  ns[bench]-policy[health]-rule[0]:
                    permissions: [{and_rules: {rules: [{url_path: {path: {prefix: /health}}}]}}]
                    principals: [{any: true}]
                  ns[bench]-policy[allow]-rule[0]:
                    permissions:
                    - and_rules:
                        rules:
                        - or_rules:
                            rules:
                            - header: {name: ":method", string_match: {exact: POST}}
                            - header: {name: ":method", string_match: {exact: GET}}
                        - or_rules: {rules: [{url_path: {path: {prefix: /}}}]}
                    principals:
                    - and_ids:
                        ids:
                        - or_ids:
                            ids:
                            - remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}
                            - remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: bench
              token_bucket: {max_tokens: 1000000000, tokens_per_fill: 1000000000, fill_interval: 1s}
              filter_enabled: {default_value: {numerator: 100}}
              filter_enforced: {default_value: {numerator: 100}}
          - name: envoy.filters.http.header_mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations:
                request_mutations: [{append: {header: {key: x-bench, value: "1"}}}]
                response_mutations: [{remove: x-internal}]"#;

/// What the route adds to that chain.
const CORS_POLICY: &str = r#"
            typed_per_filter_config:
              envoy.filters.http.cors:
                "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
                allow_origin_string_match: [{prefix: "https://bench."}]
                allow_methods: GET, POST
                max_age: "600""#;

/// The header edits of a sidecar's route configuration.
const SIDECAR_HEADERS: &str = r#"
            request_headers_to_add: [{header: {key: x-bench-route, value: "%REQ(:PATH)%"}}]
            response_headers_to_remove: [x-bench-internal]"#;

pub(super) fn write(out: &mut String, setup: &Setup) -> fmt::Result {
    block(out, "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}")?;
    writeln!(out, "static_resources:\n  listeners:")?;
    write_listener(out, "bench", Ipv4Addr::LOCALHOST, setup)?;
    match setup.job {
        Job::Tcp => write_tcp_proxy(out)?,
        _ => write_http(out, setup)?,
    }
    if setup.job == Job::FilterChain {
        let plain = Setup { job: Job::Http1, ..*setup };
        write_listener(out, "plain", PLAIN_HOST, &plain)?;
        write_http(out, &plain)?;
    }
    if setup.job == Job::MutualTlsServer {
        mtls::write_downstream(out, setup)?;
    }
    writeln!(out, "  clusters:")?;
    match setup.job {
        Job::ManyClusters(count) => (0..count).try_for_each(|n| write_cluster(out, &format!("c{n}"), setup)),
        _ => write_cluster(out, "backend", setup),
    }
}

fn write_listener(out: &mut String, name: &str, host: Ipv4Addr, setup: &Setup) -> fmt::Result {
    writeln!(out, "  - name: {name}")?;
    writeln!(out, "    address: {{socket_address: {{address: {host}, port_value: {}}}}}", setup.listen)?;
    block(out, "    filter_chains:\n    - filters:")
}

fn write_tcp_proxy(out: &mut String) -> fmt::Result {
    block(
        out,
        r#"
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: backend"#,
    )
}

fn write_http(out: &mut String, setup: &Setup) -> fmt::Result {
    let codec = if matches!(setup.job, Job::Http2 | Job::Http2ToHttp1 | Job::MutualTlsServer) {
        "HTTP2"
    } else {
        "HTTP1"
    };
    let sidecar = setup.profile == Profile::Sidecar;
    block(
        out,
        r#"
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench"#,
    )?;
    writeln!(out, "          codec_type: {codec}")?;
    if setup.job == Job::MutualTlsServer {
        mtls::write_forwarded_certificate(out)?;
    }
    if sidecar {
        write_access_log(out, setup)?;
    }
    block(out, "          http_filters:")?;
    if sidecar {
        block(out, SIDECAR_FILTERS)?;
    }
    if setup.job == Job::FilterChain {
        block(out, FILTER_CHAIN)?;
    }
    block(
        out,
        r#"
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: bench"#,
    )?;
    if sidecar {
        block(out, SIDECAR_HEADERS)?;
    }
    if setup.job == Job::FilterChain {
        block(out, CORS_POLICY)?;
    }
    block(out, "            virtual_hosts:")?;
    match setup.job {
        Job::ManyClusters(count) => {
            (0..count).try_for_each(|n| write_virtual_host(out, &format!("c{n}"), &format!("c{n}.example")))
        }
        _ => write_virtual_host(out, "backend", "*"),
    }
}

fn write_virtual_host(out: &mut String, cluster: &str, domain: &str) -> fmt::Result {
    writeln!(
        out,
        "            - {{name: {cluster}, domains: [\"{domain}\"], \
         routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]}}"
    )
}

fn write_access_log(out: &mut String, setup: &Setup) -> fmt::Result {
    block(
        out,
        r#"
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"#,
    )?;
    writeln!(out, "              path: {}", setup.dir.join("access.log").display())?;
    block(
        out,
        r#"
              log_format:
                json_format:
                  start_time: "%START_TIME%"
                  method: "%REQ(:METHOD)%"
                  path: "%REQ(:PATH)%"
                  response_code: "%RESPONSE_CODE%"
                  response_flags: "%RESPONSE_FLAGS%"
                  duration: "%DURATION%"
                  upstream_host: "%UPSTREAM_HOST%""#,
    )
}

fn write_cluster(out: &mut String, name: &str, setup: &Setup) -> fmt::Result {
    writeln!(out, "  - name: {name}\n    type: STATIC\n    connect_timeout: 5s")?;
    if setup.job == Job::MutualTlsPair {
        mtls::write_upstream(out, setup)?;
    }
    if matches!(setup.job, Job::Http2 | Job::MutualTlsPair) {
        block(
            out,
            r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}"#,
        )?;
    }
    writeln!(
        out,
        "    load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
         {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}",
        setup.upstream
    )
}
