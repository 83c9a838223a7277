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
use sampan_api::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as CommonFamily;
use sampan_api::envoy::extensions::clusters::dns::v3 as dns;
use sampan_api::envoy::extensions::network::dns_resolver::cares::v3 as cares;
use sampan_api::google::protobuf;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::cluster::{Discovery, DnsSettings, LookupFamily, RefreshBackoff};

use super::super::{Scope, extension, value};

const YES: Support = Support::Supported;
const RESOLVER: Support = Support::Later("the resolver's own choice counts");
const DNS_CLUSTER: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";

pub(super) const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.cluster.v3.Cluster.CustomClusterType", &[("name", YES), ("typed_config", YES)]),
    ("envoy.config.cluster.v3.Cluster.RefreshRate", &[("base_interval", YES), ("max_interval", YES)]),
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
            ("udp_max_queries", RESOLVER),
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
pub(super) fn compile(proto: &pb::Cluster, at: &Scope<'_>) -> Option<Discovery> {
    let discovery = match &proto.cluster_discovery_type {
        None => return Some(Discovery::Static),
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return self::custom(custom, &at.field("cluster_type"));
        }
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number),
    };
    match discovery {
        Ok(DiscoveryType::Static) => Some(Discovery::Static),
        Ok(DiscoveryType::StrictDns) => Some(Discovery::StrictDns(cluster_dns(proto, at))),
        Ok(DiscoveryType::LogicalDns) => Some(Discovery::LogicalDns(cluster_dns(proto, at))),
        Ok(other @ (DiscoveryType::Eds | DiscoveryType::OriginalDst)) => at.field("type").reject_value(
            other.as_str_name(),
            "clusters of this type are not supported yet",
            "STATIC, STRICT_DNS and LOGICAL_DNS are",
        ),
        Err(_) => at.field("type").reject("there is no such type"),
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
                "envoy.extensions.clusters.dns.v3.DnsCluster is supported",
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
