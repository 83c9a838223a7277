//! Where a cluster's hosts come from, and how names are resolved: `type`, `cluster_type`, the DNS fields.

use std::net::SocketAddr;
use std::time::Duration;

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily,
};
use sampan_api::envoy::config::core::v3::address::Address;
use sampan_api::envoy::config::core::v3::{self as core, TypedExtensionConfig};
use sampan_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use sampan_api::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;
use sampan_api::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use sampan_api::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as CommonFamily;
use sampan_api::envoy::extensions::clusters::dns::v3 as dns;
use sampan_api::envoy::extensions::network::dns_resolver::cares::v3 as cares;
use sampan_api::google::protobuf::{self, Any};
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::cluster::{Discovery, DnsSettings, LookupFamily, RefreshBackoff};
use sampan_model::route::ClusterRef;

use super::super::tls::Inputs;
use super::super::{Scope, extension, source, value};
use super::original_dst;
use crate::reference::Source;

const YES: Support = Support::Supported;
const RESOLVER: Support = Support::Later("the resolver's own choice counts");
const DNS_CLUSTER: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";
const AGGREGATE: &str = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";

pub(super) const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.cluster.v3.Cluster.CustomClusterType", &[("name", YES), ("typed_config", YES)]),
    ("envoy.config.cluster.v3.Cluster.EdsClusterConfig", &[("eds_config", YES), ("service_name", YES)]),
    ("envoy.config.cluster.v3.Cluster.RefreshRate", &[("base_interval", YES), ("max_interval", YES)]),
    (AGGREGATE, &[("clusters", YES)]),
    (
        "envoy.extensions.clusters.dns.v3.DnsCluster",
        &[
            ("dns_refresh_rate", YES),
            ("dns_failure_refresh_rate", YES),
            ("respect_dns_ttl", YES),
            ("dns_jitter", YES),
            ("typed_dns_resolver_config", YES),
            ("dns_lookup_family", YES),
            ("all_addresses_in_single_endpoint", YES),
            ("dns_min_refresh_rate", YES),
        ],
    ),
    (
        "envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate",
        &[("base_interval", YES), ("max_interval", YES)],
    ),
    (
        "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        &[
            ("resolvers", YES),
            ("use_resolvers_as_fallback", RESOLVER),
            ("filter_unroutable_families", RESOLVER),
            ("dns_resolver_options", YES),
            // Every query has a socket and a port of its own.
            ("udp_max_queries", YES),
            ("query_timeout_seconds", RESOLVER),
            ("query_tries", RESOLVER),
            ("rotate_nameservers", RESOLVER),
            ("edns0_max_payload_size", RESOLVER),
            ("max_udp_channel_duration", RESOLVER),
            ("reinit_channel_on_timeout", RESOLVER),
            ("qcache_max_ttl", RESOLVER),
        ],
    ),
    ("envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig", &[("*", RESOLVER)]),
    ("envoy.config.core.v3.DnsResolutionConfig", &[("resolvers", YES), ("dns_resolver_options", YES)]),
    (
        "envoy.config.core.v3.DnsResolverOptions",
        &[("use_tcp_for_dns_lookups", YES), ("no_default_search_domain", YES)],
    ),
];

/// The discovery of a cluster.
pub(super) fn compile(proto: &pb::Cluster, inputs: &Inputs, at: &Scope<'_>) -> Option<Discovery> {
    let discovery = match &proto.cluster_discovery_type {
        None => return Some(Discovery::Static),
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            if custom.name == "envoy.cluster.original_dst" && custom.typed_config.is_none() {
                return original_dst::compile(proto, at).map(Discovery::OriginalDst);
            }
            let at = at.field("cluster_type");
            return match &custom.typed_config {
                Some(any) if extension::is(any, AGGREGATE) => {
                    aggregate(any, inputs, &at.field("typed_config"))
                }
                _ => self::custom(custom, &at),
            };
        }
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number),
    };
    match discovery {
        Ok(DiscoveryType::Static) => Some(Discovery::Static),
        Ok(DiscoveryType::StrictDns) => Some(Discovery::StrictDns(cluster_dns(proto, at))),
        Ok(DiscoveryType::LogicalDns) => Some(Discovery::LogicalDns(cluster_dns(proto, at))),
        Ok(DiscoveryType::Eds) => {
            let service = proto.eds_cluster_config.as_ref().map_or("", |config| config.service_name.as_str());
            let service_name = if service.is_empty() { &proto.name } else { service };
            Some(Discovery::Eds { service_name: service_name.into() })
        }
        Ok(DiscoveryType::OriginalDst) => original_dst::compile(proto, at).map(Discovery::OriginalDst),
        Err(_) => at.field("type").reject("there is no such type"),
    }
}

/// Where an EDS cluster's endpoints are to be had; `None` for clusters of other types.
pub(super) fn endpoints_source(proto: &pb::Cluster, at: &Scope<'_>) -> Option<Source> {
    let at = at.field("eds_cluster_config");
    let is_eds = proto.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
    match (&proto.eds_cluster_config, is_eds) {
        (Some(config), true) => source::compile(config.eds_config.as_ref(), &at.field("eds_config")),
        (None, true) => at.reject("a cluster of type EDS needs it"),
        (Some(_), false) => at.reject("eds_cluster_config set in a non-EDS cluster"),
        (None, false) => None,
    }
}

/// Whether an assignment has one locality with one endpoint, as LOGICAL_DNS wants it.
#[allow(deprecated)] // `load_balancer_endpoints`
pub(super) fn is_single(assignment: &ClusterLoadAssignment) -> bool {
    let [only] = assignment.endpoints.as_slice() else { return false };
    match &only.lb_config {
        Some(LbConfig::LoadBalancerEndpoints(list)) => list.lb_endpoints.len() == 1,
        _ => only.lb_endpoints.len() == 1,
    }
}

/// The clusters that an aggregate cluster is made of. They need not be there yet.
fn aggregate(any: &Any, inputs: &Inputs, at: &Scope<'_>) -> Option<Discovery> {
    let config: ClusterConfig = value::payload(any, at)?;
    let names = config.clusters.iter().map(String::as_str);
    let slots = inputs.names.intern_all(names.clone());
    let reference = |(name, slot): (&str, _)| ClusterRef { name: name.into(), slot };
    Some(Discovery::Aggregate(names.zip(slots).map(reference).collect()))
}

fn custom(proto: &CustomClusterType, at: &Scope<'_>) -> Option<Discovery> {
    let any = proto.typed_config.as_ref();
    let config = match any {
        Some(any) if extension::is(any, DNS_CLUSTER) => {
            let at = at.field("typed_config");
            let config = value::payload::<dns::DnsCluster>(any, &at)?;
            Some((typed_dns(&config, &at), config.all_addresses_in_single_endpoint))
        }
        Some(any) => {
            return at.field("typed_config").reject_value(
                &any.type_url,
                "there is no such cluster type",
                "envoy.extensions.clusters.dns.v3.DnsCluster and envoy.extensions.clusters.aggregate.v3.ClusterConfig are supported",
            );
        }
        None => None,
    };
    match (proto.name.as_str(), config) {
        ("envoy.cluster.static", None) => Some(Discovery::Static),
        ("envoy.cluster.logical_dns", config) => {
            Some(Discovery::LogicalDns(config.map(|(settings, _)| settings).unwrap_or_default()))
        }
        ("envoy.cluster.strict_dns", None) => Some(Discovery::StrictDns(DnsSettings::default())),
        (_, Some((settings, true))) => Some(Discovery::LogicalDns(settings)),
        (_, Some((settings, false))) => Some(Discovery::StrictDns(settings)),
        (name, None) => at.field("name").reject_value(name, "there is no such cluster type", ""),
    }
}

/// The DNS fields of the cluster itself.
#[allow(deprecated)] // most of them are
fn cluster_dns(proto: &pb::Cluster, at: &Scope<'_>) -> DnsSettings {
    let mut settings = DnsSettings {
        respect_ttl: proto.respect_dns_ttl,
        use_tcp: proto.use_tcp_for_dns_lookups,
        family: match proto.dns_lookup_family() {
            DnsLookupFamily::Auto => LookupFamily::Auto,
            DnsLookupFamily::V4Only => LookupFamily::V4Only,
            DnsLookupFamily::V6Only => LookupFamily::V6Only,
            DnsLookupFamily::V4Preferred => LookupFamily::V4Preferred,
            DnsLookupFamily::All => LookupFamily::All,
        },
        ..DnsSettings::default()
    };
    if let Some(rate) = value::duration(proto.dns_refresh_rate.as_ref(), &at.field("dns_refresh_rate")) {
        settings.refresh_rate = rate;
    }
    if let Some(jitter) = value::duration(proto.dns_jitter.as_ref(), &at.field("dns_jitter")) {
        settings.jitter = jitter;
    }
    if let Some(rate) = &proto.dns_failure_refresh_rate {
        let at = at.field("dns_failure_refresh_rate");
        settings.failure_refresh = backoff(rate.base_interval.as_ref(), rate.max_interval.as_ref(), &at);
    }
    settings.resolvers = resolvers(&proto.dns_resolvers, &at.field("dns_resolvers"));
    if let Some(config) = &proto.dns_resolution_config {
        let at = at.field("dns_resolution_config");
        settings.resolvers = resolvers(&config.resolvers, &at.field("resolvers"));
        resolver_options(config.dns_resolver_options.as_ref(), &mut settings);
    }
    if let Some(config) = &proto.typed_dns_resolver_config {
        typed_resolver(config, &mut settings, &at.field("typed_dns_resolver_config"));
    }
    settings
}

fn typed_dns(proto: &dns::DnsCluster, at: &Scope<'_>) -> DnsSettings {
    let mut settings = DnsSettings {
        respect_ttl: proto.respect_dns_ttl,
        family: match proto.dns_lookup_family() {
            CommonFamily::Unspecified | CommonFamily::Auto => LookupFamily::Auto,
            CommonFamily::V4Only => LookupFamily::V4Only,
            CommonFamily::V6Only => LookupFamily::V6Only,
            CommonFamily::V4Preferred => LookupFamily::V4Preferred,
            CommonFamily::All => LookupFamily::All,
        },
        ..DnsSettings::default()
    };
    for (wanted, proto, field) in [
        (&mut settings.refresh_rate, &proto.dns_refresh_rate, "dns_refresh_rate"),
        (&mut settings.jitter, &proto.dns_jitter, "dns_jitter"),
        (&mut settings.min_refresh_rate, &proto.dns_min_refresh_rate, "dns_min_refresh_rate"),
    ] {
        if let Some(duration) = value::duration(proto.as_ref(), &at.field(field)) {
            *wanted = duration;
        }
    }
    if let Some(rate) = &proto.dns_failure_refresh_rate {
        let at = at.field("dns_failure_refresh_rate");
        settings.failure_refresh = backoff(rate.base_interval.as_ref(), rate.max_interval.as_ref(), &at);
    }
    if let Some(config) = &proto.typed_dns_resolver_config {
        typed_resolver(config, &mut settings, &at.field("typed_dns_resolver_config"));
    }
    settings
}

fn backoff(
    base: Option<&protobuf::Duration>,
    max: Option<&protobuf::Duration>,
    at: &Scope<'_>,
) -> Option<RefreshBackoff> {
    let Some(base) = value::duration(base, &at.field("base_interval")).filter(|base| *base > Duration::ZERO)
    else {
        return at.field("base_interval").reject("a base_interval above zero is required");
    };
    let max = value::duration(max, &at.field("max_interval")).unwrap_or(base * 10);
    if max < base {
        return at.field("max_interval").reject(
            "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
        );
    }
    Some(RefreshBackoff { base, max })
}

fn typed_resolver(config: &TypedExtensionConfig, settings: &mut DnsSettings, at: &Scope<'_>) {
    let Some(any) = &config.typed_config else { return };
    let at = at.field("typed_config");
    match type_url::full_name(&any.type_url) {
        "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig" => {
            if let Some(cares) = value::payload::<cares::CaresDnsResolverConfig>(any, &at) {
                settings.resolvers = resolvers(&cares.resolvers, &at.field("resolvers"));
                resolver_options(cares.dns_resolver_options.as_ref(), settings);
            }
        }
        "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig" => {}
        _ => {
            at.reject_value::<()>(
                &any.type_url,
                "there is no such DNS resolver",
                "cares and getaddrinfo are accepted",
            );
        }
    }
}

fn resolver_options(proto: Option<&core::DnsResolverOptions>, settings: &mut DnsSettings) {
    if let Some(options) = proto {
        settings.use_tcp = options.use_tcp_for_dns_lookups;
        settings.no_default_search_domain = options.no_default_search_domain;
    }
}

fn resolvers(protos: &[core::Address], at: &Scope<'_>) -> Vec<SocketAddr> {
    protos.iter().enumerate().filter_map(|(index, proto)| resolver(proto, &at.index(index))).collect()
}

fn resolver(proto: &core::Address, at: &Scope<'_>) -> Option<SocketAddr> {
    match &proto.address {
        Some(Address::SocketAddress(address)) => value::socket_address(address, &at.field("socket_address")),
        _ => at.reject("a name server has an IP address"),
    }
}
