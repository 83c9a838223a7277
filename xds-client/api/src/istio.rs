//! The messages of Istio's own extensions, which the generated API does not have. The numbers are the published ones; the schema
//! that reads them from text is made of `proto/istio/`.

use envoy_types::pb::google::protobuf;
use prost::{Enumeration, Message, Name, Oneof};

macro_rules! named {
    ($($message:ty = $package:literal, $name:literal;)*) => {
        $(impl Name for $message {
            const PACKAGE: &'static str = $package;
            const NAME: &'static str = $name;
        })*
    };
}

named! {
    AlpnFilterConfig = "istio.envoy.config.filter.http.alpn.v2alpha1", "FilterConfig";
    PeerMetadataConfig = "io.istio.http.peer_metadata", "Config";
    MetadataExchange = "envoy.tcp.metadataexchange.config", "MetadataExchange";
    PluginConfig = "stats", "PluginConfig";
    ConnectAuthority = "io.istio.http.connect_authority", "Config";
    ForwardDownstreamSni = "io.istio.tcp.forward_downstream_sni.v1", "Config";
}

/// `istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig`
#[derive(Clone, PartialEq, Message)]
pub struct AlpnFilterConfig {
    /// What to offer, by the protocol that is spoken upstream.
    #[prost(message, repeated, tag = "1")]
    pub alpn_override: Vec<AlpnOverride>,
}

/// `FilterConfig.AlpnOverride`
#[derive(Clone, PartialEq, Message)]
pub struct AlpnOverride {
    /// The protocol.
    #[prost(enumeration = "AlpnProtocol", tag = "1")]
    pub upstream_protocol: i32,
    /// The names to offer.
    #[prost(string, repeated, tag = "2")]
    pub alpn_override: Vec<String>,
}

/// `FilterConfig.Protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AlpnProtocol {
    /// HTTP/1.0
    Http10 = 0,
    /// HTTP/1.1
    Http11 = 1,
    /// HTTP/2
    Http2 = 2,
}

/// `io.istio.http.peer_metadata.Config`
#[derive(Clone, PartialEq, Message)]
pub struct PeerMetadataConfig {
    /// How to learn who the client is; the first way that works.
    #[prost(message, repeated, tag = "1")]
    pub downstream_discovery: Vec<DiscoveryMethod>,
    /// How to learn who the host is.
    #[prost(message, repeated, tag = "2")]
    pub upstream_discovery: Vec<DiscoveryMethod>,
    /// How to tell the client.
    #[prost(message, repeated, tag = "3")]
    pub downstream_propagation: Vec<PropagationMethod>,
    /// How to tell the host.
    #[prost(message, repeated, tag = "4")]
    pub upstream_propagation: Vec<PropagationMethod>,
    /// Whether upstream connections get what was learned.
    #[prost(bool, tag = "5")]
    pub shared_with_upstream: bool,
    /// Labels of the workload to tell and to learn besides the usual ones.
    #[prost(string, repeated, tag = "6")]
    pub additional_labels: Vec<String>,
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Nothing {}

/// `Config.IstioHeaders`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct IstioHeaders {
    /// Nothing is told to hosts outside of the mesh.
    #[prost(bool, tag = "1")]
    pub skip_external_clusters: bool,
}

/// `Config.DiscoveryMethod`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct DiscoveryMethod {
    /// Which one.
    #[prost(oneof = "Discovery", tags = "1, 2, 3")]
    pub method_specifier: Option<Discovery>,
}

/// `DiscoveryMethod.method_specifier`
#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum Discovery {
    /// The `baggage` header.
    #[prost(message, tag = "1")]
    Baggage(Nothing),
    /// What the control plane says of the address.
    #[prost(message, tag = "2")]
    WorkloadDiscovery(Nothing),
    /// Istio's own headers.
    #[prost(message, tag = "3")]
    IstioHeaders(IstioHeaders),
}

/// `Config.PropagationMethod`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct PropagationMethod {
    /// Which one.
    #[prost(oneof = "Propagation", tags = "1")]
    pub method_specifier: Option<Propagation>,
}

/// `PropagationMethod.method_specifier`
#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum Propagation {
    /// Istio's own headers.
    #[prost(message, tag = "1")]
    IstioHeaders(IstioHeaders),
}

/// `envoy.tcp.metadataexchange.config.MetadataExchange`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetadataExchange {
    /// The application protocol by which peers agree to exchange metadata.
    #[prost(string, tag = "1")]
    pub protocol: String,
    /// Whether the control plane is asked about peers that do not tell.
    #[prost(bool, tag = "2")]
    pub enable_discovery: bool,
    /// Labels of the workload besides the usual ones.
    #[prost(string, repeated, tag = "3")]
    pub additional_labels: Vec<String>,
}

/// `stats.PluginConfig`. The fields 1 to 5 are settings of earlier releases and not read.
#[derive(Clone, PartialEq, Message)]
pub struct PluginConfig {
    /// `Host` never names the destination.
    #[prost(bool, tag = "6")]
    pub disable_host_header_fallback: bool,
    /// How often open connections are reported.
    #[prost(message, optional, tag = "7")]
    pub tcp_reporting_duration: Option<protobuf::Duration>,
    /// Changes to metrics.
    #[prost(message, repeated, tag = "8")]
    pub metrics: Vec<MetricConfig>,
    /// More metrics.
    #[prost(message, repeated, tag = "9")]
    pub definitions: Vec<MetricDefinition>,
    /// Whose view it is.
    #[prost(enumeration = "Reporter", tag = "10")]
    pub reporter: i32,
    /// After how long an idle series is given up.
    #[prost(message, optional, tag = "11")]
    pub rotation_interval: Option<protobuf::Duration>,
    /// How much longer it is shown.
    #[prost(message, optional, tag = "12")]
    pub graceful_deletion_interval: Option<protobuf::Duration>,
}

/// `stats.MetricConfig`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricConfig {
    /// Expressions by label.
    #[prost(btree_map = "string, string", tag = "1")]
    pub dimensions: std::collections::BTreeMap<String, String>,
    /// The metric; all if empty.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Labels to leave out.
    #[prost(string, repeated, tag = "3")]
    pub tags_to_remove: Vec<String>,
    /// Never had an effect.
    #[prost(string, tag = "4")]
    pub r#match: String,
    /// The metric is not reported.
    #[prost(bool, tag = "5")]
    pub drop: bool,
}

/// `stats.MetricDefinition`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricDefinition {
    /// The metric.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The expression of its value.
    #[prost(string, tag = "2")]
    pub value: String,
    /// What it is.
    #[prost(enumeration = "MetricKind", tag = "3")]
    pub r#type: i32,
}

/// `stats.MetricType`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum MetricKind {
    /// It only grows.
    Counter = 0,
    /// It goes up and down.
    Gauge = 1,
    /// Values by size.
    Histogram = 2,
}

/// `stats.Reporter`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Reporter {
    /// By the direction of the listener.
    Unspecified = 0,
    /// A gateway in front of the workloads.
    ServerGateway = 1,
}

/// `io.istio.http.connect_authority.Config`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ConnectAuthority {
    /// For routes: whether it acts.
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    /// The port of the tunnel, in place of the authority's.
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

/// `io.istio.tcp.forward_downstream_sni.v1.Config`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ForwardDownstreamSni {}
