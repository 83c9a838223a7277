//! `envoy.config.endpoint.v3.ClusterLoadAssignment` -> where a cluster's hosts are.
//!
//! A cluster that resolves names takes its targets from here and puts the addresses in later; every other one has its
//! hosts complete.

use std::path::Path;
use std::sync::Arc;

use sampan_api::envoy::config::core::v3::address::Address;
use sampan_api::envoy::config::core::v3::{self as core, HealthStatus};
use sampan_api::envoy::config::endpoint::v3 as pb;
use sampan_api::envoy::config::endpoint::v3::endpoint::HealthCheckConfig;
use sampan_api::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use sampan_api::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{EdsHealth, HostAddress, HostSpec, Locality, Metadata};
use sampan_model::health_check::CheckTarget;

use super::{Scope, labels, value};

const YES: Support = Support::Supported;
const LATER: Support = Support::Later("comes with the endpoint discovery service");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &[("cluster_name", YES), ("endpoints", YES), ("policy", YES), ("named_endpoints", LATER)],
    ),
    (
        "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
        &[
            ("overprovisioning_factor", YES),
            ("drop_overloads", Support::Later("no request is dropped")),
            ("endpoint_stale_after", LATER),
            ("weighted_priority_health", Support::Later("a priority's health is counted by hosts")),
        ],
    ),
    (
        "envoy.config.endpoint.v3.LocalityLbEndpoints",
        &[
            ("locality", YES),
            ("lb_endpoints", YES),
            ("load_balancer_endpoints", YES),
            ("load_balancing_weight", YES),
            ("priority", YES),
            ("proximity", Support::Ignored("Envoy has no use for it either")),
            ("leds_cluster_locality_config", LATER),
            ("metadata", Support::Later("metadata of localities is not read")),
        ],
    ),
    ("envoy.config.endpoint.v3.LocalityLbEndpoints.LbEndpointList", &[("lb_endpoints", YES)]),
    (
        "envoy.config.endpoint.v3.LbEndpoint",
        &[
            ("endpoint", YES),
            ("endpoint_name", LATER),
            ("health_status", YES),
            ("metadata", YES),
            ("load_balancing_weight", YES),
        ],
    ),
    (
        "envoy.config.endpoint.v3.Endpoint",
        &[
            ("address", YES),
            ("hostname", YES),
            ("health_check_config", YES),
            ("additional_addresses", Support::Later("only the first address of an endpoint is used")),
            ("observability_name", Support::Later("endpoints have no stats of their own")),
        ],
    ),
    (
        "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig",
        &[("port_value", YES), ("hostname", YES), ("address", YES), ("disable_active_health_check", YES)],
    ),
    ("envoy.config.core.v3.Locality", &[("region", YES), ("zone", YES), ("sub_zone", YES)]),
];

/// One endpoint of an assignment.
#[derive(Clone, Debug)]
pub enum Target {
    /// Its address is known.
    Fixed(HostSpec),
    /// Its name is to be resolved.
    Name(NamedTarget),
}

/// An endpoint whose address is a name.
#[derive(Clone, Debug)]
pub struct NamedTarget {
    /// The name to resolve.
    pub name: Box<str>,
    /// The port of every address that it resolves to.
    pub port: u16,
    /// Everything but the address, which is a placeholder.
    pub host: HostSpec,
}

/// Whether addresses may be names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// Only IP addresses and pipes.
    Refused,
    /// The cluster resolves them.
    Resolved,
}

/// The endpoints of an assignment, in their order. Goes on after an error.
pub fn compile(proto: &pb::ClusterLoadAssignment, names: Names, at: &Scope<'_>) -> Vec<Target> {
    let mut targets = Vec::new();
    let at = at.field("endpoints");
    for (index, group) in proto.endpoints.iter().enumerate() {
        locality(group, names, &at.index(index), &mut targets);
    }
    targets
}

/// `policy.overprovisioning_factor`, 140 % if it is not set.
pub fn overprovisioning_factor(proto: &pb::ClusterLoadAssignment) -> u32 {
    let policy = proto.policy.as_ref();
    policy.and_then(|policy| value::number(policy.overprovisioning_factor.as_ref())).unwrap_or(140)
}

#[allow(deprecated)] // `load_balancer_endpoints`
fn locality(proto: &pb::LocalityLbEndpoints, names: Names, at: &Scope<'_>, targets: &mut Vec<Target>) {
    let locality = Arc::new(proto.locality.as_ref().map(place).unwrap_or_default());
    let weight = value::number(proto.load_balancing_weight.as_ref());
    let (endpoints, field) = match &proto.lb_config {
        None => (&proto.lb_endpoints, at.field("lb_endpoints")),
        Some(LbConfig::LoadBalancerEndpoints(list)) => {
            (&list.lb_endpoints, at.field("load_balancer_endpoints"))
        }
        Some(LbConfig::LedsClusterLocalityConfig(_)) => {
            at.field("leds_cluster_locality_config")
                .reject::<()>("locality endpoint discovery is not supported");
            return;
        }
    };
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = field.index(index);
        let template = HostSpec {
            locality: locality.clone(),
            locality_weight: weight,
            priority: proto.priority,
            ..HostSpec::new(placeholder())
        };
        targets.extend(target(endpoint, template, names, &at));
    }
}

fn target(proto: &pb::LbEndpoint, template: HostSpec, names: Names, at: &Scope<'_>) -> Option<Target> {
    let endpoint = match &proto.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(HostIdentifier::EndpointName(name)) => {
            return at.field("endpoint_name").reject_value(name, "named endpoints are not supported", "");
        }
        None => return at.reject("the endpoint is missing"),
    };
    let mut host = HostSpec {
        hostname: endpoint.hostname.as_str().into(),
        weight: value::number(proto.load_balancing_weight.as_ref()).unwrap_or(1),
        health: health(proto.health_status()),
        metadata: proto.metadata.as_ref().map(|m| Metadata(Arc::new(value::metadata(m)))),
        labels: labels::labels(proto.metadata.as_ref()),
        canary: labels::canary(proto.metadata.as_ref()),
        ..template
    };
    let at = at.field("endpoint");
    if let Some(config) = &endpoint.health_check_config {
        host.check = Some(Arc::new(check_target(config, &at.field("health_check_config"))?));
    }
    let at = at.field("address");
    match endpoint.address.as_ref().and_then(|address| address.address.as_ref()) {
        Some(Address::SocketAddress(address)) => {
            let at = at.field("socket_address");
            if address.protocol() == core::socket_address::Protocol::Udp {
                return at.field("protocol").reject_value("UDP", "hosts are reached by TCP", "");
            }
            if names == Names::Resolved && address.address.parse::<std::net::IpAddr>().is_err() {
                return named(address, host, &at);
            }
            host.address = HostAddress::Socket(value::socket_address(address, &at)?);
        }
        Some(Address::Pipe(pipe)) => host.address = HostAddress::Pipe(Path::new(&pipe.path).into()),
        Some(Address::EnvoyInternalAddress(_)) => {
            return at.field("envoy_internal_address").reject("internal addresses are not supported");
        }
        None => return at.reject("the address is missing"),
    }
    Some(Target::Fixed(host))
}

fn check_target(proto: &HealthCheckConfig, at: &Scope<'_>) -> Option<CheckTarget> {
    let at_port = at.field("port_value");
    let Ok(port) = u16::try_from(proto.port_value) else {
        return at_port.reject_value(proto.port_value, "is no port", "");
    };
    let mut target = CheckTarget {
        port: (port > 0).then_some(port),
        hostname: proto.hostname.as_str().into(),
        address: None,
        disabled: proto.disable_active_health_check,
    };
    match proto.address.as_ref().and_then(|address| address.address.as_ref()) {
        None => {}
        Some(Address::SocketAddress(address)) => {
            let at = at.field("address");
            let address = value::socket_address(address, &at.field("socket_address"))?;
            target.address = Some(address.ip());
            // Its port counts as `port_value` does.
            target.port = target.port.or((address.port() > 0).then_some(address.port()));
        }
        Some(_) => return at.field("address").reject("only IP addresses can be checked in a host's place"),
    }
    Some(target)
}

fn named(address: &core::SocketAddress, host: HostSpec, at: &Scope<'_>) -> Option<Target> {
    let port = value::port(address, at)?;
    if address.address.is_empty() {
        return at.field("address").reject("the name is empty");
    }
    // A host that a name resolved to carries that name, unless the endpoint has one of its own.
    let hostname = if host.hostname.is_empty() { address.address.as_str().into() } else { host.hostname };
    Some(Target::Name(NamedTarget {
        name: address.address.as_str().into(),
        port,
        host: HostSpec { hostname, ..host },
    }))
}

/// Where something is.
pub fn place(proto: &core::Locality) -> Locality {
    Locality {
        region: proto.region.as_str().into(),
        zone: proto.zone.as_str().into(),
        sub_zone: proto.sub_zone.as_str().into(),
    }
}

fn health(proto: HealthStatus) -> EdsHealth {
    match proto {
        HealthStatus::Unknown => EdsHealth::Unknown,
        HealthStatus::Healthy => EdsHealth::Healthy,
        HealthStatus::Unhealthy => EdsHealth::Unhealthy,
        HealthStatus::Draining => EdsHealth::Draining,
        HealthStatus::Timeout => EdsHealth::Timeout,
        HealthStatus::Degraded => EdsHealth::Degraded,
    }
}

fn placeholder() -> HostAddress {
    HostAddress::Socket(std::net::SocketAddr::from(([0, 0, 0, 0], 0)))
}
