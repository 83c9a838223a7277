//! How a cluster picks hosts: `lb_policy` with its settings, or `load_balancing_policy`.

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy as Named};
use sampan_api::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use sampan_api::envoy::extensions::load_balancing_policies::least_request::v3 as least_request;
use sampan_api::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_model::lb::{LbPolicy, LeastRequest};

use super::super::{Scope, value};

const YES: Support = Support::Supported;
const SLOW_START: Support = Support::Later("new hosts get their full share at once");
const LOCALITY: Support = Support::Later("hosts are picked without regard to locality");
const RUNTIME: Support = Support::Later("the default value counts");

pub(super) const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.cluster.v3.Cluster.RoundRobinLbConfig", &[("slow_start_config", SLOW_START)]),
    (
        "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        &[("choice_count", YES), ("active_request_bias", YES), ("slow_start_config", SLOW_START)],
    ),
    ("envoy.config.core.v3.RuntimeDouble", &[("default_value", YES), ("runtime_key", RUNTIME)]),
    ("envoy.config.cluster.v3.LoadBalancingPolicy", &[("policies", YES)]),
    ("envoy.config.cluster.v3.LoadBalancingPolicy.Policy", &[("typed_extension_config", YES)]),
    (
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        &[("slow_start_config", SLOW_START), ("locality_lb_config", LOCALITY)],
    ),
    (
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        &[
            ("choice_count", YES),
            ("active_request_bias", YES),
            ("selection_method", YES),
            ("enable_full_scan", YES),
            ("slow_start_config", SLOW_START),
            ("locality_lb_config", LOCALITY),
        ],
    ),
    ("envoy.extensions.load_balancing_policies.random.v3.Random", &[("locality_lb_config", LOCALITY)]),
];

/// The policy. `load_balancing_policy` decides where both are given.
pub(super) fn compile(proto: &pb::Cluster, at: &Scope<'_>) -> Option<LbPolicy> {
    if let Some(list) = &proto.load_balancing_policy {
        return from_list(list, &at.field("load_balancing_policy"));
    }
    let at = at.field("lb_policy");
    match proto.lb_policy() {
        Named::RoundRobin => Some(LbPolicy::RoundRobin),
        Named::Random => Some(LbPolicy::Random),
        Named::LeastRequest => Some(LbPolicy::LeastRequest(named_least_request(proto.lb_config.as_ref()))),
        Named::LoadBalancingPolicyConfig => at.reject("load_balancing_policy is missing"),
        Named::ClusterProvided => at.reject_value(
            "CLUSTER_PROVIDED",
            "clusters of this type do not bring a policy",
            "give another one",
        ),
        other @ (Named::RingHash | Named::Maglev) => {
            let hint = "ROUND_ROBIN, LEAST_REQUEST and RANDOM are";
            at.reject_value(other.as_str_name(), "this policy is not supported yet", hint)
        }
    }
}

fn named_least_request(config: Option<&LbConfig>) -> LeastRequest {
    match config {
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            settings(value::number(config.choice_count.as_ref()), config.active_request_bias.as_ref(), false)
        }
        _ => LeastRequest::default(),
    }
}

fn settings(choices: Option<u32>, bias: Option<&RuntimeDouble>, full_scan: bool) -> LeastRequest {
    let standard = LeastRequest::default();
    LeastRequest {
        choice_count: choices.unwrap_or(standard.choice_count),
        active_request_bias: bias.map_or(standard.active_request_bias, |bias| bias.default_value.max(0.0)),
        full_scan,
    }
}

/// The first policy of the list that is known here.
fn from_list(list: &pb::LoadBalancingPolicy, at: &Scope<'_>) -> Option<LbPolicy> {
    let at = at.field("policies");
    let mut unknown = Vec::new();
    for (index, policy) in list.policies.iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_extension_config");
        let Some(extension) = &policy.typed_extension_config else {
            return at.reject("the policy is missing");
        };
        match known(extension, &at) {
            Found::Known(policy) => return Some(policy),
            Found::Refused => return None,
            Found::Unknown => unknown.push(super::super::extension::shown(extension)),
        }
    }
    at.reject_value(
        unknown.join(", "),
        "none of these load balancing policies is supported",
        "round_robin, least_request and random are",
    )
}

enum Found {
    Known(LbPolicy),
    Unknown,
    Refused,
}

fn known(extension: &TypedExtensionConfig, at: &Scope<'_>) -> Found {
    let Some(any) = &extension.typed_config else { return Found::Unknown };
    match type_url::full_name(&any.type_url) {
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => {
            Found::Known(LbPolicy::RoundRobin)
        }
        "envoy.extensions.load_balancing_policies.random.v3.Random" => Found::Known(LbPolicy::Random),
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
            match value::payload::<least_request::LeastRequest>(any, &at.field("typed_config")) {
                Some(config) => Found::Known(LbPolicy::LeastRequest(typed_least_request(&config))),
                None => Found::Refused,
            }
        }
        _ => Found::Unknown,
    }
}

#[allow(deprecated)] // `enable_full_scan` is the old spelling of FULL_SCAN
fn typed_least_request(config: &least_request::LeastRequest) -> LeastRequest {
    let full_scan = config.selection_method() == SelectionMethod::FullScan
        || value::switch(config.enable_full_scan.as_ref()).unwrap_or(false);
    settings(value::number(config.choice_count.as_ref()), config.active_request_bias.as_ref(), full_scan)
}
