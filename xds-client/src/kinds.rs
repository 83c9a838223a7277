//! The resource types that Envoy's API has a discovery service for: one line each.
//!
//! Everything that differs between types is here: service paths, the REST path, the order in which requests go out, which type's
//! update holds back requests for which other. A type that is not in the table still works over ADS; it comes last in order and has
//! no service of its own. Called by the state machines and the transports.

/// One resource type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The full name of the message.
    pub full_name: &'static str,
    /// What the field calls it.
    pub short: &'static str,
    /// A response to a wildcard subscription, or to any in state of the world, is the whole state: what it leaves out is gone.
    pub is_full_state: bool,
    /// Requests for this type wait while an update of that one (by [`Kind::short`]) is with the proxy, so that one request goes out
    /// for all that the update brings.
    pub waits_for: &'static [&'static str],
    /// gRPC service, method of the state-of-the-world variant, method of the delta variant. Empty where there is none.
    pub service: &'static str,
    /// Name of the state-of-the-world method; empty when the service has none.
    pub stream_method: &'static str,
    /// Name of the delta method.
    pub delta_method: &'static str,
    /// What follows `/v3/discovery:` in REST; empty when there is none.
    pub rest: &'static str,
}

/// The table, in the order in which requests go out when several are due: make before break, parents before children.
pub const KINDS: &[Kind] = &[
    Kind {
        full_name: "envoy.config.cluster.v3.Cluster",
        short: "cds",
        is_full_state: true,
        waits_for: &[],
        service: "envoy.service.cluster.v3.ClusterDiscoveryService",
        stream_method: "StreamClusters",
        delta_method: "DeltaClusters",
        rest: "clusters",
    },
    Kind {
        full_name: "envoy.config.endpoint.v3.ClusterLoadAssignment",
        short: "eds",
        is_full_state: false,
        waits_for: &["cds"],
        service: "envoy.service.endpoint.v3.EndpointDiscoveryService",
        stream_method: "StreamEndpoints",
        delta_method: "DeltaEndpoints",
        rest: "endpoints",
    },
    Kind {
        full_name: "envoy.config.listener.v3.Listener",
        short: "lds",
        is_full_state: true,
        waits_for: &[],
        service: "envoy.service.listener.v3.ListenerDiscoveryService",
        stream_method: "StreamListeners",
        delta_method: "DeltaListeners",
        rest: "listeners",
    },
    Kind {
        full_name: "envoy.config.route.v3.ScopedRouteConfiguration",
        short: "srds",
        is_full_state: true,
        waits_for: &["lds"],
        service: "envoy.service.route.v3.ScopedRoutesDiscoveryService",
        stream_method: "StreamScopedRoutes",
        delta_method: "DeltaScopedRoutes",
        rest: "scoped-routes",
    },
    Kind {
        full_name: "envoy.config.route.v3.RouteConfiguration",
        short: "rds",
        is_full_state: false,
        waits_for: &["lds", "srds"],
        service: "envoy.service.route.v3.RouteDiscoveryService",
        stream_method: "StreamRoutes",
        delta_method: "DeltaRoutes",
        rest: "routes",
    },
    Kind {
        full_name: "envoy.config.route.v3.VirtualHost",
        short: "vhds",
        is_full_state: false,
        waits_for: &["rds"],
        service: "envoy.service.route.v3.VirtualHostDiscoveryService",
        stream_method: "",
        delta_method: "DeltaVirtualHosts",
        rest: "",
    },
    Kind {
        full_name: "envoy.extensions.transport_sockets.tls.v3.Secret",
        short: "sds",
        is_full_state: false,
        waits_for: &["cds", "lds"],
        service: "envoy.service.secret.v3.SecretDiscoveryService",
        stream_method: "StreamSecrets",
        delta_method: "DeltaSecrets",
        rest: "secrets",
    },
    Kind {
        full_name: "envoy.config.core.v3.TypedExtensionConfig",
        short: "ecds",
        is_full_state: false,
        waits_for: &["lds"],
        service: "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
        stream_method: "StreamExtensionConfigs",
        delta_method: "DeltaExtensionConfigs",
        rest: "extension_configs",
    },
    Kind {
        full_name: "envoy.service.runtime.v3.Runtime",
        short: "rtds",
        is_full_state: false,
        waits_for: &[],
        service: "envoy.service.runtime.v3.RuntimeDiscoveryService",
        stream_method: "StreamRuntime",
        delta_method: "DeltaRuntime",
        rest: "runtime",
    },
];

/// gRPC path of the aggregated service, state of the world.
pub const ADS_STREAM: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// gRPC path of the aggregated service, delta.
pub const ADS_DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

impl Kind {
    /// The line of a type URL.
    pub fn of(type_url: &str) -> Option<&'static Kind> {
        let name = sampan_api::type_url::full_name(type_url);
        KINDS.iter().find(|kind| kind.full_name == name)
    }

    /// Where the type comes in the order of requests; unknown types come last.
    pub fn rank(type_url: &str) -> usize {
        let name = sampan_api::type_url::full_name(type_url);
        KINDS.iter().position(|kind| kind.full_name == name).unwrap_or(KINDS.len())
    }

    /// The gRPC path of the type's own service, when it has that variant.
    pub fn path(&self, delta: bool) -> Option<String> {
        let method = if delta { self.delta_method } else { self.stream_method };
        (!method.is_empty()).then(|| format!("/{}/{method}", self.service))
    }

    /// The HTTP path of the type's REST service, when it has one.
    pub fn rest_path(&self) -> Option<String> {
        (!self.rest.is_empty()).then(|| format!("/v3/discovery:{}", self.rest))
    }
}
