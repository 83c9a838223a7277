//! `Cluster.filters`: what is exchanged with each host before anything else.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters::config::FilterContext;
use sampan_filters::registry;
use sampan_filters_api::series::NoSeries;
use sampan_filters_api::{CounterStore, Direction, NodeFacts, SeriesStore};

use super::super::{Scope, network};
use crate::upstream::filters::UpstreamFilters;

/// What is read here.
pub(super) const SUPPORT: &[MessageSupport] = &[(
    "envoy.config.cluster.v3.Filter",
    &[
        ("name", Support::Supported),
        ("typed_config", Support::Supported),
        ("config_discovery", Support::Later("a cluster that sets it is refused")),
    ],
)];

/// What filters of clusters may know beside their message.
#[derive(Clone, Debug, Default)]
pub struct FilterInputs {
    /// Where their counters are kept.
    pub counters: Arc<CounterStore>,
    /// The proxy's own node.
    pub node: Arc<NodeFacts>,
}

/// Compiles the filters.
pub(super) fn compile(proto: &pb::Cluster, inputs: &FilterInputs, at: &Scope<'_>) -> UpstreamFilters {
    let at = at.field("filters");
    // Only a part of what filters of listeners know has a meaning here.
    let (series, failing): (Arc<dyn SeriesStore>, _) = (Arc::new(NoSeries), Arc::new(AtomicBool::new(false)));
    let context = FilterContext {
        counters: &inputs.counters,
        name: "",
        prefix: "",
        service_cluster: "",
        failing: &failing,
        series: &series,
        node: &inputs.node,
        direction: Direction::Unspecified,
    };
    let mut filters = Vec::new();
    for (index, filter) in proto.filters.iter().enumerate() {
        let at = at.index(index);
        if filter.config_discovery.is_some() {
            at.field("config_discovery").reject::<()>("filters of clusters are not discovered");
            continue;
        }
        let Some(any) = &filter.typed_config else {
            at.reject_value::<()>(&filter.name, "the filter has no typed_config", "");
            continue;
        };
        let at = at.field("typed_config");
        if let Some(entry) = registry::upstream(type_url::full_name(&any.type_url)) {
            filters.extend(network::tell((entry.compile)(&any.value, &context), &at));
        } else {
            let reason = format!("there is no filter {:?} of this type for clusters", filter.name);
            at.reject_value::<()>(&any.type_url, reason, "istio.metadata_exchange is one");
        }
    }
    UpstreamFilters(filters.into())
}
