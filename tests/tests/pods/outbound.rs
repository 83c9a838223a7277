//! The outbound side of a sidecar: the listener that all traffic out of the pod comes to, listeners of services behind it, their
//! clusters, endpoints and routes.

use std::net::IpAddr;

use sampan_tests::harness::xds::{Resource, types};
use serde_json::{Value, json};

use crate::application::{BULK, GRPC, HTTP, MAIL, REDIS};
use crate::resources::{addresses, ads, http, original_dst, protocol, resource, tcp_proxy, upstream_tls};

/// The service, its addresses, which are nowhere, and the account of its pods.
pub const HOST: &str = "server.demo.svc.cluster.local";
pub const SERVICE_V4: &str = "10.96.0.10";
pub const SERVICE_V6: &str = "fd96::10";

/// Where traffic for nobody in the mesh goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `ALLOW_ANY`
    Passthrough,
    /// `REGISTRY_ONLY`
    BlackHole,
}

/// What a client's sidecar is to know.
pub struct Outbound {
    /// The pods of the service.
    pub endpoints: Vec<IpAddr>,
    /// The identity that they must have.
    pub account: String,
    /// Whether they have a sidecar.
    pub mutual_tls: bool,
    pub policy: Policy,
}

/// Ports whose protocol is HTTP; with HTTP/2 towards the service.
const HTTP_PORTS: [(u16, bool); 2] = [(HTTP, false), (GRPC, true)];
const TCP_PORTS: [u16; 3] = [REDIS, MAIL, BULK];

impl Outbound {
    /// All resources, by type.
    pub fn resources(&self) -> Vec<(&'static str, Vec<Resource>)> {
        let http = HTTP_PORTS.map(|(port, _)| port);
        let ports = || http.iter().chain(&TCP_PORTS);
        let mut clusters: Vec<Resource> = ports().map(|port| self.cluster(*port)).collect();
        clusters.push(resource(
            "cluster.v3.Cluster",
            json!({"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"}),
        ));
        let options = json!({"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}});
        let passthrough = json!({"typed_extension_protocol_options": protocol(options)});
        clusters.push(resource("cluster.v3.Cluster", original_dst("PassthroughCluster", passthrough)));
        let mut listeners: Vec<Resource> = http.iter().map(|port| http_listener(*port)).collect();
        listeners.extend(TCP_PORTS.map(tcp_listener));
        listeners.push(self.virtual_outbound());
        vec![
            (types::ENDPOINT, ports().map(|port| self.endpoints_of(*port)).collect()),
            (types::ROUTE, http.iter().map(|port| self.routes(*port)).collect()),
            (types::CLUSTER, clusters),
            (types::LISTENER, listeners),
        ]
    }

    fn catch_all(&self) -> &'static str {
        match self.policy {
            Policy::Passthrough => "PassthroughCluster",
            Policy::BlackHole => "BlackHoleCluster",
        }
    }

    fn cluster(&self, port: u16) -> Resource {
        let http2 = HTTP_PORTS.contains(&(port, true));
        let alpn: &[&str] =
            if http2 { &["istio-peer-exchange", "istio", "h2"] } else { &["istio-peer-exchange", "istio"] };
        let sni = format!("outbound_.{port}_._.{HOST}");
        let raw = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
        // A new connection now and then, so that rotation has something to do.
        let mut options = json!({"common_http_protocol_options": {"max_requests_per_connection": 10}});
        let kind = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
        options["explicit_http_config"] = json!({kind: {}});
        resource(
            "cluster.v3.Cluster",
            json!({
                "name": cluster_name(port), "type": "EDS", "lb_policy": "LEAST_REQUEST", "connect_timeout": "10s",
                "eds_cluster_config": {"eds_config": ads(), "service_name": cluster_name(port)},
                "transport_socket_matches": [
                    {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": upstream_tls(&sni, &self.account, alpn)},
                    {"name": "tlsMode-disabled", "match": {}, "transport_socket":
                        {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": raw}}},
                ],
                "typed_extension_protocol_options": protocol(options),
            }),
        )
    }

    fn endpoints_of(&self, port: u16) -> Resource {
        let metadata = if self.mutual_tls {
            json!({"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}})
        } else {
            json!({})
        };
        let endpoint = |ip: &IpAddr| {
            json!({
                "endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}},
                "metadata": metadata,
            })
        };
        let endpoints: Vec<Value> = self.endpoints.iter().map(endpoint).collect();
        let assignment =
            json!({"cluster_name": cluster_name(port), "endpoints": [{"lb_endpoints": endpoints}]});
        resource("endpoint.v3.ClusterLoadAssignment", assignment)
    }

    fn routes(&self, port: u16) -> Resource {
        let service = json!({
            "name": format!("{HOST}:{port}"),
            "domains": [HOST, format!("{HOST}:{port}"), SERVICE_V4, format!("{SERVICE_V4}:{port}")],
            "routes": [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster_name(port), "timeout": "0s"}}],
        });
        let others = json!({
            "name": "allow_any", "domains": ["*"],
            "routes": [{"name": "allow_any", "match": {"prefix": "/"}, "route": {"cluster": self.catch_all(), "timeout": "0s"}}],
        });
        resource(
            "route.v3.RouteConfiguration",
            json!({
                "name": port.to_string(), "validate_clusters": false, "virtual_hosts": [service, others],
            }),
        )
    }

    fn virtual_outbound(&self) -> Resource {
        let mut listener = json!({
            "name": "virtualOutbound", "use_original_dst": true, "traffic_direction": "OUTBOUND",
            "filter_chains": [
                {"name": "virtualOutbound-blackhole", "filter_chain_match": {"destination_port": 15001}, "filters": [tcp_proxy("BlackHoleCluster")]},
                {"name": "virtualOutbound-catchall-tcp", "filters": [tcp_proxy(self.catch_all())]},
            ],
        });
        addresses(&mut listener, "0.0.0.0", "::", 15001);
        resource("listener.v3.Listener", listener)
    }
}

fn cluster_name(port: u16) -> String {
    format!("outbound|{port}||{HOST}")
}

/// One for all HTTP services with this port.
fn http_listener(port: u16) -> Resource {
    let manager = http(
        &format!("outbound_0.0.0.0_{port};"),
        json!({"rds": {"route_config_name": port.to_string(), "config_source": ads()}, "use_remote_address": false}),
    );
    let mut listener = json!({
        "name": format!("0.0.0.0_{port}"), "bind_to_port": false, "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [manager]}],
    });
    addresses(&mut listener, "0.0.0.0", "::", port);
    resource("listener.v3.Listener", listener)
}

/// One for the addresses of the service.
fn tcp_listener(port: u16) -> Resource {
    let mut listener = json!({
        "name": format!("{SERVICE_V4}_{port}"), "bind_to_port": false, "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [tcp_proxy(&cluster_name(port))]}],
    });
    addresses(&mut listener, SERVICE_V4, SERVICE_V6, port);
    resource("listener.v3.Listener", listener)
}
