//! The configuration of the network filter `sni_cluster`, which is empty.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_api::envoy::extensions::filters::network::sni_cluster::v3 as pb;
use sampan_filters_api::info::TCP_CLUSTER;
use sampan_filters_api::network::NetworkFilterFactory;

use crate::config::{Compiled, FilterContext, payload};
use crate::network::server_name::KeepServerName;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(MESSAGE, &[])];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    payload::<pb::SniCluster>(bytes)?;
    Ok(Arc::new(KeepServerName(TCP_CLUSTER)))
}
