//! `load_balancing_policy`: a list of extensions, of which the first that is known counts.

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::core::v3::TypedExtensionConfig;
use sampan_api::envoy::extensions::load_balancing_policies as policies;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::lb::{LbPolicy, Settings, SlowStart};

use super::super::super::{Scope, extension, value};
use super::{
    Balance, CLUSTER_PROVIDED, Hashing, YES, least_request, maglev, not_provided, override_host, peak_ewma,
    reports, ring, slow_start, subset, zone,
};
use crate::control::compile::tls::LocalCluster;
use policies::common::v3::locality_lb_config::LocalityConfigSpecifier;
use policies::common::v3::{ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig};
use policies::least_request::v3::least_request::SelectionMethod;
use policies::ring_hash::v3::ring_hash::HashFunction;

pub(super) const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.cluster.v3.LoadBalancingPolicy", &[("policies", YES)]),
    ("envoy.config.cluster.v3.LoadBalancingPolicy.Policy", &[("typed_extension_config", YES)]),
    (
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        &[("slow_start_config", YES), ("locality_lb_config", YES)],
    ),
    (
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        &[
            ("choice_count", YES),
            ("active_request_bias", YES),
            ("selection_method", YES),
            ("enable_full_scan", YES),
            ("slow_start_config", YES),
            ("locality_lb_config", YES),
        ],
    ),
    (CLUSTER_PROVIDED, &[("*", YES)]),
    ("envoy.extensions.load_balancing_policies.random.v3.Random", &[("locality_lb_config", YES)]),
    (
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
        &[
            ("hash_function", YES),
            ("minimum_ring_size", YES),
            ("maximum_ring_size", YES),
            ("use_hostname_for_hashing", YES),
            ("hash_balance_factor", YES),
            ("consistent_hashing_lb_config", YES),
            ("locality_weighted_lb_config", YES),
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
        &[("table_size", YES), ("consistent_hashing_lb_config", YES), ("locality_weighted_lb_config", YES)],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
        &[("slow_start_window", YES), ("aggression", YES), ("min_weight_percent", YES)],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig",
        &[
            ("use_hostname_for_hashing", YES),
            ("hash_balance_factor", YES),
            ("hash_policy", Support::Later("the hash policies of the route count")),
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
        &[("zone_aware_lb_config", YES), ("locality_weighted_lb_config", YES)],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig",
        &[
            ("fail_traffic_on_panic", YES),
            ("routing_enabled", YES),
            ("min_cluster_size", YES),
            ("force_locality_direct_routing", YES),
            ("force_local_zone", YES),
            ("locality_basis", YES),
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone",
        &[("min_size", YES)],
    ),
    ("envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig", &[]),
    ("xds.type.v3.TypedStruct", &[("type_url", YES), ("value", YES)]),
    ("udpa.type.v1.TypedStruct", &[("type_url", YES), ("value", YES)]),
];

/// How deep policies may be nested.
const DEEPEST: usize = 4;

/// The first policy of the list that is known here.
pub(super) fn compile(
    list: &pb::LoadBalancingPolicy,
    depth: usize,
    local: Option<&LocalCluster>,
    at: &Scope<'_>,
) -> Option<Balance> {
    let at = at.field("policies");
    let mut unknown = Vec::new();
    for (index, policy) in list.policies.iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_extension_config");
        let Some(extension) = &policy.typed_extension_config else {
            return at.reject("the policy is missing");
        };
        match known(extension, depth, local, &at) {
            Found::Known(balance) => return Some(balance),
            Found::Refused => return None,
            Found::Unknown => unknown.push(extension::shown(extension)),
        }
    }
    at.reject_value(
        unknown.join(", "),
        "none of these load balancing policies is supported",
        "round_robin, least_request, random, ring_hash, maglev, subset, client_side_weighted_round_robin, override_host and peak_ewma are",
    )
}

enum Found {
    Known(Balance),
    Unknown,
    Refused,
}

impl From<Option<Balance>> for Found {
    fn from(balance: Option<Balance>) -> Self {
        balance.map_or(Self::Refused, Self::Known)
    }
}

fn known(
    extension: &TypedExtensionConfig,
    depth: usize,
    local: Option<&LocalCluster>,
    at: &Scope<'_>,
) -> Found {
    let Some(any) = &extension.typed_config else { return Found::Unknown };
    let at = at.field("typed_config");
    if peak_ewma::is(any) {
        let policy = peak_ewma::compile(any, &at);
        return policy.map(|policy| Balance { settings: policy.into(), ..Balance::default() }).into();
    }
    let Some(short) =
        type_url::full_name(&any.type_url).strip_prefix("envoy.extensions.load_balancing_policies.")
    else {
        return Found::Unknown;
    };
    match short {
        "round_robin.v3.RoundRobin" => round_robin(any, local, &at).into(),
        "cluster_provided.v3.ClusterProvided" => not_provided::<Balance>(&at).into(),
        "random.v3.Random" => random(any, local, &at).into(),
        "least_request.v3.LeastRequest" => typed_least_request(any, local, &at).into(),
        "ring_hash.v3.RingHash" => ring_hash(any, &at).into(),
        "maglev.v3.Maglev" => typed_maglev(any, &at).into(),
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
            reports::compile(any, local, &at).into()
        }
        "subset.v3.Subset" | "override_host.v3.OverrideHost" if depth >= DEEPEST => {
            at.reject::<Balance>("load balancing policies are nested too deep").into()
        }
        "override_host.v3.OverrideHost" => override_host::compile(any, depth, local, &at).into(),
        "subset.v3.Subset" => subset(any, depth, local, &at).into(),
        _ => Found::Unknown,
    }
}

fn balance(
    policy: LbPolicy,
    slow_start: Option<SlowStart>,
    locality: Option<&LocalityLbConfig>,
    local: Option<&LocalCluster>,
) -> Balance {
    let locality = locality.and_then(|locality| locality.locality_config_specifier.as_ref());
    let locality_weighted = matches!(locality, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)));
    let zone = match locality {
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => Some(zone),
        _ => None,
    };
    let fail_on_panic = zone.is_some_and(|zone| zone.fail_traffic_on_panic);
    let zone = zone::typed(zone, local);
    let settings = Settings { slow_start, locality_weighted, zone, ..policy.into() };
    Balance { settings, fail_on_panic, override_host: None }
}

/// The balance of a policy that hashes.
fn hashed(policy: LbPolicy, locality_weighted: bool) -> Balance {
    Balance { settings: Settings { locality_weighted, ..policy.into() }, ..Balance::default() }
}

pub(super) fn slow_start_of(proto: Option<&SlowStartConfig>, at: &Scope<'_>) -> Option<SlowStart> {
    let proto = proto?;
    let at = at.field("slow_start_config");
    let window = value::duration(proto.slow_start_window.as_ref(), &at.field("slow_start_window"));
    slow_start(window, proto.aggression.as_ref(), value::percent(proto.min_weight_percent.as_ref()))
}

fn round_robin(any: &Any, local: Option<&LocalCluster>, at: &Scope<'_>) -> Option<Balance> {
    let config: policies::round_robin::v3::RoundRobin = value::payload(any, at)?;
    let slow_start = slow_start_of(config.slow_start_config.as_ref(), at);
    Some(balance(LbPolicy::RoundRobin, slow_start, config.locality_lb_config.as_ref(), local))
}

fn random(any: &Any, local: Option<&LocalCluster>, at: &Scope<'_>) -> Option<Balance> {
    let config: policies::random::v3::Random = value::payload(any, at)?;
    Some(balance(LbPolicy::Random, None, config.locality_lb_config.as_ref(), local))
}

#[allow(deprecated)] // `enable_full_scan` is the old spelling of FULL_SCAN
fn typed_least_request(any: &Any, local: Option<&LocalCluster>, at: &Scope<'_>) -> Option<Balance> {
    let config: policies::least_request::v3::LeastRequest = value::payload(any, at)?;
    let full_scan = config.selection_method() == SelectionMethod::FullScan
        || value::switch(config.enable_full_scan.as_ref()).unwrap_or(false);
    let choices = value::number(config.choice_count.as_ref());
    let policy = least_request(choices, config.active_request_bias.as_ref(), full_scan);
    let slow_start = slow_start_of(config.slow_start_config.as_ref(), at);
    Some(balance(LbPolicy::LeastRequest(policy), slow_start, config.locality_lb_config.as_ref(), local))
}

fn hashing(config: &ConsistentHashingLbConfig) -> Hashing {
    Hashing::new(config.use_hostname_for_hashing, config.hash_balance_factor.as_ref())
}

#[allow(deprecated)] // what is in `consistent_hashing_lb_config` now
fn ring_hash(any: &Any, at: &Scope<'_>) -> Option<Balance> {
    let config: policies::ring_hash::v3::RingHash = value::payload(any, at)?;
    let hashing = match &config.consistent_hashing_lb_config {
        Some(common) => hashing(common),
        None => Hashing::new(config.use_hostname_for_hashing, config.hash_balance_factor.as_ref()),
    };
    let sizes = (config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref());
    let murmur = config.hash_function() == HashFunction::MurmurHash2;
    Some(hashed(ring(sizes, murmur, hashing, at)?, config.locality_weighted_lb_config.is_some()))
}

fn typed_maglev(any: &Any, at: &Scope<'_>) -> Option<Balance> {
    let config: policies::maglev::v3::Maglev = value::payload(any, at)?;
    let hashing = config.consistent_hashing_lb_config.as_ref().map_or(Hashing::new(false, None), hashing);
    let policy = maglev(config.table_size.as_ref(), hashing, at)?;
    Some(hashed(policy, config.locality_weighted_lb_config.is_some()))
}

fn subset(any: &Any, depth: usize, local: Option<&LocalCluster>, at: &Scope<'_>) -> Option<Balance> {
    let config: policies::subset::v3::Subset = value::payload(any, at)?;
    let subsets = subset::compile(&config, at)?;
    let within = at.field("subset_lb_policy");
    let Some(list) = &config.subset_lb_policy else { return within.reject("is required") };
    let mut balance = compile(list, depth + 1, local, &within)?;
    if balance.settings.subsets.is_some() {
        return within.reject("subsets of subsets are not supported");
    }
    if balance.override_host.is_some() {
        return within.reject("override_host within subset is not supported; the other way round is");
    }
    balance.settings.subsets = Some(subsets);
    Some(balance)
}
