//! The resources that the demo's control plane serves, as YAML texts.

use sampan_xds::server::{Item, ItemError};

/// The names of the two clusters.
pub(super) const CLUSTERS: [&str; 2] = ["v1", "v2"];
/// The name of the listener and of its route configuration.
const NAME: &str = "demo";

/// The listener, whose routes come by RDS.
pub(super) fn listener(port: u16) -> Result<Item, ItemError> {
    let text = format!(
        r#"
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: {NAME}
address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
filter_chains:
  - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {NAME}
          rds: {{ route_config_name: {NAME}, config_source: {{ ads: {{}}, resource_api_version: V3 }} }}
          http_filters:
            - name: envoy.filters.http.router
              typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#
    );
    Item::parse(NAME, &text)
}

/// A cluster, whose endpoints come by EDS.
pub(super) fn cluster(name: &str) -> Result<Item, ItemError> {
    let text = format!(
        r#"
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: {name}
type: EDS
connect_timeout: 1s
eds_cluster_config: {{ eds_config: {{ ads: {{}}, resource_api_version: V3 }} }}
"#
    );
    Item::parse(name, &text)
}

/// The endpoints of a cluster, by their ports.
pub(super) fn endpoints(cluster: &str, ports: &[u16]) -> Result<Item, ItemError> {
    let one = |port: &u16| {
        format!(
            "{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}"
        )
    };
    let endpoints = ports.iter().map(one).collect::<Vec<_>>().join(", ");
    let text = format!(
        r#"
"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name: {cluster}
endpoints: [{{ lb_endpoints: [{endpoints}] }}]
"#
    );
    Item::parse(cluster, &text)
}

/// The routes, with this share of v1, in percent.
pub(super) fn routes(v1: u32) -> Result<Item, ItemError> {
    let v2 = 100 - v1;
    routes_with("", v1, v2)
}

/// Routes with two mistakes in the first one.
pub(super) fn bad_routes() -> Result<Item, ItemError> {
    let bad = r#"
      - match: { safe_regex: { regex: "/users/([0-9]+" } }
        route: { cluster: v2 }
        request_headers_to_add: [{ header: { key: ":path", value: /v2/users } }]"#;
    routes_with(bad, 50, 50)
}

fn routes_with(first: &str, v1: u32, v2: u32) -> Result<Item, ItemError> {
    let text = format!(
        r#"
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: {NAME}
virtual_hosts:
  - name: {NAME}
    domains: ["*"]
    routes:{first}
      - match: {{ path: /proxy }}
        direct_response: {{ status: 200, body: {{ inline_string: "answered by the proxy itself\n" }} }}
      - match: {{ prefix: /, headers: [{{ name: x-version, string_match: {{ exact: v2 }} }}] }}
        route: {{ cluster: v2 }}
      - match: {{ prefix: / }}
        route: {{ weighted_clusters: {{ clusters: [{{ name: v1, weight: {v1} }}, {{ name: v2, weight: {v2} }}] }} }}
"#
    );
    Item::parse(NAME, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_a_resource() {
        let all = [
            listener(1),
            cluster("v1"),
            endpoints("v1", &[1, 2]),
            endpoints("v1", &[]),
            routes(100),
            bad_routes(),
        ];
        for item in all {
            let item = item.unwrap();
            assert!(!item.body.value.is_empty(), "{item:?}");
        }
    }
}
