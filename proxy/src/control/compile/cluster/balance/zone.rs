//! Zone-aware routing: what a cluster says about it, for a proxy whose bootstrap names a local cluster.

use std::sync::Arc;

use sampan_api::envoy::config::cluster::v3::cluster::common_lb_config::ZoneAwareLbConfig as Named;
use sampan_api::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::ZoneAwareLbConfig as Typed;
use sampan_api::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::zone_aware_lb_config::LocalityBasis;
use sampan_api::envoy::r#type::v3::Percent;
use sampan_model::lb::ZoneAware;

use super::super::super::value;
use crate::control::compile::tls::LocalCluster;

/// The settings of one of the named policies; without any, the standard ones.
pub(super) fn named(proto: Option<&Named>, local: Option<&LocalCluster>) -> Option<Arc<ZoneAware>> {
    let mut zone = standard(local?);
    if let Some(proto) = proto {
        zone.enabled = enabled(proto.routing_enabled.as_ref());
        zone.min_cluster_size = proto.min_cluster_size.map_or(zone.min_cluster_size, |size| size.value);
    }
    Some(Arc::new(zone))
}

/// The settings of a policy that is an extension; without any, the standard ones.
#[allow(deprecated)] // `force_locality_direct_routing` is the old spelling of `force_local_zone`
pub(super) fn typed(proto: Option<&Typed>, local: Option<&LocalCluster>) -> Option<Arc<ZoneAware>> {
    let mut zone = standard(local?);
    if let Some(proto) = proto {
        zone.enabled = enabled(proto.routing_enabled.as_ref());
        zone.min_cluster_size = proto.min_cluster_size.map_or(zone.min_cluster_size, |size| size.value);
        zone.force_local = match &proto.force_local_zone {
            Some(force) => Some(value::number_or(force.min_size.as_ref(), 1)),
            None => proto.force_locality_direct_routing.then_some(1),
        };
        zone.by_weight = proto.locality_basis() == LocalityBasis::HealthyHostsWeight;
    }
    Some(Arc::new(zone))
}

fn standard(local: &LocalCluster) -> ZoneAware {
    ZoneAware {
        local: local.slot,
        here: local.locality.clone(),
        enabled: 100,
        min_cluster_size: 6,
        force_local: None,
        by_weight: false,
    }
}

/// In whole percent, as Envoy rounds it.
fn enabled(proto: Option<&Percent>) -> u32 {
    value::percent(proto).map_or(100, |percent| percent.clamp(0.0, 100.0).round() as u32)
}
