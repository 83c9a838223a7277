//! How a cluster picks hosts: `lb_policy` with its settings, or `load_balancing_policy`.
//!
//! Here are the named policies; [`typed`] has the list of extensions, [`subset`] subsets of either form.

mod override_host;
mod peak_ewma;
mod reports;
mod subset;
#[cfg(test)]
mod tests;
mod typed;
mod zone;

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use sampan_api::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use sampan_api::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy as Named};
use sampan_api::envoy::config::core::v3::RuntimeDouble;
use sampan_api::google::protobuf;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::cluster::OverrideHost;
use sampan_model::lb::{HashKey, LbPolicy, LeastRequest, Maglev, RingHash, Settings, SlowStart};

use super::super::tls::LocalCluster;
use super::super::{Scope, value};

const CLUSTER_PROVIDED: &str = "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";
const YES: Support = Support::Supported;
const RUNTIME: Support = Support::Later("the default value counts");

pub(super) const SUPPORT: &[&[MessageSupport]] =
    &[NAMED, typed::SUPPORT, subset::SUPPORT, override_host::SUPPORT, reports::SUPPORT];

const NAMED: &[MessageSupport] = &[
    (
        "envoy.config.cluster.v3.Cluster.SlowStartConfig",
        &[("slow_start_window", YES), ("aggression", YES), ("min_weight_percent", YES)],
    ),
    ("envoy.config.cluster.v3.Cluster.RoundRobinLbConfig", &[("slow_start_config", YES)]),
    (
        "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        &[("choice_count", YES), ("active_request_bias", YES), ("slow_start_config", YES)],
    ),
    (
        "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        &[("minimum_ring_size", YES), ("maximum_ring_size", YES), ("hash_function", YES)],
    ),
    ("envoy.config.cluster.v3.Cluster.MaglevLbConfig", &[("table_size", YES)]),
    ("envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig", &[]),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
        &[("use_hostname_for_hashing", YES), ("hash_balance_factor", YES)],
    ),
    ("envoy.config.core.v3.RuntimeDouble", &[("default_value", YES), ("runtime_key", RUNTIME)]),
];

/// A policy with all that belongs to it.
#[derive(Default)]
pub(super) struct Balance {
    /// What a balancer is made with.
    pub settings: Settings,
    /// `fail_traffic_on_panic` of the policy's own locality settings.
    pub fail_on_panic: bool,
    /// Who may name a host in the policy's place.
    pub override_host: Option<Arc<OverrideHost>>,
}

/// The policy. `load_balancing_policy` decides where both are given.
pub(super) fn compile(proto: &pb::Cluster, local: Option<&LocalCluster>, at: &Scope<'_>) -> Option<Balance> {
    if let Some(list) = &proto.load_balancing_policy {
        return typed::compile(list, 0, local, &at.field("load_balancing_policy"));
    }
    let (policy, slow_start) = named(proto, at)?;
    let subsets = match &proto.lb_subset_config {
        Some(subset) if !subset.subset_selectors.is_empty() => {
            Some(subset::compile(&subset::by_name(subset), &at.field("lb_subset_config"))?)
        }
        _ => None,
    };
    let locality = proto.common_lb_config.as_ref().and_then(|c| c.locality_config_specifier.as_ref());
    let locality_weighted = matches!(locality, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)));
    let zone = match locality {
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => Some(zone),
        _ => None,
    };
    let fail_on_panic = zone.is_some_and(|zone| zone.fail_traffic_on_panic);
    let zone = if policy.hashes() { None } else { zone::named(zone, local) };
    let settings = Settings { policy, slow_start, locality_weighted, subsets, zone, reports: None };
    Some(Balance { settings, fail_on_panic, override_host: None })
}

fn named(proto: &pb::Cluster, at: &Scope<'_>) -> Option<(LbPolicy, Option<SlowStart>)> {
    let config = proto.lb_config.as_ref();
    let at_policy = at.field("lb_policy");
    let policy = match proto.lb_policy() {
        Named::RoundRobin => {
            let slow = match config {
                Some(LbConfig::RoundRobinLbConfig(config)) => config.slow_start_config.as_ref(),
                _ => None,
            };
            return Some((LbPolicy::RoundRobin, named_slow_start(slow, &at.field("round_robin_lb_config"))));
        }
        Named::LeastRequest => {
            let Some(LbConfig::LeastRequestLbConfig(config)) = config else {
                return Some((LbPolicy::LeastRequest(LeastRequest::default()), None));
            };
            let choices = value::number(config.choice_count.as_ref());
            let policy =
                LbPolicy::LeastRequest(least_request(choices, config.active_request_bias.as_ref(), false));
            let slow = config.slow_start_config.as_ref();
            return Some((policy, named_slow_start(slow, &at.field("least_request_lb_config"))));
        }
        Named::Random => LbPolicy::Random,
        Named::RingHash => named_ring(proto, &at.field("ring_hash_lb_config"))?,
        Named::Maglev => named_maglev(proto, &at.field("maglev_lb_config"))?,
        Named::LoadBalancingPolicyConfig => return at_policy.reject("load_balancing_policy is missing"),
        Named::ClusterProvided => return not_provided(&at_policy),
    };
    Some((policy, None))
}

fn not_provided<T>(at: &Scope<'_>) -> Option<T> {
    at.reject_value(
        "CLUSTER_PROVIDED",
        "cluster provided LB specified but the cluster did not provide one",
        "only ORIGINAL_DST and aggregate clusters do",
    )
}

/// The policy of a cluster whose type (`what`) brings its own: nothing else may be asked for.
pub(super) fn provided(proto: &pb::Cluster, what: &str, at: &Scope<'_>) {
    if proto.lb_subset_config.is_some() {
        at.field("lb_subset_config")
            .reject::<()>("cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config");
    }
    if let Some(list) = &proto.load_balancing_policy {
        let named = |policy: &pb::load_balancing_policy::Policy| {
            policy
                .typed_extension_config
                .as_ref()
                .and_then(|extension| extension.typed_config.as_ref())
                .is_some_and(|any| type_url::full_name(&any.type_url) == CLUSTER_PROVIDED)
        };
        if !list.policies.iter().any(named) {
            at.field("load_balancing_policy").reject::<()>(
                "cluster provided LB not specified but the cluster provided one: cluster_provided is the only policy",
            );
        }
    } else if proto.lb_policy() != Named::ClusterProvided {
        let policy = proto.lb_policy().as_str_name();
        at.field("lb_policy").reject_value::<()>(
            policy,
            format!("LB policy {policy} is not valid for Cluster type {what}"),
            format!("Only 'CLUSTER_PROVIDED' is allowed with cluster type '{what}'"),
        );
    }
}

/// What is hashed of a host, and how much of the average load one may have.
#[derive(Clone, Copy)]
struct Hashing {
    key: HashKey,
    balance_factor: Option<u32>,
}

impl Hashing {
    fn new(by_name: bool, factor: Option<&protobuf::UInt32Value>) -> Self {
        let key = if by_name { HashKey::Hostname } else { HashKey::Address };
        Self { key, balance_factor: value::number(factor).filter(|factor| *factor > 0) }
    }

    /// `common_lb_config.consistent_hashing_lb_config`
    fn named(proto: &pb::Cluster) -> Self {
        let common = proto.common_lb_config.as_ref();
        match common.and_then(|common| common.consistent_hashing_lb_config.as_ref()) {
            Some(hashing) => {
                Self::new(hashing.use_hostname_for_hashing, hashing.hash_balance_factor.as_ref())
            }
            None => Self::new(false, None),
        }
    }
}

fn named_ring(proto: &pb::Cluster, at: &Scope<'_>) -> Option<LbPolicy> {
    let (sizes, murmur) = match &proto.lb_config {
        Some(LbConfig::RingHashLbConfig(config)) => (
            (config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref()),
            config.hash_function() == HashFunction::MurmurHash2,
        ),
        _ => ((None, None), false),
    };
    ring(sizes, murmur, Hashing::named(proto), at)
}

type Size<'p> = Option<&'p protobuf::UInt64Value>;

fn ring(
    (least, most): (Size<'_>, Size<'_>),
    murmur: bool,
    Hashing { key, balance_factor }: Hashing,
    at: &Scope<'_>,
) -> Option<LbPolicy> {
    let standard = RingHash::default();
    let minimum = least.map_or(standard.minimum, |size| size.value);
    let maximum = most.map_or(standard.maximum, |size| size.value);
    if minimum > maximum {
        return at
            .field("minimum_ring_size")
            .reject(format!("ring hash: minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})"));
    }
    Some(LbPolicy::RingHash(RingHash { minimum, maximum, murmur, key, balance_factor }))
}

fn named_maglev(proto: &pb::Cluster, at: &Scope<'_>) -> Option<LbPolicy> {
    let size = match &proto.lb_config {
        Some(LbConfig::MaglevLbConfig(config)) => config.table_size.as_ref(),
        _ => None,
    };
    maglev(size, Hashing::named(proto), at)
}

fn maglev(size: Size<'_>, Hashing { key, balance_factor }: Hashing, at: &Scope<'_>) -> Option<LbPolicy> {
    const MOST: u64 = 5_000_011;
    let table_size = size.map_or(Maglev::default().table_size, |size| size.value);
    let at = at.field("table_size");
    if table_size > MOST {
        return at.reject_value(table_size, "is too large", format!("the most is {MOST}"));
    }
    if !is_prime(table_size) {
        return at.reject_value(table_size, "The table size of maglev must be prime number", "");
    }
    Some(LbPolicy::Maglev(Maglev { table_size, key, balance_factor }))
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..=number.isqrt()).all(|factor| !number.is_multiple_of(factor))
}

fn least_request(choices: Option<u32>, bias: Option<&RuntimeDouble>, full_scan: bool) -> LeastRequest {
    let standard = LeastRequest::default();
    LeastRequest {
        choice_count: choices.unwrap_or(standard.choice_count),
        active_request_bias: bias.map_or(standard.active_request_bias, |bias| bias.default_value.max(0.0)),
        full_scan,
    }
}

fn named_slow_start(proto: Option<&pb::cluster::SlowStartConfig>, at: &Scope<'_>) -> Option<SlowStart> {
    let proto = proto?;
    let at = at.field("slow_start_config");
    let window = value::duration(proto.slow_start_window.as_ref(), &at.field("slow_start_window"));
    slow_start(window, proto.aggression.as_ref(), value::percent(proto.min_weight_percent.as_ref()))
}

/// A window of zero is no slow start.
fn slow_start(
    window: Option<Duration>,
    aggression: Option<&RuntimeDouble>,
    least: Option<f64>,
) -> Option<SlowStart> {
    let standard = SlowStart::default();
    let window = window.filter(|window| !window.is_zero())?;
    Some(SlowStart {
        window,
        aggression: aggression.map_or(standard.aggression, |value| value.default_value),
        least: least.map_or(standard.least, |percent| percent / 100.0),
    })
}
