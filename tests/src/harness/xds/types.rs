//! The resource types of xDS: their type URLs and the methods that serve each on a stream of its own.

/// `envoy.config.listener.v3.Listener`
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// `envoy.config.cluster.v3.Cluster`
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// `envoy.config.route.v3.RouteConfiguration`
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// `envoy.config.endpoint.v3.ClusterLoadAssignment`
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// `envoy.extensions.transport_sockets.tls.v3.Secret`
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// `envoy.service.runtime.v3.Runtime`
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// `envoy.config.core.v3.TypedExtensionConfig`
pub const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// `envoy.config.route.v3.ScopedRouteConfiguration`
pub const SCOPED_ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// `envoy.config.route.v3.VirtualHost`
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";

/// Type URL, the package of its discovery service, the service's name, the suffix of its methods, the word in REST paths.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// In the order in which a change of several types is sent, which is make-before-break.
const ROWS: &[Row] = &[
    (RUNTIME, "runtime", "RuntimeDiscoveryService", "Runtime", "runtime"),
    (SECRET, "secret", "SecretDiscoveryService", "Secrets", "secrets"),
    (CLUSTER, "cluster", "ClusterDiscoveryService", "Clusters", "clusters"),
    (ENDPOINT, "endpoint", "EndpointDiscoveryService", "Endpoints", "endpoints"),
    (EXTENSION, "extension", "ExtensionConfigDiscoveryService", "ExtensionConfigs", "extension_configs"),
    (LISTENER, "listener", "ListenerDiscoveryService", "Listeners", "listeners"),
    (ROUTE, "route", "RouteDiscoveryService", "Routes", "routes"),
    (SCOPED_ROUTE, "route", "ScopedRoutesDiscoveryService", "ScopedRoutes", "scoped-routes"),
    (VIRTUAL_HOST, "route", "VirtualHostDiscoveryService", "VirtualHosts", "virtual-hosts"),
];

const AGGREGATED: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";

/// What a gRPC method serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The one type of the stream; none for an aggregated stream.
    pub only: Option<&'static str>,
    /// Whether it is the incremental variant.
    pub delta: bool,
}

/// The method at a path of a gRPC request; none if it is no discovery service.
pub fn method(path: &str) -> Option<Method> {
    if let Some(name) = path.strip_prefix(AGGREGATED) {
        return match name {
            "StreamAggregatedResources" => Some(Method { only: None, delta: false }),
            "DeltaAggregatedResources" => Some(Method { only: None, delta: true }),
            _ => None,
        };
    }
    ROWS.iter().find_map(|(url, package, service, suffix, _)| {
        let name = path.strip_prefix(&format!("/envoy.service.{package}.v3.{service}/"))?;
        let delta = match name.strip_suffix(suffix)? {
            "Stream" => false,
            "Delta" => true,
            _ => return None,
        };
        Some(Method { only: Some(url), delta })
    })
}

/// The type that `POST /v3/discovery:<word>` asks for.
pub fn of_rest_path(path: &str) -> Option<&'static str> {
    let word = path.strip_prefix("/v3/discovery:")?;
    ROWS.iter().find(|row| row.4 == word).map(|row| row.0)
}

/// All type URLs, in the order of a change.
pub fn all() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.0)
}

/// Whether a first request without names asks for everything, in the state-of-the-world variant.
pub fn is_wildcard(type_url: &str) -> bool {
    matches!(type_url, LISTENER | CLUSTER | SCOPED_ROUTE)
}

/// The last word of a type URL, for messages.
pub fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}
