//! Builds the bootstrap of a group from YAML fragments: listeners that all log to one file, and the clusters every group has.
//!
//! `$PORT(name)` in a fragment stands for the port of the upstream called so, `$LOG` for the access log's path.

use std::fmt::Write as _;

use super::access_log::JSON_FORMAT;

/// A bootstrap under construction.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    listeners: String,
    clusters: String,
    top: String,
}

const HCM_TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const TCP_PROXY_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const FILE_LOG_TYPE: &str = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
const HTTP_OPTIONS_TYPE: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

impl Bootstrap {
    /// A bootstrap with the clusters every group may use: `a` and `b` (HTTP/1), `h2`, `tcp`, `refused`, `blackhole`, `empty`.
    pub fn new() -> Self {
        Self::default()
            .cluster("a", "a", "")
            .cluster("b", "b", "")
            .h2_cluster("h2", "h2", "")
            .cluster("tcp", "tcp", "")
            .cluster("refused", "refused", "")
            .cluster("blackhole", "blackhole", "connect_timeout: 0.1s")
            .clusters("- {name: empty, type: STATIC, connect_timeout: 1s}")
    }

    /// A listener with an HTTP connection manager: `hcm` are its own fields, `routes` the list of routes of a virtual host for
    /// all domains.
    pub fn http(self, name: &str, hcm: &str, routes: &str) -> Self {
        let vhosts =
            format!("virtual_hosts:\n- name: all\n  domains: [\"*\"]\n  routes:\n{}", indent(routes, 2));
        self.http_config(name, hcm, &vhosts)
    }

    /// As [`Self::http`], with the whole route configuration given.
    pub fn http_config(self, name: &str, hcm: &str, route_config: &str) -> Self {
        let hcm = dedent(hcm);
        let log = if hcm.contains("access_log:") { String::new() } else { access_log() };
        // What closes after an error should not make a test wait.
        let close = if hcm.contains("delayed_close_timeout") { "" } else { "delayed_close_timeout: 0.02s" };
        let filters = if hcm.contains("http_filters") {
            String::new()
        } else {
            format!("http_filters: [{{name: router, typed_config: {{\"@type\": {ROUTER_TYPE}}}}}]")
        };
        let fields = format!(
            "\"@type\": {HCM_TYPE}\nstat_prefix: {name}\n{close}\n{log}\n{filters}\n{hcm}\nroute_config:\n{}",
            indent(&dedent(route_config), 2)
        );
        self.network(name, "http_connection_manager", &fields)
    }

    /// As [`Self::http`], with these filters (items of the list, YAML) before the router.
    pub fn http_filters(self, name: &str, filters: &str, routes: &str) -> Self {
        let router = format!("- {{name: router, typed_config: {{\"@type\": {ROUTER_TYPE}}}}}");
        let filters = indent(&format!("{}\n{router}", dedent(filters)), 2);
        self.http(name, &format!("http_filters:\n{filters}"), routes)
    }

    /// A listener with a TCP proxy; `fields` are its own, such as `cluster: tcp`.
    pub fn tcp(self, name: &str, fields: &str) -> Self {
        let fields =
            format!("\"@type\": {TCP_PROXY_TYPE}\nstat_prefix: {name}\n{}\n{}", access_log(), dedent(fields));
        self.network(name, "tcp_proxy", &fields)
    }

    /// A listener with one network filter whose configuration is `fields`.
    pub fn network(self, name: &str, filter: &str, fields: &str) -> Self {
        let listener = format!(
            "- name: {name}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n  filter_chains:\n  \
             - filters:\n    - name: {filter}\n      typed_config:\n{}",
            indent(fields, 8)
        );
        self.listener(&listener)
    }

    /// A listener spelled out, its name apart: `fields` has no port, and may say `$ACCESS_LOG` where a list of loggers goes.
    pub fn listener_of(self, name: &str, fields: &str) -> Self {
        let log = access_log();
        let fields = fields.replace("$ACCESS_LOG", log.trim_start_matches("access_log: "));
        self.listener(&format!(
            "- name: {name}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n{}",
            indent(&dedent(&fields), 2)
        ))
    }

    /// A listener spelled out, as one item of the list.
    pub fn listener(mut self, yaml: &str) -> Self {
        writeln!(self.listeners, "{}", dedent(yaml)).ok();
        self
    }

    /// A static HTTP/1 or TCP cluster with one endpoint, the upstream called `upstream`.
    pub fn cluster(self, name: &str, upstream: &str, fields: &str) -> Self {
        let timeout = if fields.contains("connect_timeout") { "" } else { "connect_timeout: 1s" };
        let cluster = format!(
            "- name: {name}\n  type: STATIC\n  {timeout}\n{}\n  load_assignment:\n    cluster_name: {name}\n    endpoints:\n    \
             - lb_endpoints:\n      - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}",
            indent(&dedent(fields), 2)
        );
        self.clusters(&cluster)
    }

    /// A static HTTP/2 cluster with one endpoint.
    pub fn h2_cluster(self, name: &str, upstream: &str, fields: &str) -> Self {
        let options = format!(
            "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n    \
             \"@type\": {HTTP_OPTIONS_TYPE}\n    explicit_http_config: {{http2_protocol_options: {{allow_connect: true}}}}\n"
        );
        self.cluster(name, upstream, &format!("{options}{}", dedent(fields)))
    }

    /// A static HTTP/1 cluster whose `HttpProtocolOptions` are given.
    pub fn options_cluster(self, name: &str, upstream: &str, options: &str) -> Self {
        let options = format!(
            "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n    \
             \"@type\": {HTTP_OPTIONS_TYPE}\n{}",
            indent(&dedent(options), 4)
        );
        self.cluster(name, upstream, &options)
    }

    /// Clusters spelled out, as items of the list.
    pub fn clusters(mut self, yaml: &str) -> Self {
        writeln!(self.clusters, "{}", dedent(yaml)).ok();
        self
    }

    /// Fields at the top of the bootstrap.
    pub fn top(mut self, yaml: &str) -> Self {
        writeln!(self.top, "{}", dedent(yaml)).ok();
        self
    }

    /// The YAML, with each `$PORT(name)` replaced by the port of that name and `$LOG` by `log`.
    pub fn render(&self, ports: &[(&str, u16)], log: &str) -> String {
        let mut text = format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n{}\nstatic_resources:\n  \
             listeners:\n{}\n  clusters:\n{}",
            self.top,
            indent(&self.listeners, 2),
            indent(&self.clusters, 2)
        );
        for (name, port) in ports {
            text = text.replace(&format!("$PORT({name})"), &port.to_string());
        }
        text.replace("$LOG", log)
    }
}

/// The `access_log` field that writes the fields cases look at.
pub fn access_log() -> String {
    format!(
        "access_log: [{{name: file, typed_config: {{\"@type\": {FILE_LOG_TYPE}, path: \"$LOG\", log_format: \
         {{json_format: {JSON_FORMAT}}}}}}}]"
    )
}

/// Removes the indentation that all lines have in common.
fn dedent(text: &str) -> String {
    let margin = text.lines().filter(|l| !l.trim().is_empty()).map(|l| l.len() - l.trim_start().len()).min();
    let lines = text.lines().filter(|l| !l.trim().is_empty());
    lines.map(|line| &line[margin.unwrap_or(0)..]).collect::<Vec<_>>().join("\n")
}

/// The lines of a text, moved to the right; empty ones are left out.
pub fn indent(text: &str, by: usize) -> String {
    let pad = " ".repeat(by);
    let lines: Vec<_> =
        text.lines().filter(|l| !l.trim().is_empty()).map(|line| format!("{pad}{line}")).collect();
    lines.join("\n") + "\n"
}
