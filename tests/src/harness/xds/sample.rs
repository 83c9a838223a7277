//! Small resources for tests: a listener that takes its routes from the control plane, clusters, endpoints, routes.

use std::fmt::Write as _;

use super::{Resource, types};

const HCM_TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// The HTTP connection manager with routes by name, as YAML flow text; `more` are further fields, each with a comma before it.
pub fn http_filter(stat_prefix: &str, source: &str, routes: &str, more: &str) -> String {
    format!(
        "{{name: http, typed_config: {{\"@type\": {HCM_TYPE}, stat_prefix: {stat_prefix}, rds: {{route_config_name: \
         {routes}, config_source: {source}}}, http_filters: [{{name: router, typed_config: {{\"@type\": \
         {ROUTER_TYPE}}}}}]{more}}}}}"
    )
}

/// A listener on a port of the kernel's choice whose routes are the route configuration called `routes`.
pub fn listener(name: &str, source: &str, routes: &str) -> Resource {
    listener_with(name, "", &format!("[{{filters: [{}]}}]", http_filter(name, source, routes, "")))
}

/// A listener on a port of the kernel's choice with these filter chains (YAML flow text) and further fields.
pub fn listener_with(name: &str, more: &str, chains: &str) -> Resource {
    let address = "{socket_address: {address: 127.0.0.1, port_value: 0}}";
    Resource::yaml(
        types::LISTENER,
        &format!("name: {name}\naddress: {address}\n{more}\nfilter_chains: {chains}\n"),
    )
}

/// The same on a port of the caller's choice.
pub fn listener_on(name: &str, port: u16, source: &str, routes: &str) -> Resource {
    let filter = http_filter(name, source, routes, "");
    let yaml = format!(
        "name: {name}\naddress: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\nfilter_chains: [{{filters: \
         [{filter}]}}]\n"
    );
    Resource::yaml(types::LISTENER, &yaml)
}

/// A listener that answers every request itself.
pub fn direct_listener(name: &str, status: u16) -> Resource {
    let chain = format!(
        "[{{filters: [{{name: http, typed_config: {{\"@type\": {HCM_TYPE}, stat_prefix: {name}, route_config: {{name: \
         inline, virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, direct_response: \
         {{status: {status}}}}}]}}]}}, http_filters: [{{name: router, typed_config: {{\"@type\": \
         {ROUTER_TYPE}}}}}]}}}}]}}]"
    );
    listener_with(name, "", &chain)
}

/// A static cluster of one endpoint.
pub fn cluster(name: &str, port: u16) -> Resource {
    let endpoint = endpoint(port);
    Resource::yaml(
        types::CLUSTER,
        &format!(
            "name: {name}\ntype: STATIC\nconnect_timeout: 1s\nload_assignment: {{cluster_name: {name}, endpoints: \
             [{{lb_endpoints: [{endpoint}]}}]}}\n"
        ),
    )
}

/// A cluster whose endpoints come from `source`; `more` are further fields.
pub fn eds_cluster(name: &str, source: &str, more: &str) -> Resource {
    let timeout = if more.contains("connect_timeout") { "" } else { "connect_timeout: 1s" };
    let yaml =
        format!("name: {name}\ntype: EDS\n{timeout}\neds_cluster_config: {{eds_config: {source}}}\n{more}\n");
    Resource::yaml(types::CLUSTER, &yaml)
}

/// The endpoints of a cluster, all on loopback.
pub fn endpoints(cluster: &str, ports: &[u16]) -> Resource {
    let list: Vec<String> = ports.iter().map(|port| endpoint(*port)).collect();
    let yaml = format!("cluster_name: {cluster}\nendpoints: [{{lb_endpoints: [{}]}}]\n", list.join(", "));
    Resource::yaml(types::ENDPOINT, &yaml)
}

fn endpoint(port: u16) -> String {
    format!("{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}")
}

/// A route configuration with one virtual host for all domains; each route is a YAML flow map.
pub fn routes(name: &str, routes: &[&str]) -> Resource {
    let mut yaml = format!("name: {name}\nvirtual_hosts:\n- name: all\n  domains: ['*']\n  routes:\n");
    for route in routes {
        writeln!(yaml, "  - {route}").ok();
    }
    Resource::yaml(types::ROUTE, &yaml)
}

/// A route configuration that sends everything to one cluster.
pub fn route_to(name: &str, cluster: &str) -> Resource {
    routes(name, &[&format!("{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}")])
}
