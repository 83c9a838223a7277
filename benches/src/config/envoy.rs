//! The bootstrap that Envoy and Sampan share.

use super::{Job, Profile, Setup, block};
use std::fmt::{self, Write};

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

/// The header edits of a sidecar's route configuration.
const SIDECAR_HEADERS: &str = r#"
            request_headers_to_add: [{header: {key: x-bench-route, value: "%REQ(:PATH)%"}}]
            response_headers_to_remove: [x-bench-internal]"#;

pub(super) fn write(out: &mut String, setup: &Setup) -> fmt::Result {
    block(out, "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}")?;
    writeln!(out, "static_resources:\n  listeners:\n  - name: bench")?;
    writeln!(out, "    address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}", setup.listen)?;
    block(out, "    filter_chains:\n    - filters:")?;
    match setup.job {
        Job::Tcp => write_tcp_proxy(out)?,
        _ => write_http(out, setup)?,
    }
    writeln!(out, "  clusters:")?;
    match setup.job {
        Job::ManyClusters(count) => (0..count).try_for_each(|n| write_cluster(out, &format!("c{n}"), setup)),
        _ => write_cluster(out, "backend", setup),
    }
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
    let codec = if matches!(setup.job, Job::Http2 | Job::Http2ToHttp1) { "HTTP2" } else { "HTTP1" };
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
    if sidecar {
        write_access_log(out, setup)?;
    }
    block(out, "          http_filters:")?;
    if sidecar {
        block(out, SIDECAR_FILTERS)?;
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
    if setup.job == Job::Http2 {
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
