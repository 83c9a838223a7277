//! Load balancing by subsets: `lb_subset_config`, or `envoy.load_balancing_policies.subset`. The two have the same fields, so the
//! first is read as the second.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_api::envoy::config::cluster::v3::cluster::LbSubsetConfig;
use sampan_api::envoy::extensions::load_balancing_policies::subset::v3::Subset;
use sampan_api::envoy::extensions::load_balancing_policies::subset::v3::subset::lb_subset_selector::LbSubsetSelectorFallbackPolicy as Own;
use sampan_api::envoy::extensions::load_balancing_policies::subset::v3::subset::{
    LbSubsetFallbackPolicy, LbSubsetMetadataFallbackPolicy, LbSubsetSelector,
};
use sampan_model::lb::SubsetConfig;
use sampan_model::lb::subset::{Fallback, Selector, SelectorFallback};

use super::super::super::{Scope, labels};
use super::YES;

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig",
        &[
            ("fallback_policy", YES),
            ("default_subset", YES),
            ("subset_selectors", YES),
            ("locality_weight_aware", YES),
            ("scale_locality_weight", YES),
            ("panic_mode_any", YES),
            ("list_as_any", YES),
            ("metadata_fallback_policy", YES),
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
        &[
            ("keys", YES),
            ("single_host_per_subset", YES),
            ("fallback_policy", YES),
            ("fallback_keys_subset", YES),
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.subset.v3.Subset",
        &[
            ("fallback_policy", YES),
            ("default_subset", YES),
            ("subset_selectors", YES),
            ("allow_redundant_keys", YES),
            ("locality_weight_aware", YES),
            ("scale_locality_weight", YES),
            ("panic_mode_any", YES),
            ("list_as_any", YES),
            ("metadata_fallback_policy", YES),
            ("subset_lb_policy", YES),
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector",
        &[
            ("keys", YES),
            ("single_host_per_subset", YES),
            ("fallback_policy", YES),
            ("fallback_keys_subset", YES),
        ],
    ),
];

/// The older form as the newer one; their numbers are the same.
pub(super) fn by_name(proto: &LbSubsetConfig) -> Subset {
    let selector =
        |selector: &sampan_api::envoy::config::cluster::v3::cluster::lb_subset_config::LbSubsetSelector| {
            LbSubsetSelector {
                keys: selector.keys.clone(),
                single_host_per_subset: selector.single_host_per_subset,
                fallback_policy: selector.fallback_policy,
                fallback_keys_subset: selector.fallback_keys_subset.clone(),
            }
        };
    Subset {
        fallback_policy: proto.fallback_policy,
        default_subset: proto.default_subset.clone(),
        subset_selectors: proto.subset_selectors.iter().map(selector).collect(),
        allow_redundant_keys: false,
        locality_weight_aware: proto.locality_weight_aware,
        scale_locality_weight: proto.scale_locality_weight,
        panic_mode_any: proto.panic_mode_any,
        list_as_any: proto.list_as_any,
        metadata_fallback_policy: proto.metadata_fallback_policy,
        subset_lb_policy: None,
    }
}

pub(super) fn compile(proto: &Subset, at: &Scope<'_>) -> Option<Arc<SubsetConfig>> {
    let list = at.field("subset_selectors");
    let selectors: Vec<Selector> = proto
        .subset_selectors
        .iter()
        .enumerate()
        .filter_map(|(index, proto)| selector(proto, &list.index(index)))
        .collect();
    (selectors.len() == proto.subset_selectors.len()).then(|| {
        Arc::new(SubsetConfig {
            fallback: match proto.fallback_policy() {
                LbSubsetFallbackPolicy::NoFallback => Fallback::None,
                LbSubsetFallbackPolicy::AnyEndpoint => Fallback::Any,
                LbSubsetFallbackPolicy::DefaultSubset => Fallback::Default,
            },
            default_subset: proto.default_subset.as_ref().map(labels::entries).unwrap_or_default(),
            selectors,
            locality_weight_aware: proto.locality_weight_aware,
            scale_locality_weight: proto.scale_locality_weight,
            panic_mode_any: proto.panic_mode_any,
            list_as_any: proto.list_as_any,
            fallback_list: proto.metadata_fallback_policy() == LbSubsetMetadataFallbackPolicy::FallbackList,
            allow_redundant_keys: proto.allow_redundant_keys,
        })
    })
}

fn selector(proto: &LbSubsetSelector, at: &Scope<'_>) -> Option<Selector> {
    let sorted = |keys: &[String]| {
        let mut keys: Vec<Box<str>> = keys.iter().map(|key| key.as_str().into()).collect();
        keys.sort();
        keys.dedup();
        keys
    };
    let keys = sorted(&proto.keys);
    if proto.single_host_per_subset && keys.len() != 1 {
        return at
            .field("single_host_per_subset")
            .reject("subset_lb selector: single_host_per_subset requires exactly one key");
    }
    let fallback = match proto.fallback_policy() {
        Own::NotDefined => SelectorFallback::NotDefined,
        Own::NoFallback => SelectorFallback::None,
        Own::AnyEndpoint => SelectorFallback::Any,
        Own::DefaultSubset => SelectorFallback::Default,
        Own::KeysSubset => {
            let fewer = sorted(&proto.fallback_keys_subset);
            let at = at.field("fallback_keys_subset");
            if fewer.is_empty() {
                return at.reject("fallback_keys_subset cannot be empty with KEYS_SUBSET");
            }
            if fewer.iter().any(|key| !keys.contains(key)) {
                return at.reject("fallback_keys_subset must be a subset of the selector's keys");
            }
            if fewer.len() == keys.len() {
                return at.reject("fallback_keys_subset cannot be equal to the selector's keys");
            }
            SelectorFallback::Keys(fewer)
        }
    };
    Some(Selector { keys, fallback, single_host: proto.single_host_per_subset })
}
